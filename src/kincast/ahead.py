"""Ahead: things made by threads, some ahead of the one that is asked for, and handed out in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


def in_order(items: Iterable[S], make: Callable[[S], T], num_threads: int, ahead: int) -> Iterator[T]:
    """What is made of each item, in their order, made ahead by threads that end with the iteration.

    Args:
        items: taken one by one, in the calling thread.
        make: called in a thread; what it raises is raised when the item's turn comes.
        num_threads: items in the making at once; 0 makes each when it is asked for.
        ahead: items made or in the making at most, beyond the one asked for.
    """
    if num_threads == 0:
        yield from map(make, items)
        return
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="kincast-ahead")
    waiting: deque[Future[T]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
