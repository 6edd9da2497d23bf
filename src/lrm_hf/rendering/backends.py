# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Which code renders: the one place where that is decided."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

from ..modeling.field import TriplaneField


BACKENDS = ("auto", "torch", "triton")
VARIABLE = "LRM_HF_BACKEND"


def choose_backend(field: TriplaneField, backend: str = "auto") -> str:
    """`"torch"` or `"triton"`, for one field.

    `"auto"` takes what the environment variable `LRM_HF_BACKEND` names, and where that is not set or `auto` itself:
    Triton for a field on a CUDA device that its kernels can take, torch for all others.

    Raises:
        ValueError: if there is no such backend, or the field can't be rendered by the one that was asked for; the
            message says why.
        ImportError: if what it needs is not installed.
    """
    name = f"`backend` must be one of {', '.join(map(repr, BACKENDS))}"
    if backend == "auto":
        backend = os.environ.get(VARIABLE) or "auto"
        name = f"{VARIABLE} must be one of {', '.join(BACKENDS)}"
    if backend not in BACKENDS:
        raise ValueError(f"{name}, got {backend!r}.")
    if backend == "torch" or type(field).raw is not TriplaneField.raw:
        if backend == "triton":
            raise ValueError(f"backend 'triton' can't evaluate a {type(field).__name__} with a `raw` of its own.")
        return "torch"
    if backend == "auto":
        usable = field.device.type == "cuda" and importlib.util.find_spec("triton") is not None
        return "triton" if usable and triton_kernels().unsupported(field, field.device) is None else "torch"
    reason = triton_kernels().unsupported(field, field.device)
    if reason is not None:
        raise ValueError(f"backend 'triton' can't render this field: {reason}")
    return "triton"


def triton_kernels() -> Any:
    """The module with the Triton kernels.

    Raises:
        ImportError: if Triton is not installed.
    """
    if importlib.util.find_spec("triton") is None:
        raise ImportError("backend 'triton' needs triton, which comes with torch's CUDA builds: `pip install triton`.")
    from . import kernels

    return kernels
