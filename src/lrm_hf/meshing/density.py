# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""How meshing asks a field for its density: on the points of a whole grid, or at single ones of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..memory import bytes_per_point, points_at_a_time
from ..modeling.field import TriplaneField
from ..rendering.folding import fold, run_mlp


# A query holds some 350 floats per point for OpenLRM's largest field: about 180 MiB. A GPU may take more points.
POINTS_PER_QUERY = 2**17
# of fields that do not say how wide they are
_BYTES_PER_POINT = 2**12
# On a CPU as many points go through a folded field at a time as leave its features in a core's cache.
_CACHED_POINTS = 2**13
_LARGEST_FLOAT_BITS = 0x7F7FFFFF


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


def points_per_query(field: Field, gradients: bool = False) -> int:
    """Points of all entries in one query, where the caller does not say; with gradients, of a query whose steps are
    kept."""
    per_point = _BYTES_PER_POINT
    if isinstance(field, TriplaneField):
        per_point = bytes_per_point(field.config.channels, field.config.hidden_size)
    return points_at_a_time(field.planes.device, POINTS_PER_QUERY, per_point * (4 if gradients else 1))


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
        if not parts:
            return self._axis.new_zeros(0)
        raw = torch.cat(parts)
        self._note(entry, raw)
        return raw

    def _note(self, entry: Tensor, raw: Tensor) -> None:
        refused = raw.isnan() | (raw == torch.inf)
        low, high = raw.nan_to_num(torch.inf, torch.inf, -torch.inf), raw.nan_to_num(-torch.inf, torch.inf, -torch.inf)
        if len(self.evaluated) == 1:
            self.evaluated += len(raw)
            self.not_finite += refused.sum()
            self.lowest, self.highest = torch.minimum(self.lowest, low.amin()), torch.maximum(self.highest, high.amax())
            return
        if not raw.is_cuda:
            self.evaluated += entry.bincount(minlength=len(self.evaluated))
            self.not_finite += entry.bincount(weights=refused.double(), minlength=len(self.evaluated)).long()
            self.lowest.scatter_reduce_(0, entry, low, "amin")
            self.highest.scatter_reduce_(0, entry, high, "amax")
            return
        # entry by entry: on a GPU bincount waits for the host, and a scatter into few places for itself
        for number in range(len(self.evaluated)):
            own = entry == number
            self.evaluated[number] += own.sum()
            self.not_finite[number] += (refused & own).sum()
            self.lowest[number].clamp_(max=torch.where(own, low, torch.inf).amin())
            self.highest[number].clamp_(min=torch.where(own, high, -torch.inf).amax())

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
    """The lowest float32 raw density whose density exceeds `threshold`; infinite where none does."""
    # Floats in ascending order have ascending numbers: their bits, or for negative ones minus those of the size. One of
    # every 2^16 is looked at, and then all between the first that is above and the one before.
    last = _LARGEST_FLOAT_BITS
    first = -last
    for step in (2**16, 1):
        number = torch.arange(first, last + step, step).clamp_(max=last)
        raw = number.abs().to(torch.int32).view(torch.float32) * number.sign()
        above = field.density_from_raw(raw.to(field.planes.device)).cpu() > threshold
        if not bool(above.any()):
            return math.inf
        place = int(above.int().argmax())
        first, last = int(number[max(0, place - 1)]), int(number[place])
    return float(raw[place])


def _pieces(total: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, total, size))
