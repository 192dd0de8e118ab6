"""Kincast: predict the future of the rows of a relational database with graph neural networks."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kincast.context.ask import ask
    from kincast.errors import KincastError
    from kincast.graph.append import append
    from kincast.graph.build import build_snapshot
    from kincast.graph.compact import compact
    from kincast.graph.delta import DeltaLog
    from kincast.graph.follow import Live
    from kincast.graph.ingest import ingest
    from kincast.graph.open import open_snapshot
    from kincast.predict.batch import predict_all
    from kincast.predict.live import LivePredictor
    from kincast.predict.online import Predictor
    from kincast.project import Project, read_project
    from kincast.query.compile import compile_task
    from kincast.registry.version import load_version
    from kincast.report import Report
    from kincast.sample.audit.loader import audit_loader
    from kincast.schema import Schema
    from kincast.source.open import open_source
    from kincast.source.stream import open_stream
    from kincast.train.pretrain import pretrain_task
    from kincast.train.run import train_task
    from kincast.train.search.plan import ModelPlan
    from kincast.train.search.read import read_plan
    from kincast.train.search.suggest import suggest_model_plan

__version__ = "0.1.0"

__all__ = [
    "DeltaLog",
    "KincastError",
    "Live",
    "LivePredictor",
    "ModelPlan",
    "Predictor",
    "Project",
    "Report",
    "Schema",
    "append",
    "ask",
    "audit_loader",
    "build_snapshot",
    "compact",
    "compile_task",
    "ingest",
    "load_version",
    "open_snapshot",
    "open_source",
    "open_stream",
    "predict_all",
    "pretrain_task",
    "read_plan",
    "read_project",
    "suggest_model_plan",
    "train_task",
]

# Public name → where it is defined. Loaded on first use, so that `import kincast` costs next to nothing.
_HOMES = {
    "DeltaLog": "kincast.graph.delta",
    "KincastError": "kincast.errors",
    "Live": "kincast.graph.follow",
    "LivePredictor": "kincast.predict.live",
    "ModelPlan": "kincast.train.search.plan",
    "Predictor": "kincast.predict.online",
    "Project": "kincast.project",
    "Report": "kincast.report",
    "Schema": "kincast.schema",
    "append": "kincast.graph.append",
    "ask": "kincast.context.ask",
    "audit_loader": "kincast.sample.audit.loader",
    "build_snapshot": "kincast.graph.build",
    "compact": "kincast.graph.compact",
    "compile_task": "kincast.query.compile",
    "ingest": "kincast.graph.ingest",
    "load_version": "kincast.registry.version",
    "open_snapshot": "kincast.graph.open",
    "open_source": "kincast.source.open",
    "open_stream": "kincast.source.stream",
    "predict_all": "kincast.predict.batch",
    "pretrain_task": "kincast.train.pretrain",
    "read_plan": "kincast.train.search.read",
    "read_project": "kincast.project",
    "suggest_model_plan": "kincast.train.search.suggest",
    "train_task": "kincast.train.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'kincast' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
