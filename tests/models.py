"""Every kind of model, by the settings that ask for it."""

from __future__ import annotations

from typing import Any

MODELS: dict[str, dict[str, Any]] = {
    "sage": {},
    "spread": {"aggregations": ["min", "std"], "pre_layers": 1, "post_layers": 2, "activation": "gelu"},
    "attention": {"messages": "attention"},
    "bridges": {"bridges": True},
    "attention across bridges": {"messages": "attention", "bridges": True, "dropout": 0.1},
    "transformer": {"kind": "transformer"},
    "module": {"module": "tests.modules:Plain"},
    "PyG's convolutions": {"module": "tests.modules:Convolutions", "module_options": {"num_layers": 2}},
    "PyG's to_hetero": {"module": "tests.modules:Converted"},
}
LAYERED = ("sage", "spread", "attention", "bridges", "attention across bridges")
"""Those that compute a row's vector layer by layer."""
