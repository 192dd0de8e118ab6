"""The loader: order kept, errors passed on, threads gone afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kincast.errors import ProjectError
from kincast.sample.batch import Batch, Seeds
from kincast.sample.loader import Loader
from kincast.sample.sampler import Sampler

NUM_SEEDS = 23


@pytest.fixture
def sampler(make_graph: Callable[..., Any]) -> Sampler:
    return Sampler(make_graph(1), [2, 2], strategy="uniform")


@pytest.fixture
def seeds() -> Seeds:
    return Seeds("users", np.arange(NUM_SEEDS) % 6, np.arange(NUM_SEEDS))


def rows(batch: Batch) -> list[Any]:
    return [batch.seeds.as_of_us.tolist(), *(batch.rows[name].tolist() for name in sorted(batch.rows))]


def loader_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("kincast-loader")]


@pytest.mark.parametrize("num_threads", [0, 1, 3])
def test_batches_come_in_order_whatever_the_threads(sampler: Sampler, seeds: Seeds, num_threads: int) -> None:
    loader = Loader(sampler, seeds, 5, rows, num_threads=num_threads)
    found = list(loader)
    assert len(loader) == len(found) == 5
    assert found == [rows(sampler.sample(seeds.take(slice(i, i + 5)))) for i in range(0, NUM_SEEDS, 5)]
    assert list(loader) == found
    assert loader_threads() == []


def test_shuffled_and_resumed(sampler: Sampler, seeds: Seeds) -> None:
    whole = Loader(sampler, seeds, 4, rows, shuffle=(7, 0))
    batches = list(whole)
    order = [instant for batch in batches for instant in batch[0]]
    assert order == whole.order.tolist() != list(range(NUM_SEEDS))
    assert sorted(order) == list(range(NUM_SEEDS))
    rest = Loader(sampler, seeds, 4, rows, shuffle=(7, 0), start_batch=2, num_threads=2)
    assert list(rest) == batches[2:]
    assert len(rest) == 4
    assert list(Loader(sampler, seeds, 4, rows, shuffle=(7, 1))) != batches
    assert list(Loader(sampler, seeds, 4, rows, start_batch=99)) == []


@pytest.mark.parametrize("num_threads", [0, 2])
def test_an_error_comes_at_its_turn_and_stops_the_threads(sampler: Sampler, seeds: Seeds, num_threads: int) -> None:
    def prepare(batch: Batch) -> int:
        if 10 in batch.seeds.as_of_us:
            raise ZeroDivisionError("batch 2")
        return int(batch.seeds.as_of_us[0])

    found = []
    with pytest.raises(ZeroDivisionError, match="batch 2"):
        found.extend(Loader(sampler, seeds, 5, prepare, num_threads=num_threads))
    for_each = iter(Loader(sampler, seeds, 5, prepare, num_threads=num_threads))
    assert [next(for_each), next(for_each)] == [0, 5]
    with pytest.raises(ZeroDivisionError):
        next(for_each)
    assert loader_threads() == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, ValueError])
def test_leaving_early_stops_the_threads(sampler: Sampler, seeds: Seeds, error: type[BaseException]) -> None:
    prepared = []

    def prepare(batch: Batch) -> None:
        prepared.append(batch.seeds.as_of_us[0])

    batches = iter(Loader(sampler, seeds, 1, prepare, num_threads=2, prefetch=1))
    next(batches)
    with pytest.raises(error):
        batches.throw(error)
    assert loader_threads() == []
    assert len(prepared) <= 4


def test_no_more_than_prefetch_is_prepared_ahead(sampler: Sampler, seeds: Seeds) -> None:
    lock, started = threading.Lock(), []

    def prepare(batch: Batch) -> int:
        with lock:
            started.append(int(batch.seeds.as_of_us[0]))
        return started[-1]

    taken = 0
    for _ in Loader(sampler, seeds, 1, prepare, num_threads=2, prefetch=3):
        taken += 1
        assert len(started) <= taken + 2 * 3
    assert taken == NUM_SEEDS


@pytest.mark.parametrize(
    "sizes", [{"batch_size": 0}, {"num_threads": -1}, {"start_batch": -1}, {"prefetch": 0}], ids=lambda s: next(iter(s))
)
def test_wrong_sizes(sampler: Sampler, seeds: Seeds, sizes: dict[str, int]) -> None:
    with pytest.raises(ProjectError, match=next(iter(sizes))):
        Loader(sampler, seeds, **{"batch_size": 1, "prepare": rows, **sizes})
