"""What tests of models share."""

from tests.planted import planted, planted_with, version

__all__ = ["planted", "planted_with", "version"]
