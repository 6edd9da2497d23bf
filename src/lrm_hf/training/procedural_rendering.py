# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Ray casting of many primitives into many pictures.

Rays are cast in *groups* that share a list of candidate primitives: 8 x 8 pixel tiles for the picture, then the
sub-pixel rays of single edge pixels. Tensors are laid out (rays of a group, groups), so that the long axis is the fast
one. Groups meet their candidates in rounds, one candidate each, so that no round writes a place twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..cameras import Cameras, project_points
from . import procedural_primitives as primitives
from .procedural_primitives import HOLLOW, TORUS
from .procedural_textures import texture_weights
from .views import shade


TILE = 8
EDGE_CONTRAST = 0.05  # neighbours that differ by more in a colour channel are supersampled

# rows of the table of primitives
TO_LOCAL = slice(0, 9)
QUADRIC = slice(9, 14)
CAVITY_LOW = slice(14, 17)
CAVITY_HIGH = slice(17, 20)
CAVITY_QUADRIC = slice(20, 25)
TUBE = 25
HALF_SIZE = slice(26, 29)
COLOUR = slice(29, 32)
SECOND = slice(32, 35)
AXIS = slice(35, 38)
FREQUENCY, PHASE, TEXTURE, KIND = 38, 39, 40, 41


@dataclass
class Scene:
    """Flattened tables of `objects` primitives in `views` pictures.

    Attributes:
        shape: (objects, views, primitive slots).
        rays: `(12, objects * views * slots)`: the local ray of picture point (u, v) is origin + t (a + u b + v c), as
            rows a, b, c, origin of three each.
        world: `(9, objects * views)`: row-major matrix from [u, v, 1] to the world direction, not normalised.
        table: `(42, objects * slots)`: the primitives, see the row names above.
    """

    shape: tuple[int, int, int]
    rays: Tensor
    world: Tensor
    table: Tensor

    def primitive_of(self, column: Tensor) -> Tensor:
        """Column of `rays` -> column of `table`."""
        _, views, slots = self.shape
        return torch.div(column, views * slots, rounding_mode="floor") * slots + column % slots

    def view_of(self, column: Tensor) -> Tensor:
        """Column of `rays` -> column of `world`."""
        return torch.div(column, self.shape[2], rounding_mode="floor")


def build_scene(to_local: Tensor, centre: Tensor, table: Tensor, cameras: Cameras) -> Scene:
    """From `(objects, slots, ...)` geometry and cameras of shape `(objects, views)`."""
    objects, slots = centre.shape[:2]
    views = cameras.shape[1]
    intrinsics = torch.linalg.inv(cameras.intrinsics.to(to_local))
    flip = torch.tensor([1.0, -1.0, -1.0], dtype=to_local.dtype, device=to_local.device)
    cam2world = cameras.cam2world.to(to_local)
    world = cam2world[..., :3, :3] @ (flip[:, None] * intrinsics)
    local = to_local[:, None] @ world[:, :, None]  # objects, views, slots, 3, 3
    origin = to_local[:, None] @ (cam2world[..., None, :3, 3] - centre[:, None])[..., None]
    rays = torch.cat([local[..., 2], local[..., 0], local[..., 1], origin[..., 0]], dim=-1)
    rays = rays.flatten(0, 2).t().contiguous()
    return Scene((objects, views, slots), rays, world.flatten(0, 1).flatten(1).t().contiguous(), table)


def tile_candidates(corners: Tensor, active: Tensor, cameras: Cameras, size: int) -> Tensor:
    """Which primitives may show in which tile.

    Args:
        corners: `(objects, slots, 8, 3)` world corners of the primitives' boxes; active: `(objects, slots)`.

    Returns:
        `(objects * views * tile rows * tile columns, slots)` bool.
    """
    objects, slots = active.shape
    views, tiles = cameras.shape[1], -(-size // TILE)
    points = corners.flatten(1, 2)[:, None].expand(-1, views, -1, -1)
    uv, depth = project_points(cameras.to(corners.device, corners.dtype), points)
    pixel = (uv * size).reshape(objects, views, slots, 8, 2)
    low, high = pixel.amin(3) - 1, pixel.amax(3) + 1
    near = (depth.reshape(objects, views, slots, 8) < 1e-2).any(-1)
    start = torch.arange(tiles, device=corners.device) * TILE
    covered = (low[..., None] < start + TILE) & (high[..., None] > start) | near[..., None, None]
    columns, rows = covered[..., 0, :], covered[..., 1, :]
    mask = rows[..., :, None] & columns[..., None, :] & active[:, None, :, None, None]
    return mask.permute(0, 1, 3, 4, 2).reshape(-1, slots)


def cast(
    scene: Scene, candidates: Tensor, view: Tensor, base: tuple[Tensor, Tensor], steps: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """First hits.

    Args:
        candidates: `(groups, slots)` bool. view: `(groups,)` column of `scene.world`.
        base: u and v of each group, `(groups,)`. steps: offsets of its rays, `(rays,)`.

    Returns:
        t: `(rays, groups)` ray parameter, infinite without a hit; column: `(rays, groups)` into `scene.rays`.
    """
    rays, groups = steps[0].numel(), view.numel()
    t = torch.full((rays, groups), torch.inf, dtype=scene.rays.dtype, device=scene.rays.device)
    winner = torch.zeros((rays, groups), dtype=torch.int32, device=scene.rays.device)
    group, slot = candidates.nonzero(as_tuple=True)
    if group.numel() == 0:
        return t, winner
    turn = candidates.cumsum(1)[group, slot] - 1
    column = view[group] * scene.shape[2] + slot
    kind = scene.table[KIND, scene.primitive_of(column)].long()
    key = turn * 4 + kind  # within a round, one kind of geometry at a time
    order = torch.argsort(key, stable=True)
    keys, counts = torch.unique_consecutive(key[order], return_counts=True)
    start = 0
    for which, count in zip(keys.tolist(), counts.tolist(), strict=True):
        chosen = order[start : start + count]
        start += count
        _meet(scene, which % 4, group[chosen], column[chosen], base, steps, t, winner)
    return t, winner


def _meet(
    scene: Scene,
    kind: int,
    group: Tensor,
    column: Tensor,
    base: tuple[Tensor, Tensor],
    steps: tuple[Tensor, Tensor],
    t: Tensor,
    winner: Tensor,
) -> None:
    """Each of the groups meets one primitive, all of one kind; what is nearer stays."""
    r = scene.rays[:, column]
    u, v = base[0][group], base[1][group]
    du, dv = steps[0][:, None], steps[1][:, None]
    direction = []
    for axis in range(3):
        along = r[axis] + u * r[3 + axis] + v * r[6 + axis]
        along = torch.addcmul(torch.addcmul(along, du, r[3 + axis]), dv, r[6 + axis])
        # an exact zero would turn 0 * inf into nan in the slab test
        direction.append(torch.where(along.abs() < 1e-7, torch.full_like(along, 1e-7), along))
    origin = tuple(r[9:12])
    part = scene.table[:, scene.primitive_of(column)]
    if kind == TORUS:
        new = primitives.hit_torus(origin, tuple(direction), part[TUBE])
    elif kind == HOLLOW:
        low, high, cavity = tuple(part[CAVITY_LOW]), tuple(part[CAVITY_HIGH]), tuple(part[CAVITY_QUADRIC])
        new = primitives.hit_hollow(origin, tuple(direction), tuple(part[QUADRIC]), low, high, cavity)
    else:
        new = primitives.hit_solid(origin, tuple(direction), tuple(part[QUADRIC]))
    old = t[:, group]
    nearer = new < old
    t[:, group] = torch.where(nearer, new, old)
    winner[:, group] = torch.where(nearer, column.to(winner.dtype), winner[:, group])


def surface_colours(scene: Scene, t: Tensor, column: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Shaded colours `(n, 3)` of hits: `t`, `column`, `u`, `v` of shape `(n,)`."""
    column = column.long()
    r = scene.rays[:, column]
    part = scene.table[:, scene.primitive_of(column)]
    direction = r[0:3] + u * r[3:6] + v * r[6:9]
    point = r[9:12] + t * direction
    normal = primitives.outward_gradient(
        part[KIND],
        tuple(point),
        tuple(direction),
        tuple(part[QUADRIC]),
        tuple(part[CAVITY_LOW]),
        tuple(part[CAVITY_HIGH]),
        tuple(part[CAVITY_QUADRIC]),
        part[TUBE],
    )
    # gradients go to the world by the transposed inverse of local-to-world
    to_local = part[TO_LOCAL].reshape(3, 3, -1)
    normals = torch.einsum("ran,rn->na", to_local, torch.stack(normal))
    normals = torch.nn.functional.normalize(normals, dim=-1)
    weights = texture_weights(part[TEXTURE], point * part[HALF_SIZE], part[AXIS], part[FREQUENCY], part[PHASE])
    albedo = torch.lerp(part[COLOUR], part[SECOND], weights).t()
    return shade(albedo, normals).clamp(0, 1)


def render_scene(scene: Scene, candidates: Tensor, size: int, antialias: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures of all views of a scene.

    Args:
        candidates: from `tile_candidates`.
        antialias: an edge pixel is the mean of `antialias`^2 rays, any other pixel is its centre ray.

    Returns:
        rgb `(pictures, size, size, 3)` straight colour, alpha `(pictures, size, size)`, depth `(pictures, size, size)`
        of the centre rays, 0 where they miss.
    """
    objects, views, _ = scene.shape
    pictures, tiles, device = objects * views, -(-size // TILE), scene.rays.device
    dtype = scene.rays.dtype
    start = torch.arange(tiles, device=device, dtype=dtype) * TILE
    base_v, base_u = (axis.flatten().repeat(pictures) for axis in torch.meshgrid(start, start, indexing="ij"))
    offset = torch.arange(TILE, device=device, dtype=dtype) + 0.5
    step_v, step_u = (axis.flatten() for axis in torch.meshgrid(offset, offset, indexing="ij"))
    view = torch.arange(pictures, device=device).repeat_interleave(tiles * tiles)
    occupied = candidates.any(1).nonzero()[:, 0]
    base = (base_u[occupied] / size, base_v[occupied] / size)
    steps = (step_u / size, step_v / size)
    t, column = cast(scene, candidates[occupied], view[occupied], base, steps)

    def picture_of(values: Tensor, fill: float) -> Tensor:
        """(rays, occupied tiles) -> (pictures, size, size)."""
        full = torch.full((pictures * tiles * tiles, TILE * TILE), fill, dtype=values.dtype, device=device)
        full[occupied] = values.t()
        full = full.reshape(pictures, tiles, tiles, TILE, TILE).permute(0, 1, 3, 2, 4)
        return full.reshape(pictures, tiles * TILE, tiles * TILE)[:, :size, :size].contiguous()

    t, column = picture_of(t, torch.inf), picture_of(column, 0)
    hit = torch.isfinite(t)
    picture, row, col = hit.nonzero(as_tuple=True)
    u, v = (col.to(dtype) + 0.5) / size, (row.to(dtype) + 0.5) / size
    rgb = torch.zeros(pictures, size, size, 3, dtype=dtype, device=device)
    depth = torch.zeros(pictures, size, size, dtype=dtype, device=device)
    world = scene.world[:, picture].reshape(3, 3, -1)
    length = (world[:, 0] * u + world[:, 1] * v + world[:, 2]).norm(dim=0)
    depth[picture, row, col] = t[hit] * length
    rgb[picture, row, col] = surface_colours(scene, t[hit], column[hit], u, v)
    alpha = hit.to(dtype)
    if antialias > 1:
        _refine_edges(scene, candidates, size, antialias, torch.where(hit, column, -1), rgb, alpha)
    return rgb, alpha, depth


def _refine_edges(
    scene: Scene, candidates: Tensor, size: int, antialias: int, label: Tensor, rgb: Tensor, alpha: Tensor
) -> None:
    """Casts `antialias`^2 rays in the pixels that differ from a neighbour, and writes their means."""
    edge = torch.zeros_like(label, dtype=torch.bool)
    for axis in (1, 2):
        first, last = (slice(None),) * axis + (slice(None, -1),), (slice(None),) * axis + (slice(1, None),)
        differs = (label[first] != label[last]) | ((rgb[first] - rgb[last]).abs().amax(-1) > EDGE_CONTRAST)
        edge[first] |= differs
        edge[last] |= differs
    picture, row, col = edge.nonzero(as_tuple=True)
    if picture.numel() == 0:
        return
    dtype, tiles = rgb.dtype, -(-size // TILE)
    tile = (picture * tiles + torch.div(row, TILE, rounding_mode="floor")) * tiles
    tile = tile + torch.div(col, TILE, rounding_mode="floor")
    offset = (torch.arange(antialias, device=rgb.device, dtype=dtype) + 0.5) / antialias
    step_v, step_u = (axis.flatten() / size for axis in torch.meshgrid(offset, offset, indexing="ij"))
    base = (col.to(dtype) / size, row.to(dtype) / size)
    t, column = cast(scene, candidates[tile], picture, base, (step_u, step_v))
    hit = torch.isfinite(t)
    ray, group = hit.nonzero(as_tuple=True)
    colour = torch.zeros(*t.shape, 3, dtype=dtype, device=rgb.device)
    colour[ray, group] = surface_colours(
        scene, t[hit], column[hit], base[0][group] + step_u[ray], base[1][group] + step_v[ray]
    )
    count = hit.sum(0)
    rgb[picture, row, col] = colour.sum(0) / count.clamp(min=1)[:, None]
    alpha[picture, row, col] = count.to(dtype) / hit.shape[0]
