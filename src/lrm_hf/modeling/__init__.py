# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Models and their configurations. Imported lazily: the renderer needs the field, and the model needs the renderer."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from .configuration_lrm import LRMConfig, TriplaneFieldConfig
    from .field import TriplaneField
    from .modeling_lrm import LRMModel, LRMModelOutput, LRMPreTrainedModel

_HOMES = {
    "LRMConfig": "configuration_lrm",
    "TriplaneFieldConfig": "configuration_lrm",
    "TriplaneField": "field",
    "LRMModel": "modeling_lrm",
    "LRMModelOutput": "modeling_lrm",
    "LRMPreTrainedModel": "modeling_lrm",
}

__all__ = [
    "LRMConfig",
    "LRMModel",
    "LRMModelOutput",
    "LRMPreTrainedModel",
    "TriplaneField",
    "TriplaneFieldConfig",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
