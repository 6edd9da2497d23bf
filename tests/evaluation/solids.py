# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Triangles of known solids."""

from __future__ import annotations

import numpy as np
import trimesh


def ball(radius: float, subdivisions: int = 4) -> np.ndarray:
    """A sphere about the origin: `(faces, 3, 3)`. With 4 subdivisions its faces lie within 0.2 % of the radius."""
    return np.asarray(trimesh.creation.icosphere(subdivisions, radius).triangles)


def box(low: tuple[float, float, float], high: tuple[float, float, float]) -> np.ndarray:
    return np.asarray(trimesh.creation.box(bounds=[low, high]).triangles)


def sheet(z: float) -> np.ndarray:
    """The square [-1, 1]^2 at a height."""
    a, b, c, d = [-1, -1, z], [1, -1, z], [1, 1, z], [-1, 1, z]
    return np.array([[a, b, c], [a, c, d]], dtype=float)


def letter() -> np.ndarray:
    """Three boxes without any symmetry."""
    parts = [
        box((-0.5, -0.2, -0.9), (-0.1, 0.2, 0.9)),
        box((-0.1, -0.2, -0.9), (0.7, 0.1, -0.6)),
        box((-0.1, -0.6, 0.5), (0.3, 0.0, 0.9)),
    ]
    return np.concatenate(parts)
