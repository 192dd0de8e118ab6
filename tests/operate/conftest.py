"""Fixtures of the operate tests: the registry's."""

from __future__ import annotations

from tests.registry.conftest import empty_database as empty_database
from tests.registry.conftest import registry as registry
