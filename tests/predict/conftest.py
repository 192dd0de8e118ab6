"""The planted database and the shop of this folder's tests."""

from tests.kinds import shops, trained
from tests.planted import planted, planted_with, version

__all__ = ["planted", "planted_with", "shops", "trained", "version"]
