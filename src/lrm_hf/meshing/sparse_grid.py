# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The cells of a fine grid that a field's surface passes through, without a look at most of the others.

The raw density is taken at every s-th grid point first: a coarse grid of blocks of s cells along each axis, at least
one sample per texel of the planes. A block is looked into if the range of its eight corners, widened at both ends by a
part of the spread of the samples around it, has the threshold in it: `widening(s)` times their range, over the block
and its 26 neighbours. It is then cut into eight, and the same rule decides for these, with the spread over the 27
points of the block that they are cut from, down to blocks of two cells. Last, wherever the surface leaves the blocks
found through a face, the block behind that face is taken in, until it leaves through none.

What that guarantees:

1. Points, densities and cells are those of the dense grid (rounding aside): what is found is the dense grid's surface.
2. Every piece of that surface is found whole or not at all, so that it is closed, and what is attached to something
   that was found is not lost, however thin it is.
3. A part on its own is found, however small beside a block, if it is one step of the fine grid thick and the raw
   density falls off evenly, by L per step, with the distance from it (as far as the blocks around it). The worst is a
   ball in the middle of a block: the corners are (sqrt(3) s - 1) / 2 steps away from it, and lack that times L to the
   threshold; the farthest samples around lack sqrt(3) s L more. `widening(s)` is the quotient of the two, times a
   factor for safety. For a sheet, a rod and their like the quotient is smaller.

For fields in general there is no such bound: an MLP may make a spike of any height between two samples. `python -m
benchmarks.mesh` counts the pieces that both ways find.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..modeling.field import TriplaneField
from .density import GridDensity, RawField, raw_threshold
from .marching_cubes import Cells, corner_positions


# coarse blocks are no larger than this in texels (a little more than one, for grids of 2^n points), ...
MAX_BLOCK_TEXELS = 1.05
# ... and in cells, and there are at least so many of them along an axis
MAX_BLOCK_CELLS = 16
MIN_BLOCKS = 16
# Times what evenly falling densities need, on the coarse grid and below: fields of models and fitted ones do not fall
# off evenly. On two fields fitted to objects (base size, 256 points per axis, blocks of a texel) 1.25 on the coarse
# grid lost 60 of 95,787 cells and 1.5 none; below, 1 lost 28 of 101,663 and 1.25 none.
COARSE_SAFETY, FINE_SAFETY = 2.0, 1.5
# the density of points beside the box: less than any
OUTSIDE = -1.0

_Evaluate = Callable[[Tensor, Tensor], Tensor]  # entries [n], positions [n, 3] -> values [n]


def block_size(field: RawField, resolution: int) -> int:
    """Cells along an axis of a coarse block, a power of two; 1 where every grid point is to be evaluated."""
    limit = min(float(MAX_BLOCK_CELLS), resolution / MIN_BLOCKS)
    if isinstance(field, TriplaneField):
        limit = min(limit, MAX_BLOCK_TEXELS * (resolution - 1) / max(field.planes.shape[-2:]))
    size = 1
    while 2 * size <= limit:
        size *= 2
    return size


def widening(size: int, safety: float) -> float:
    """Part of the spread around a block of `size` cells by which the range of its corners is widened."""
    return safety * (1 - 1 / (math.sqrt(3) * size)) / 2


def surface_cells(density: GridDensity, threshold: float, cap_at_box: bool) -> Cells:
    """Cells that the surface passes through.

    The grid has one more point before the first and behind the last along each axis: grid point 0 is number 1 here.

    Args:
        density: the field's, on a grid of `density.resolution` points along each axis.
        threshold: density of the surface.
        cap_at_box: whether the points beside the box have a density, `OUTSIDE`, or there are no cells there.

    Returns:
        [`Cells`] with both signs at their corners, in ascending order of entry and position.
    """
    field, resolution = density.field, density.resolution
    size = block_size(field, resolution)
    raw_level = raw_threshold(field, threshold)

    def raw_at(entry: Tensor, position: Tensor) -> Tensor:
        return density(entry, position - 1)

    def density_at(entry: Tensor, position: Tensor) -> Tensor:
        if not cap_at_box:
            return field.density_from_raw(density(entry, position - 1))
        within = ((position >= 1) & (position <= resolution)).all(dim=-1)
        values = torch.full((len(entry),), OUTSIDE, device=entry.device)
        within = within.nonzero()[:, 0]
        values[within] = field.density_from_raw(density(entry[within], position[within] - 1))
        return values

    def reaches_cap(position: Tensor, size: int) -> Tensor:
        return ((position < 1) | (position + size > resolution)).any(dim=-1)

    # the coarse grid, and then blocks down to two cells
    batch, device = len(density.evaluated), density.evaluated.device
    if size == 1:
        size = 2
        blocks = _Blocks(batch, _block_count(resolution, 2), device)
        keys = torch.arange(batch * blocks.per_axis**3, device=device)
        keys = blocks.keys(*_unflatten(keys, blocks.per_axis))
    else:
        blocks = _Blocks(batch, _block_count(resolution, size), device)
        low, high, spread = _coarse_ranges(blocks, size, raw_at)
        entry, position = _unflatten(torch.arange(low.numel(), device=device), blocks.per_axis)
        if cap_at_box:
            low.masked_fill_(reaches_cap(position * size, size), -torch.inf)
        extra = widening(size, COARSE_SAFETY) * spread
        live = ((low - extra <= raw_level) & (high + extra > raw_level)).nonzero()[:, 0]
        keys = blocks.keys(entry[live], position[live])
    while size > 2:
        nodes = _Nodes(blocks, size // 2, raw_at)
        nodes.require(keys)
        values = nodes.values(keys)  # [n, 27]
        spread = values.amax(dim=1, keepdim=True) - values.amin(dim=1, keepdim=True)
        corners = values[:, _children(device)]  # [n, 8, 8]
        entry, position = blocks.positions(keys)
        size //= 2
        blocks = _Blocks(batch, _block_count(resolution, size), device)
        position = position[:, None] * 2 + corner_positions(device)
        low, high = corners.amin(dim=-1), corners.amax(dim=-1)
        if cap_at_box:
            low.masked_fill_(reaches_cap(position * size, size), -torch.inf)
        extra = widening(size, FINE_SAFETY) * spread
        live = (low - extra <= raw_level) & (high + extra > raw_level) & (position < blocks.per_axis).all(dim=-1)
        block, part = live.nonzero().unbind(-1)
        keys = blocks.keys(entry[block], position[block, part]).sort().values

    # the densities themselves, following the surface
    nodes = _Nodes(blocks, 1, density_at)
    nodes.require(keys)
    found, fresh = [], keys
    while len(fresh):
        values = nodes.values(fresh)
        found.append(_crossed_cells(blocks, fresh, values, threshold, None if cap_at_box else resolution))
        beyond = _behind_crossed_faces(blocks, fresh, values > threshold)
        fresh = beyond[~_contains(keys, beyond)]
        keys = torch.cat([keys, fresh]).sort().values
        nodes.require(fresh)
    if not found:
        empty = torch.zeros(0, dtype=torch.int64, device=device)
        return Cells(empty, empty.view(0, 3), torch.zeros(0, 8, device=device))
    cells = Cells(*(torch.cat(parts) for parts in zip(*found, strict=True)))
    order = blocks.cell_keys(cells.entry, cells.position).argsort()
    return Cells(*(part[order] for part in cells))


def _block_count(resolution: int, size: int) -> int:
    return -(-(resolution + 1) // size)


def _unflatten(index: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Entry and position of flat indices into `[batch, count, count, count]`."""
    position = torch.stack([index // count**2 % count, index // count % count, index % count], dim=-1)
    return index // count**3, position


class _Blocks(NamedTuple):
    """Names for the blocks of one size: one number for entry and position, ascending in this order. One more block
    along each axis has a number, so that a step beyond the last is not one into another row."""

    batch: int
    per_axis: int
    device: torch.device

    def keys(self, entry: Tensor, position: Tensor) -> Tensor:
        key = entry
        for coordinate in position.unbind(-1):
            key = key * (self.per_axis + 1) + coordinate
        return key

    def positions(self, keys: Tensor) -> tuple[Tensor, Tensor]:
        return _unflatten(keys, self.per_axis + 1)

    def corner_steps(self) -> Tensor:  # [8]
        """What to add to a key for the neighbour on the far side along x, y, z: none, some or all of them."""
        return self.keys(torch.zeros(8, dtype=torch.int64, device=self.device), self._corners())

    def cell_keys(self, entry: Tensor, position: Tensor) -> Tensor:
        key = entry
        for coordinate in position.unbind(-1):
            key = key * (2 * self.per_axis + 2) + coordinate
        return key

    def _corners(self) -> Tensor:
        return corner_positions(self.device)


def _coarse_ranges(blocks: _Blocks, size: int, evaluate: _Evaluate) -> tuple[Tensor, Tensor, Tensor]:
    """Lowest and highest raw density at the corners of each block, and the spread over it and its neighbours, flat."""
    count = blocks.per_axis + 1
    entry, position = _unflatten(torch.arange(blocks.batch * count**3, device=blocks.device), count)
    raw = evaluate(entry, position * size).view(blocks.batch, 1, count, count, count)
    ends = []
    for sign in (-1, 1):
        corners = F.max_pool3d(sign * raw, kernel_size=2, stride=1)
        around = F.max_pool3d(corners, kernel_size=3, stride=1, padding=1)
        ends += [sign * corners.flatten(), sign * around.flatten()]
    low, lowest, high, highest = ends
    return low, high, highest - lowest


class _Nodes:
    """Values at the points of blocks of 2 x 2 x 2 cells, each evaluated once however many blocks have it.

    A block owns the eight points of its low corner; the other 19 of its 27 belong to its neighbours. A point's value
    never
    changes: another evaluation could round otherwise, and tear the surface between two blocks.
    """

    def __init__(self, blocks: _Blocks, spacing: int, evaluate: _Evaluate) -> None:
        self._blocks, self._spacing, self._evaluate = blocks, spacing, evaluate
        device = blocks.device
        self._keys = torch.zeros(0, dtype=torch.int64, device=device)
        self._values = torch.zeros(0, 8, device=device)
        self._known = torch.zeros(0, 8, dtype=torch.bool, device=device)
        self._steps = blocks.corner_steps()
        corners = corner_positions(device)
        # a block d steps further needs to give its points at x = 0 where d is 1 along x: [8 steps, 8 points]
        self._gives = ((corners[:, None] & corners[None]) == 0).all(dim=-1).float()
        x, y, z = torch.meshgrid(*[torch.arange(3, device=device)] * 3, indexing="ij")
        node = torch.stack([x, y, z], dim=-1).view(27, 3)
        place = 1 << torch.arange(3, device=device)
        self._step_of_node, self._point_of_node = (node // 2 * place).sum(-1), (node % 2 * place).sum(-1)

    def require(self, keys: Tensor) -> None:
        """Evaluates what is missing of the points of blocks `keys` `(n,)`."""
        if not len(keys):
            return
        keys = keys.sort().values
        merged = torch.unique(torch.cat([self._keys, (keys[:, None] + self._steps).flatten()]))
        values = self._values.new_zeros(len(merged), 8)
        known = self._known.new_zeros(len(merged), 8)
        old = torch.searchsorted(merged, self._keys)
        values[old], known[old] = self._values, self._known
        wanted = _contains(keys, merged[:, None] - self._steps)  # [blocks, 8 steps]
        missing = (wanted.float() @ self._gives > 0) & ~known
        block, point = missing.nonzero().unbind(-1)
        entry, position = self._blocks.positions(merged[block])
        position = 2 * position + corner_positions(keys.device)[point]
        values[block, point] = self._evaluate(entry, position * self._spacing)
        self._keys, self._values, self._known = merged, values, known | missing

    def values(self, keys: Tensor) -> Tensor:
        """Values `(n, 27)` at the points of blocks, numbered by x, y, z."""
        block = torch.searchsorted(self._keys, keys[:, None] + self._steps)  # [n, 8]
        return self._values[block[:, self._step_of_node], self._point_of_node]


def _contains(ascending: Tensor, values: Tensor) -> Tensor:
    if not len(ascending):
        return torch.zeros_like(values, dtype=torch.bool)
    place = torch.searchsorted(ascending, values).clamp(max=len(ascending) - 1)
    return ascending[place] == values


def _children(device: torch.device) -> Tensor:
    """`(8, 8)`: which of a block's 27 points are the corners of the eight parts that it is cut into."""
    corners = corner_positions(device)
    x, y, z = (corners[:, None] + corners[None]).unbind(-1)
    return 9 * x + 3 * y + z


def _crossed_cells(
    blocks: _Blocks, keys: Tensor, values: Tensor, threshold: float, resolution: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Entry, position and corners of the cells with both signs; with a resolution, of those inside the box only."""
    corners = values[:, _children(keys.device)]  # [n, 8 cells, 8]
    inside = corners > threshold
    crossed = inside.any(dim=-1) & ~inside.all(dim=-1)
    entry, position = blocks.positions(keys)
    position = 2 * position[:, None] + corner_positions(keys.device)
    if resolution is not None:
        crossed &= ((position >= 1) & (position < resolution)).all(dim=-1)
    block, cell = crossed.nonzero().unbind(-1)  # one wait for a GPU, not one for each of three masks
    return entry[block], position[block, cell], corners[block, cell]


def _behind_crossed_faces(blocks: _Blocks, keys: Tensor, inside: Tensor) -> Tensor:
    """Keys of the blocks, in ascending order, behind those faces of blocks `keys` that have both signs."""
    inside = inside.view(-1, 3, 3, 3)
    _, position = blocks.positions(keys)
    behind, found = [], []
    for axis in range(3):
        step = (blocks.per_axis + 1) ** (2 - axis)
        for side in (0, 2):
            face = inside.select(axis + 1, side).flatten(1)
            neighbour = position[:, axis] + (side - 1)
            there = (neighbour >= 0) & (neighbour < blocks.per_axis)
            found.append(face.any(dim=1) & ~face.all(dim=1) & there)
            behind.append(keys + (side - 1) * step)
    return torch.unique(torch.cat(behind)[torch.cat(found)])
