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
Cells of blocks that are not empty are looked at once more, by their own eight corners.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..cameras import Cameras
from ..memory import bytes_per_point, points_at_a_time
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
# points that go through the MLP at a time on a CPU
SLAB_POINTS = 2**12
# layers of cells that are looked at again at a time; more, where no more cells than points at a time are in them
SLAB_CELLS = 8
# a block that is projected into a picture has this many cells along an axis
SKIP = 2
# in parts of the radius: what is nearer to the camera's plane is not projected
MIN_DEPTH = 1e-3
# pixels by which rectangles are wider than they are: far more than rounding, far less than a pixel
SLACK = 0.05


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
    at_a_time = points_at_a_time(
        field.device, SLAB_POINTS, bytes_per_point(field.config.channels, field.config.hidden_size)
    )
    layers = max(SLAB_CELLS, at_a_time // (2 * points) ** 2)
    limit = max_empty_raw(field.config, points)
    block = (torch.arange(2 * points, device=field.device) + 1) // 2  # that each cell lies in
    cells = []
    for entry in range(len(field)):  # in a batch the products could round otherwise
        raw = _raw_on_lattice(folded, entry, points, at_a_time)[None, None]
        highest = F.max_pool3d(raw, kernel_size=2, stride=1)[0, 0]
        lowest = -F.max_pool3d(-raw, kernel_size=2, stride=1)[0, 0]
        occupied = (_bound(highest, lowest) > limit)[block][:, block][:, :, block]
        for start in range(0, 2 * points, layers):
            _refine(folded, entry, occupied, slice(start, start + layers), limit, at_a_time)
        cells.append(occupied)
    return torch.stack(cells)


def _bound(highest: Tensor, lowest: Tensor) -> Tensor:
    """Upper end of the raw density between corners, of which the highest and the lowest are given."""
    return highest + SPREAD * (highest - lowest) + MARGIN


def _refine(folded: FoldedField, entry: int, occupied: Tensor, part: slice, limit: float, at_a_time: int) -> None:
    """Takes out, of the cells `occupied` `(n, n, n)` in a part of the x axis, those whose own corners show that they
    are empty: no texel's middle lies within a cell either."""
    cells = occupied[part].nonzero()  # [m, 3]
    if not len(cells):
        return
    corners, index = _corners(cells, len(occupied[part]) + 1, occupied.shape[-1] + 1)
    corners[:, 0] += part.start
    points = (corners * (2 / occupied.shape[-1]) - 1) * folded.config.radius
    raw = torch.empty(len(points), device=cells.device)
    for start in range(0, len(points), at_a_time):
        some = slice(start, start + at_a_time)
        owner = torch.full((len(points[some]),), entry, device=cells.device) if len(folded.planes) > 1 else None
        raw[some] = run_mlp(folded.field, folded.first_layer(points[some], owner), outputs=1)[:, 0]
    of_cells = raw[index]
    occupied[part][cells.unbind(1)] = _bound(of_cells.amax(dim=0), of_cells.amin(dim=0)) > limit


def _raw_on_lattice(folded: FoldedField, entry: int, points: int, at_a_time: int) -> Tensor:
    """Raw density `(points + 2, points + 2, points + 2)` at the middles of texels, and at the box's faces."""
    tables = _on_lattice(folded.planes[entry], points).contiguous()
    count = points + 2
    sums = []
    for table, (horizontal, vertical) in zip(tables, folded.config.plane_axes or (), strict=True):
        shape = [1, 1, 1, table.shape[-1]]
        shape[horizontal] = shape[vertical] = count
        sums.append((table if vertical < horizontal else table.transpose(0, 1)).reshape(shape))
    raw = torch.empty(count, count, count, device=folded.planes.device)
    slab = max(1, at_a_time // count**2)
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


@torch.no_grad()
def occupied_pixels(
    occupancy: Tensor,
    radius: float,
    cameras: Cameras,
    height: int,
    width: int,
    anchors: Tensor | None = None,
    full_size: tuple[int, int] | None = None,
) -> Tensor:
    """Which pixels look at an occupied cell: all that do, and some beside them.

    Blocks of cells that hold an occupied one are projected into the picture. A pixel counts if it lies in the rectangle
    around a block's eight corners; all pixels count where a block reaches behind the camera.

    Args:
        occupancy: `(batch, n, n, n)`.
        cameras: `(batch, views)`.
        height, width, anchors, full_size: as in `camera_rays`, `anchors` `(batch, views, 2)`.

    Returns:
        `(batch, views, height, width)` bool.
    """
    batch, views = cameras.shape
    edge = SKIP * 2 * radius / occupancy.shape[-1]
    blocks = _blocks(occupancy)
    count = blocks.shape[-1] + 1
    # not the transposed rotation: poses are rotations up to a percent only
    to_camera = torch.linalg.inv_ex(cameras.cam2world[..., :3, :3].double()).inverse.float()  # `inv` waits for a GPU
    full_height, full_width = full_size or (height, width)
    found = torch.empty(batch, views, height, width, dtype=torch.bool, device=occupancy.device)
    for entry in range(batch):  # as many blocks as an entry has; bounded work for each view
        corners, index = _corners(blocks[entry].nonzero(), count, count)
        corners = corners * edge - radius
        step = _views_at_a_time(occupancy.device, index.shape[1])
        for start in range(0, views, step):
            part = slice(start, start + step)
            pose, k = cameras.cam2world[entry, part], cameras.intrinsics[entry, part, :, :, None]
            local = (corners - pose[:, None, :3, 3]) @ to_camera[entry, part].transpose(1, 2)  # [views, points, 3]
            depth = -local[..., 2]
            behind = (depth < 0)[:, index].all(dim=1)
            cut = (depth < MIN_DEPTH * radius)[:, index].any(dim=1) & ~behind
            x, y = (local[..., :2] / depth.clamp(min=MIN_DEPTH * radius)[..., None]).unbind(-1)
            row = k[:, 1, 2] - k[:, 1, 1] * y
            column = k[:, 0, 2] + k[:, 0, 0] * x - k[:, 0, 1] * y
            places = torch.stack([row * full_height, column * full_width]) - 0.5
            if anchors is not None:
                places = places - anchors[entry, part].t()[..., None]
            found[entry, part] = _covered(places[..., index], cut, behind, height, width)
    return found


def _views_at_a_time(device: torch.device, blocks: int) -> int:
    """That blocks are projected into: a core's cache holds what one view takes, a GPU has room for more. A block and
    view take 3 kB."""
    return max(1, min(16, 2**15 // max(1, blocks))) if device.type == "cuda" else 1


def _corners(cells: Tensor, layers: int, count: int) -> tuple[Tensor, Tensor]:
    """Of cells `(m, 3)` in a lattice of `layers` points along the first axis and `count` along the others, the points
    `(k, 3)` that are a corner of any, in float32, and for each cell which of them are its eight `(8, m)`."""
    two = torch.arange(2, device=cells.device)
    around = (two[:, None, None] * (count * count) + two[:, None] * count + two).reshape(8, 1)
    number = (cells[:, 0] * count + cells[:, 1]) * count + cells[:, 2] + around
    wanted = torch.zeros(layers * count * count, dtype=torch.bool, device=cells.device)
    wanted[number] = True
    found = wanted.nonzero()[:, 0]
    order = wanted.cumsum(0, dtype=torch.int32) - 1
    layer, rest = torch.div(found, count * count, rounding_mode="floor"), found % (count * count)
    corners = torch.stack([layer, torch.div(rest, count, rounding_mode="floor"), rest % count], dim=1)
    return corners.float(), order[number]


def _blocks(occupancy: Tensor) -> Tensor:
    """Blocks `(batch, m, m, m)` of `SKIP` cells along an axis, m = n / SKIP rounded up, that hold an occupied cell."""
    missing = -occupancy.shape[-1] % SKIP
    blocks = F.pad(occupancy, (0, missing) * 3) if missing else occupancy
    for axis in (1, 2, 3):
        blocks = blocks.unflatten(axis, (-1, SKIP)).any(dim=axis + 1)
    return blocks


def _covered(places: Tensor, cut: Tensor, behind: Tensor, height: int, width: int) -> Tensor:
    """Pixels `(views, height, width)` in the rectangles around groups of places, rows and columns
    `(2, views, 8, groups)`. Groups that are `cut` `(views, groups)` cover everything, those that are `behind` nothing.
    """
    first = (places.amin(dim=2) - SLACK).ceil().clamp(min=0).masked_fill(cut, 0.0)
    last = ((places.amax(dim=2) + SLACK).floor() + 1).masked_fill(cut, torch.inf).masked_fill(behind, 0.0)
    first, last = (torch.stack([end[0].clamp(max=height), end[1].clamp(max=width)]).long() for end in (first, last))
    last = torch.maximum(last, first)
    # one at a rectangle's first corner, taken back behind its sides: sums along both axes count rectangles
    views = cut.shape[0]
    steps = torch.zeros(views, height + 1, width + 1, dtype=torch.int32, device=places.device)
    one = torch.ones(cut.numel(), dtype=torch.int32, device=places.device)
    offset = torch.arange(views, device=places.device)[:, None] * ((height + 1) * (width + 1))
    for row, column, sign in ((first, first, 1), (first, last, -1), (last, first, -1), (last, last, 1)):
        where = row[0] * (width + 1) + column[1] + offset
        steps.view(-1).index_add_(0, where.reshape(-1), one, alpha=sign)
    return (steps.cumsum(1).cumsum(2) > 0)[:, :height, :width]


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
