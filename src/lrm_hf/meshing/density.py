# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""How meshing asks a field for its density: on the points of a whole grid, or at single ones of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..modeling.field import TriplaneField
from ..rendering.folding import fold, run_mlp


# A query holds some 350 floats per point for OpenLRM's largest field: about 180 MiB.
POINTS_PER_QUERY = 2**17
# On a CPU as many points go through a folded field at a time as leave its features in a core's cache.
_CACHED_POINTS = 2**13


class Field(Protocol):
    """What meshing needs of a field; [`~lrm_hf.modeling.field.TriplaneField`] is one."""

    @property
    def planes(self) -> Tensor: ...  # [batch, ...]; gives batch size and device

    @property
    def config(self) -> Any: ...  # radius, density_threshold

    def query(self, points: Tensor) -> tuple[Tensor, Tensor]: ...  # [batch, n, 3] -> [batch, n, 1], [batch, n, 3]


class RawField(Field, Protocol):
    """A field that says of empty points, too, how far from solid they are: what a search for its surface needs."""

    def raw(self, points: Tensor) -> tuple[Tensor, Tensor]: ...  # as `query`, with density before its activation

    def density_from_raw(self, raw: Tensor) -> Tensor: ...  # non-decreasing, elementwise


def has_raw_density(field: Field) -> bool:
    return hasattr(field, "raw") and hasattr(field, "density_from_raw")


def grid_axis(field: Field, resolution: int) -> Tensor:  # [resolution]
    """Coordinates of a grid's points along any axis, in world units: float32, both faces of the box included."""
    radius = float(field.config.radius)
    return torch.linspace(-radius, radius, resolution, dtype=torch.float32, device=field.planes.device)


def dense_density(field: Field, resolution: int, chunk_size: int, progress: bool) -> Tensor:
    """See [`~lrm_hf.meshing.density_grid`], which checks the arguments."""
    axis, total = grid_axis(field, resolution), resolution**3
    grid = torch.empty(len(field.planes), total, dtype=torch.float32, device=axis.device)
    with torch.no_grad():
        for start in tqdm(range(0, total, chunk_size), desc="density", disable=not progress):
            index = torch.arange(start, min(start + chunk_size, total), device=axis.device)
            points = torch.stack(
                [axis[index // resolution**2], axis[index // resolution % resolution], axis[index % resolution]], dim=-1
            )
            density, _ = field.query(points.expand(len(grid), -1, 3))
            grid[:, start : start + len(index)] = density.squeeze(-1)
    return grid.view(-1, resolution, resolution, resolution)


class GridDensity:
    """Raw density at single points of a grid, of all entries of a batch at once.

    For a `TriplaneField` the MLP's first layer is folded into the planes and no colour is computed. Of the values met
    so far it keeps the range, and counts those that are not finite.

    Attributes:
        evaluated: `(batch,)` int64 points evaluated of each entry.
        lowest, highest: `(batch,)` float32 raw density met; NaN is passed over.
        not_finite: `(batch,)` int64 values that were NaN or infinite; minus infinity is an empty point.
    """

    def __init__(self, field: RawField, resolution: int, chunk_size: int, progress: bool) -> None:
        self.field, self.resolution = field, resolution
        self._axis = grid_axis(field, resolution)
        batch, device = len(field.planes), self._axis.device
        self._points_per_query = max(1, chunk_size) * batch
        # subclasses may answer in another way, and are asked
        self._folded = fold(field) if type(field) is TriplaneField else None
        if self._folded is not None and device.type == "cpu":
            self._points_per_query = min(self._points_per_query, _CACHED_POINTS)
        self._bar = tqdm(desc="density", unit="points", unit_scale=True, disable=not progress)
        self.evaluated = torch.zeros(batch, dtype=torch.int64, device=device)
        self.not_finite = torch.zeros(batch, dtype=torch.int64, device=device)
        self.lowest = torch.full((batch,), torch.inf, device=device)
        self.highest = torch.full((batch,), -torch.inf, device=device)

    def close(self) -> None:
        self._bar.close()

    @torch.no_grad()
    def __call__(self, entry: Tensor, index: Tensor) -> Tensor:
        """Raw density `(n,)` at grid points `index` `(n, 3)`, which may lie outside and are then moved to the box's
        faces, of the entries `entry` `(n,)`, in ascending order."""
        parts = []
        for piece in _pieces(len(entry), self._points_per_query):
            points = self._axis[index[piece].clamp(0, self.resolution - 1)]
            parts.append(self._raw(entry[piece], points))
            self._bar.update(len(points))
        raw = torch.cat(parts) if parts else self._axis.new_zeros(0)
        refused = raw.isnan() | (raw == torch.inf)
        self.evaluated += entry.bincount(minlength=len(self.evaluated))
        self.not_finite += entry.bincount(weights=refused.double(), minlength=len(self.evaluated)).long()
        self.lowest.scatter_reduce_(0, entry, raw.nan_to_num(torch.inf, torch.inf, -torch.inf), "amin")
        self.highest.scatter_reduce_(0, entry, raw.nan_to_num(-torch.inf, torch.inf, -torch.inf), "amax")
        return raw

    def _raw(self, entry: Tensor, points: Tensor) -> Tensor:
        batch = len(self.evaluated)
        if self._folded is not None:
            with torch.autocast(points.device.type, enabled=False):
                hidden = self._folded.first_layer(points, entry if batch > 1 else None)
                return run_mlp(self._folded.field, hidden, outputs=1)[:, 0]
        if batch == 1:
            return self.field.raw(points[None])[0][0, :, 0].float()
        # entries have different numbers of points: shorter rows are filled up with the origin
        counts = entry.bincount(minlength=batch)
        column = torch.arange(len(entry), device=entry.device) - (counts.cumsum(0) - counts)[entry]
        rows = points.new_zeros(batch, int(counts.max()), 3)
        rows[entry, column] = points
        return self.field.raw(rows)[0][entry, column, 0].float()


def raw_threshold(field: RawField, threshold: float) -> float:
    """The raw density from which on the density exceeds `threshold`, to some parts in 1e7; infinite where none does."""
    high = torch.finfo(torch.float32).max
    low = -high
    for _ in range(24):  # each time a hundredth is left
        raw = torch.linspace(low, high, 101, dtype=torch.float64)
        above = field.density_from_raw(raw.float().to(field.planes.device)).cpu() > threshold
        if not bool(above.any()):
            return math.inf
        first = int(above.int().argmax())
        if first == 0:
            return low
        low, high = float(raw[first - 1]), float(raw[first])
    return high


def _pieces(total: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, total, size))
