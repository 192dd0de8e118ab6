"""The planted database of this folder's tests."""

from tests.planted import planted, planted_with

__all__ = ["planted", "planted_with"]
