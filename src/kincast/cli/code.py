"""Code: what the program exits with."""

from __future__ import annotations

OK, FAILED, USAGE, ENVIRONMENT = 0, 1, 2, 3
BUG = 70
INTERRUPTED = 130
