# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Models and their configurations. Imported lazily: the renderer needs the field, and the model needs the renderer."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from .configuration_lrm import LRMConfig, TriplaneFieldConfig
    from .configuration_triposr import TripoSRConfig
    from .field import TriplaneField
    from .modeling_base import LRMModelOutput, LRMPreTrainedModel
    from .modeling_lrm import LRMModel
    from .modeling_triposr import TripoSRModel

_HOMES = {
    "LRMConfig": "configuration_lrm",
    "TriplaneFieldConfig": "configuration_lrm",
    "TriplaneField": "field",
    "LRMModel": "modeling_lrm",
    "LRMModelOutput": "modeling_base",
    "LRMPreTrainedModel": "modeling_base",
    "TripoSRConfig": "configuration_triposr",
    "TripoSRModel": "modeling_triposr",
}

__all__ = [
    "LRMConfig",
    "LRMModel",
    "LRMModelOutput",
    "LRMPreTrainedModel",
    "TriplaneField",
    "TriplaneFieldConfig",
    "TripoSRConfig",
    "TripoSRModel",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
