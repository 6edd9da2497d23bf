# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Which code renders: the one place where that is decided."""

from __future__ import annotations

import importlib
import os
from typing import Any

from ..modeling.field import TriplaneField


BACKENDS = ("auto", "torch", "triton")
VARIABLE = "LRM_HF_BACKEND"


def choose_backend(field: TriplaneField, backend: str = "auto", num_samples: int | None = None) -> str:
    """`"torch"` or `"triton"`, for one field.

    `"auto"` takes what the environment variable `LRM_HF_BACKEND` names, and where that is not set or `auto` itself:
    Triton for a field on a CUDA device that its kernels can take, torch for all others.

    Args:
        num_samples: samples per ray; default those of the field.

    Raises:
        ValueError: if there is no such backend, or the field can't be rendered by the one that was asked for; the
            message says why.
        ImportError: if what it needs is not installed.
    """
    origin = "`backend`"
    if backend == "auto":
        backend, origin = os.environ.get(VARIABLE) or "auto", f"the environment variable {VARIABLE}"
    if backend not in BACKENDS:
        raise ValueError(f"{origin} must be one of {', '.join(map(repr, BACKENDS))}, got {backend!r}.")
    if backend == "torch" or (backend == "auto" and field.device.type != "cuda"):
        return "torch"
    reason = _why_not_triton(field, num_samples)
    if backend == "auto":
        return "triton" if reason is None else "torch"
    if reason is not None:
        raise ValueError(f"{origin} asks for 'triton', which can't render this field: {reason}.")
    return "triton"


def triton_kernels() -> Any:
    """The module with the Triton kernels.

    Raises:
        ImportError: if Triton is not installed.
    """
    return importlib.import_module(".kernels", __package__)


def has_own_arithmetic(field: TriplaneField) -> bool:
    """Whether a subclass computes something else than planes and MLP say; only the plain way can ask it."""
    return type(field).raw is not TriplaneField.raw or type(field).features is not TriplaneField.features


def _why_not_triton(field: TriplaneField, num_samples: int | None) -> str | None:
    if has_own_arithmetic(field):
        return f"a {type(field).__name__} computes densities by itself"
    return triton_kernels().unsupported(field, field.device, num_samples)
