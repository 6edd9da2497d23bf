# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Layers whose initial weights differ from the model's `initializer_range`."""

from __future__ import annotations

from typing import Any, TypeVar

from torch import nn


LayerT = TypeVar("LayerT", bound=nn.Module)


def with_init_std(layer: LayerT, std: float) -> LayerT:
    """Marks a layer with a standard deviation of its own for its initial weights; 0 makes them zero."""
    marked: Any = layer
    marked.init_std = std
    return layer


def init_std(layer: nn.Module, default: float) -> float:
    """The standard deviation that `with_init_std` gave to the layer, or the default."""
    return getattr(layer, "init_std", default)
