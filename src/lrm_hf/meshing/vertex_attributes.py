# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What a field says at the vertices of its surface: colours, and normals from the density's gradient."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..rendering.normals import outward_normals
from .density import Field


def vertex_colors(field: Field, vertices: list[np.ndarray], chunk_size: int, progress: bool) -> list[np.ndarray]:
    """Uint8 RGBA `(n, 4)` for the vertices `(n, 3)` of each batch entry.

    Raises:
        ValueError: if a colour is not finite.
    """

    def rgb(points: Tensor) -> Tensor:
        with torch.no_grad():
            return field.query(points)[1].float()

    colors = []
    for number, values in enumerate(_at_vertices(field, vertices, rgb, chunk_size, progress, "vertex colours")):
        if not bool(torch.isfinite(values).all()):
            raise ValueError(f"batch entry {number}: the field's colour is not finite at some vertices of the surface.")
        color = (values.clamp(0, 1) * 255).round().to(torch.uint8)
        colors.append(torch.cat([color, torch.full((len(color), 1), 255, dtype=torch.uint8)], dim=1).numpy())
    return colors


def vertex_normals(field: Field, vertices: list[np.ndarray], chunk_size: int, progress: bool) -> list[np.ndarray]:
    """Unit vectors `(n, 3)` against the density's gradient, for the vertices `(n, 3)` of each batch entry. At the cap
    they are those of the box; where the gradient is zero or not finite they are zero."""

    def outwards(points: Tensor) -> Tensor:
        return outward_normals(field, points)

    radius = float(field.config.radius)
    normals = []
    found = _at_vertices(field, vertices, outwards, chunk_size, progress, "vertex normals")
    for points, values in zip(vertices, found, strict=True):
        beside = np.where(np.abs(points) > radius, np.sign(points), 0.0)
        at_cap = beside.any(axis=1)
        normal = values.double().numpy()
        normal[at_cap] = beside[at_cap]  # a vertex lies beside one face only: its edge goes along one axis
        normals.append(normal)
    return normals


def _at_vertices(
    field: Field,
    vertices: list[np.ndarray],
    function: Callable[[Tensor], Tensor],  # [batch, n, 3] -> [batch, n, 3]
    chunk_size: int,
    progress: bool,
    what: str,
) -> list[Tensor]:
    radius, device = float(field.config.radius), field.planes.device
    counts = [len(entry) for entry in vertices]
    points = torch.zeros(len(vertices), max(counts), 3)  # shorter entries are filled up with the origin
    for row, entry in zip(points, vertices, strict=True):
        row[: len(entry)] = torch.from_numpy(entry)
    points = points.clamp(-radius, radius)  # the cap lies just outside the box
    chunks = tqdm(points.split(chunk_size, dim=1), desc=what, disable=not progress)
    values = torch.cat([function(chunk.to(device)).cpu() for chunk in chunks], dim=1)
    return [row[:count] for row, count in zip(values, counts, strict=True)]
