"""Propose: the next trial of a search, a function of the trials so far: tree-structured Parzen estimators by Optuna."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kincast.train.search.trial import Trial

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

STARTUP = 4  # trials before the estimators have a say
DRAWS = 20
Space = Mapping[str, tuple[Any, ...]]
"""Parameter → its values, two or more."""


def num_plans(space: Space) -> int:
    """How many different trials there can be."""
    return math.prod(len(values) for values in space.values())


def propose(space: Space, trials: Sequence[Trial], seed: int, *, is_error: bool) -> dict[str, int]:
    """Parameter → place of its value in the next trial, which differs from all before.

    The first trial takes the first value of each parameter. The same trials and seed give the same proposal, so a
    search that was killed goes on as if it had not been.

    Args:
        space: what is searched; not all of it was tried.
        trials: so far, in order.
        seed: of the search.
        is_error: lower values of the metric are better.
    """
    tried = {tuple(sorted(trial.places.items())) for trial in trials}
    if not trials:
        return dict.fromkeys(space, 0)
    for draw in range(DRAWS):
        places = _drawn(space, trials, (seed, len(trials), draw), is_error)
        if tuple(sorted(places.items())) not in tried:
            return places
    random = np.random.default_rng((seed, len(trials)))
    while True:  # most of a small space was tried: any plan that is left
        places = {name: int(random.integers(len(values))) for name, values in space.items()}
        if tuple(sorted(places.items())) not in tried:
            return places


def _drawn(space: Space, trials: Sequence[Trial], key: tuple[int, ...], is_error: bool) -> dict[str, int]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed = int(np.random.SeedSequence(key).generate_state(1)[0])
    sampler = optuna.samplers.TPESampler(n_startup_trials=STARTUP, multivariate=True, seed=seed)
    study = optuna.create_study(direction="minimize" if is_error else "maximize", sampler=sampler)
    distributions = {name: _distribution(values) for name, values in space.items()}
    for trial in trials:
        study.add_trial(_past(space, trial, distributions))
    asked = study.ask(distributions).params
    return {name: _order(values)[asked[name]] for name, values in space.items()}


def _order(values: tuple[Any, ...]) -> list[int]:
    """Places in the order of the values where they are numbers, so that neighbours are alike; else as they are."""
    places = range(len(values))
    return sorted(places, key=values.__getitem__) if _are_numbers(values) else list(places)


def _are_numbers(values: tuple[Any, ...]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _distribution(values: tuple[Any, ...]) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, IntDistribution

    if _are_numbers(values):
        return IntDistribution(0, len(values) - 1)
    return CategoricalDistribution(tuple(range(len(values))))


def _past(space: Space, trial: Trial, distributions: dict[str, BaseDistribution]) -> FrozenTrial:
    from optuna.trial import TrialState, create_trial

    params = {name: _order(values).index(trial.places[name]) for name, values in space.items()}
    steps = {epoch: value for epoch, value in enumerate(trial.epochs, start=1) if math.isfinite(value)}
    known = trial.metric is not None and math.isfinite(trial.metric)
    state = TrialState.FAIL
    if known:
        state = TrialState.PRUNED if trial.state == "pruned" else TrialState.COMPLETE
    value = trial.metric if state is TrialState.COMPLETE else None
    return create_trial(state=state, value=value, params=params, distributions=distributions, intermediate_values=steps)
