"""Loader: batches prepared ahead by a few threads, handed out in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from kincast.ahead import in_order
from kincast.errors import ProjectError
from kincast.sample.batch import Int64s, Seeds

T = TypeVar("T")
B = TypeVar("B", covariant=True)


class Drawing(Protocol[B]):
    """What draws the neighbourhoods of seeds, each with a tree of its own or all in one."""

    def sample(self, seeds: Seeds) -> B:
        """The neighbourhoods of the seeds."""


class Loader(Generic[T]):
    """One pass over seeds, in batches; may be iterated again, with the same result.

    The result does not depend on the number of threads. An error while preparing a batch is raised when its turn
    comes. Leaving the loop early, by whatever exception, stops the threads.

    Args:
        sampler: draws the neighbourhoods.
        seeds: all seeds of the pass.
        batch_size: seeds per batch; the last may be smaller.
        prepare: what to make of each batch in the same thread, such as gathering its features.
        shuffle: key of the order, such as (seed, epoch); as given when None.
        num_threads: batches in preparation at once; 0 prepares each when it is asked for.
        start_batch: batches of the pass to skip, to go on where an interrupted pass stopped.
        prefetch: batches ready or in preparation at most, per thread.

    Attributes:
        order: [num_seeds] int64 positions of the seeds in the order they come in.

    Raises:
        ProjectError: a size below its smallest.
    """

    def __init__(
        self,
        sampler: Drawing[Any],
        seeds: Seeds,
        batch_size: int,
        prepare: Callable[[Any], T],
        *,
        shuffle: tuple[int, ...] | None = None,
        num_threads: int = 1,
        start_batch: int = 0,
        prefetch: int = 2,
    ) -> None:
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("num_threads", num_threads, 0),
            ("start_batch", start_batch, 0),
            ("prefetch", prefetch, 1),
        ):
            if value < least:
                raise ProjectError(f"{name} is {value}, at least {least} is needed", where="loader")
        self._sampler = sampler
        self._seeds = seeds
        self._batch_size = batch_size
        self._prepare = prepare
        self._num_threads = num_threads
        self._start_batch = start_batch
        self._ahead = num_threads * prefetch
        self.order: Int64s = np.arange(len(seeds))
        if shuffle is not None:
            np.random.default_rng(shuffle).shuffle(self.order)

    def __len__(self) -> int:
        """Batches still to come from ``start_batch`` on."""
        return max(0, -(-len(self._seeds) // self._batch_size) - self._start_batch)

    def __iter__(self) -> Iterator[T]:
        numbers = range(self._start_batch, self._start_batch + len(self))
        return in_order(numbers, self._make, self._num_threads, self._ahead)

    def _make(self, number: int) -> T:
        index = self.order[number * self._batch_size : (number + 1) * self._batch_size]
        return self._prepare(self._sampler.sample(self._seeds.take(index)))
