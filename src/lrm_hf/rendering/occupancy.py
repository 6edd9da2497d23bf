# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Which cells of a field's box can hold anything that a picture shows.

The raw density is found at a lattice of points as dense as the planes' texels: at the middles of texels in all three
planes, and at the faces of the box. Between neighbouring points of the lattice the MLP's first layer is affine along
each axis: its outputs anywhere in a block of the lattice are means of those at the block's eight corners. The raw
density there is therefore taken to lie between those of the corners, widened by a margin. A block is empty if the upper
end of that range can't give an alpha above `MAX_EMPTY_ALPHA` along the longest way through the block.

That is no proof, since the layers that follow are not affine. It holds for planes whose neighbouring texels have much
in common, as models make them; of planes of white noise the corners tell too little (`exact=True` renders these).

Blocks lie half a texel beside the cells that the box divides into, so that the grid has two cells per texel, each of
which lies in one block. The lattice needs no interpolation: three sums of two tables give the first layer on all of it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..modeling.configuration_lrm import TriplaneFieldConfig
from ..modeling.field import TriplaneField
from .folding import FoldedField, fold, kept_with, run_mlp


# a ray through empty cells only misses less than this of its light in each of them
MAX_EMPTY_ALPHA = 1e-4
# what is added to the highest of a block's eight raw densities: a part of their spread, and a constant. Of 1.5 million
# random points in each of four fields, fitted ones and the bundled model's, none in an empty block had more than 0.8 of
# the density allowed with these margins, and two had 1.01 of it without
SPREAD, MARGIN = 0.1, 0.25
# lattice points along an axis where planes are smaller than that: more cost little
MIN_POINTS = 16
# points that go through the MLP at a time
SLAB_POINTS = 2**14
# one cell of the grid that rays are tested with has this many of the fine cells along an axis
SKIP = 4
# points of rays that are looked up at a time
MARCH_POINTS = 2**16


def occupancy_grid(field: TriplaneField) -> Tensor:
    """Cells of a field that are worth a look. Kept with the field until planes, weights or biases change in place.

    Returns:
        `(batch, n, n, n)` bool, indexed by x, y, z, over the box `[-radius, radius]^3`; n is twice the longer side of
        the planes, at least 32.
    """
    tensors = (field.planes, *field.weights, *field.biases)
    return kept_with(field, "_occupancy", tensors, lambda: _build(field))


def max_empty_raw(config: TriplaneFieldConfig, points: int) -> float:
    """The raw density that no point of an empty block may reach, with so many lattice points along an axis."""
    if config.sampling == "uniform" and config.step_length == "normalized":
        way = 1.0  # the length that a whole ray counts for, however short it is
    else:
        way = math.sqrt(3) * 2 * config.radius / points
    density = -math.log1p(-MAX_EMPTY_ALPHA) / way
    shifted = math.log(density if config.density_activation == "exp" else math.expm1(density))
    return shifted - config.density_bias


def _build(field: TriplaneField) -> Tensor:
    points = max(MIN_POINTS, *field.planes.shape[-2:])
    folded = fold(field)
    limit = max_empty_raw(field.config, points)
    block = (torch.arange(2 * points, device=field.device) + 1) // 2  # that each cell lies in
    cells = []
    for entry in range(len(field)):  # in a batch the products could round otherwise
        occupied = _bound(_raw_on_lattice(folded, entry, points)) > limit
        cells.append(occupied[block][:, block][:, :, block])
    return torch.stack(cells)


def _bound(raw: Tensor) -> Tensor:
    """Upper end of the raw density in each block `(n - 1, n - 1, n - 1)`, from that at corners `(n, n, n)`."""
    highest = F.max_pool3d(raw[None, None], kernel_size=2, stride=1)[0, 0]
    lowest = -F.max_pool3d(-raw[None, None], kernel_size=2, stride=1)[0, 0]
    return highest + SPREAD * (highest - lowest) + MARGIN


def _raw_on_lattice(folded: FoldedField, entry: int, points: int) -> Tensor:
    """Raw density `(points + 2, points + 2, points + 2)` at the middles of texels, and at the box's faces."""
    tables = _on_lattice(folded.planes[entry], points).contiguous()
    count = points + 2
    sums = []
    for table, (horizontal, vertical) in zip(tables, folded.config.plane_axes or (), strict=True):
        shape = [1, 1, 1, table.shape[-1]]
        shape[horizontal] = shape[vertical] = count
        sums.append((table if vertical < horizontal else table.transpose(0, 1)).reshape(shape))
    raw = torch.empty(count, count, count, device=folded.planes.device)
    slab = max(1, SLAB_POINTS // count**2)
    for start in range(0, count, slab):
        part = slice(start, start + slab)
        first, second, third = (table[part] if table.shape[0] > 1 else table for table in sums)
        hidden = (first + second + third).reshape(-1, first.shape[-1])
        raw[part] = run_mlp(folded.field, hidden, outputs=1).reshape(raw[part].shape)
    return raw


def _on_lattice(planes: Tensor, points: int) -> Tensor:
    """Folded planes with their rim `(3, height + 2, width + 2, hidden)`, at the lattice's points
    `(3, points + 2, points + 2, hidden)`."""
    index = torch.arange(-1, points + 1, device=planes.device)
    place = ((2 * index + 1) / points - 1).clamp(-1, 1)
    row, column = torch.meshgrid(place, place, indexing="ij")
    grid = torch.stack([column, row], dim=-1).expand(3, -1, -1, -1).contiguous()
    inner = planes[:, 1:-1, 1:-1].permute(0, 3, 1, 2)
    return F.grid_sample(inner, grid, padding_mode="zeros", align_corners=False).permute(0, 2, 3, 1)


def can_use(config: TriplaneFieldConfig) -> bool:
    """Whether the grid covers all that rays see: not where they start outside the box that it divides, and do not take
    what lies there for empty."""
    return config.sampling == "importance" or config.bounds_scale <= 1


def is_occupied(
    occupancy: Tensor, radius: float, origins: Tensor, directions: Tensor, depths: Tensor, owner: Tensor | None
) -> Tensor:
    """Whether samples lie in occupied cells; beside the box, in those at its faces.

    Args:
        occupancy: `(batch, n, n, n)`.
        origins, directions: `(rays, 3)`.
        depths: `(rays, samples)`.
        owner: `(rays,)` batch entry that each ray looks at; none for a batch of one.

    Returns:
        `(rays, samples)` bool.
    """
    return _lookup(occupancy, occupancy.shape[-1] / (2 * radius), radius, origins, directions, depths, owner)


def touches_occupied(
    occupancy: Tensor, radius: float, origins: Tensor, directions: Tensor, near: Tensor, far: Tensor
) -> Tensor:
    """Whether rays come near any occupied cell between `near` and `far`; all that pass through one do.

    Args:
        occupancy: `(batch, n, n, n)`.
        origins, directions: `(batch, rays, 3)`; near, far: `(batch, rays, 1)`.

    Returns:
        `(batch, rays, 1)` bool.
    """
    batch, rays = origins.shape[:2]
    # steps as long as a cell of a coarser grid, in which each occupied cell has its neighbours occupied as well: no
    # point of a ray is further than half a cell from a step
    blocks = F.max_pool3d(occupancy.to(torch.float32), kernel_size=SKIP, stride=SKIP, ceil_mode=True)
    blocks = F.max_pool3d(blocks, kernel_size=3, stride=1, padding=1) > 0
    step = SKIP * 2 * radius / occupancy.shape[-1]
    steps = max(1, math.ceil(float((far - near).max()) / step))
    index = torch.arange(steps, dtype=near.dtype, device=near.device) + 0.5
    found = torch.empty(batch, rays, 1, dtype=torch.bool, device=near.device)
    part = max(1, MARCH_POINTS // steps)
    for entry in range(batch):  # bounded work for each, and one entry's grid stays in the cache
        for start in range(0, rays, part):
            some = (entry, slice(start, start + part))
            depths = torch.minimum(near[some] + index * step, far[some])
            live = _lookup(
                blocks[entry : entry + 1], 1 / step, radius, origins[some], directions[some], depths, owner=None
            )
            found[some] = live.any(dim=1, keepdim=True)
    return found


def _lookup(
    grid: Tensor,
    scale: float,
    radius: float,
    origins: Tensor,
    directions: Tensor,
    depths: Tensor,
    owner: Tensor | None,
) -> Tensor:
    """Entries `(rays, samples)` of `grid` `(batch, n, n, n)`, whose cells measure `1 / scale`, at points of rays."""
    cells = grid.shape[-1]
    start = (origins + radius) * scale
    way = directions * scale
    flat = torch.zeros((), dtype=torch.int32, device=grid.device) if owner is None else owner[:, None].to(torch.int32)
    for axis in range(3):
        cell = torch.addcmul(start[:, axis, None], way[:, axis, None], depths)
        flat = flat * cells + cell.clamp_(0, cells - 1).to(torch.int32)
    return grid.reshape(-1).index_select(0, flat.reshape(-1)).reshape(depths.shape)
