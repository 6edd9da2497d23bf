# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Fields of analytic shapes and of arrays, and what every mesh must fulfil."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from lrm_hf.meshing import LRMMesh


THRESHOLD = 3.0
Shape = Callable[[Tensor], Tensor]  # points [n, 3] -> distance to the surface [n], negative inside


class ShapeField:
    """A batch of shapes. The density is 3 on the surface and grows inwards by 20 per world unit; the colour is the
    position in the box plus the batch index. It has no raw density."""

    def __init__(self, *shapes: Shape, radius: float = 1.0) -> None:
        self.shapes = shapes
        self.planes = torch.zeros(len(shapes), 3, 1, 1, 1)
        self.config = SimpleNamespace(radius=radius, density_threshold=THRESHOLD)
        self.queries: list[tuple[int, ...]] = []
        self.largest_coordinate = 0.0
        self.grad_enabled = False

    def query(self, points: Tensor) -> tuple[Tensor, Tensor]:
        self.queries.append(tuple(points.shape))
        self.largest_coordinate = max(self.largest_coordinate, float(points.detach().abs().max()))
        self.grad_enabled |= torch.is_grad_enabled()
        assert points.dtype == torch.float32
        distance = torch.stack([shape(p) for shape, p in zip(self.shapes, points, strict=True)])
        return (THRESHOLD - 20 * distance[..., None]).clamp(min=0), self.rgb(points)

    def rgb(self, points: Tensor) -> Tensor:
        return points / (2 * self.config.radius) + 0.5 + torch.arange(len(points))[:, None, None]


class RawShapeField(ShapeField):
    """The same with its raw density, which falls off outside by 20 per world unit as well."""

    def raw(self, points: Tensor) -> tuple[Tensor, Tensor]:
        self.query(points)  # to keep count
        distance = torch.stack([shape(p) for shape, p in zip(self.shapes, points, strict=True)])
        return THRESHOLD - 20 * distance[..., None], self.rgb(points)

    def density_from_raw(self, raw: Tensor) -> Tensor:
        return raw.clamp(min=0)


class GridField(ShapeField):
    """The density of a cubic array at its own grid points, and nowhere else."""

    def __init__(self, values: np.ndarray) -> None:
        super().__init__(lambda points: points[:, 0])
        self.values = torch.from_numpy(values)

    def query(self, points: Tensor) -> tuple[Tensor, Tensor]:
        steps = (points[0] + 1) * (len(self.values) - 1) / 2
        x, y, z = steps.round().long().T
        return self.values[x, y, z][None, :, None], self.rgb(points)


class RawGridField(GridField):
    """The same with its values as raw density."""

    def raw(self, points: Tensor) -> tuple[Tensor, Tensor]:
        return self.query(points)

    def density_from_raw(self, raw: Tensor) -> Tensor:
        return raw


def sphere(radius: float, centre: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Shape:
    return lambda points: (points - torch.tensor(centre)).norm(dim=-1) - radius


def torus(large: float, small: float) -> Shape:
    return lambda points: torch.hypot(torch.hypot(points[:, 0], points[:, 1]) - large, points[:, 2]) - small


def rod(radius: float) -> Shape:
    return lambda points: torch.hypot(points[:, 0], points[:, 1]) - radius


def shell(outer: float, inner: float) -> Shape:
    return lambda points: (points.norm(dim=-1) - (outer + inner) / 2).abs() - (outer - inner) / 2


def either(*shapes: Shape) -> Shape:
    return lambda points: torch.stack([shape(points) for shape in shapes]).amin(dim=0)


def assert_sound(mesh: LRMMesh) -> None:
    """Closed, oriented outwards, without duplicate vertices, degenerate or duplicate faces, loose vertices, NaN."""
    vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces)
    assert np.isfinite(vertices).all()
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume > 0
    assert len(np.unique(vertices, axis=0)) == len(vertices)
    assert len(np.unique(vertices.astype(np.float32), axis=0)) == len(vertices)  # as files have them
    assert len(np.unique(np.sort(faces, axis=1), axis=0)) == len(faces)
    assert set(faces.ravel()) == set(range(len(vertices)))
    assert mesh.area_faces.min() > 0
    np.testing.assert_allclose(np.linalg.norm(mesh.vertex_normals, axis=1), 1, atol=1e-6)
