"""Threads: how many processors one forward or backward pass may use."""

from __future__ import annotations

import os

import torch

MOST = 4  # matrices of one batch are too small for more


def limit_threads() -> None:
    """Leave a processor to the loader's threads, for the whole process; an ``OMP_NUM_THREADS`` of the user's stands.

    OpenMP threads that wait for each other spin: with as many of them as processors, one more busy thread slows
    training down five to twenty times (measured on two cores).
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, min(MOST, (os.cpu_count() or 2) - 1)))
