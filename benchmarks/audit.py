"""Leaks found and false alarms of the audit: sixteen classes planted in random shops, and clean shops.

python benchmarks/audit.py [--clean 400] [--leaky 20]    about a quarter of a second a shop; 720 by default
"""

from __future__ import annotations

import argparse
import collections
import time

from kincast.report import Check, Verdict
from kincast.sample.audit.run import audit_draws, audit_rows
from kincast.testing.leak import World, clean_world
from kincast.testing.plant import LEAKS, leaky_world


def main() -> None:
    """Audit every shop and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clean", type=int, default=400, help="clean shops")
    parser.add_argument("--leaky", type=int, default=20, help="shops with each class of leak")
    arguments = parser.parse_args()
    started = time.process_time()
    by_name: collections.Counter[str] = collections.Counter()
    alarmed = 0
    for seed in range(arguments.clean):
        found = alarms(clean_world(seed))
        alarmed += bool(found)
        by_name.update({check.name for check in found})
        for check in found:
            print(f"false alarm in shop {seed}: {check.name} {check.where}: {check.message}")
    print("| class of leak | planted | found by name | ways |\n|---|---|---|---|")
    missed = 0
    for leak, (names, ways) in LEAKS.items():
        hits = sum(names_it(leaky_world(leak, seed), names) for seed in range(arguments.leaky))
        missed += arguments.leaky - hits
        print(f"| {leak} | {arguments.leaky} | {hits} | {len(ways)} |", flush=True)
    share = 100 * alarmed / max(arguments.clean, 1)
    print(
        f"\n{alarmed} of {arguments.clean} clean shops ({share:.2f} %) raise a false alarm; {missed} leaks are missed"
    )
    print(f"false alarms by check: {dict(by_name) or 'none'}; {time.process_time() - started:.0f} CPU-s")


def alarms(world: World) -> list[Check]:
    """Checks that fail or warn."""
    facts = world.facts
    checks = audit_rows(facts, world.outcomes)
    checks += audit_draws(facts, world.draws(), world.adjacent, strict=world.strict, orders=world.orders)
    return [check for check in checks if check.verdict in (Verdict.FAIL, Verdict.WARN)]


def names_it(world: World, names: frozenset[str]) -> bool:
    """True when a check of the leak's own class raises an alarm, and not because it could not run."""
    return any(check.name in names and "could not run" not in check.message for check in alarms(world))


if __name__ == "__main__":
    main()
