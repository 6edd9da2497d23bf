# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Fields of the published sizes that hold a real object: planes and MLP fitted to a mesh file.

    python -m benchmarks.fitted_fields OUT_DIR chair.glb owl.glb --shape base large

Random weights are no scene: everything is half transparent and nothing can be skipped. Here the object is ray cast from
all sides, points are labelled by what the views saw of them (free where any view looks through, filled otherwise), and
planes and MLP learn density and colour at these points. Takes some minutes per field on a CPU; writes
`OUT_DIR/NAME_SHAPE.safetensors`, which `TriplaneField.load` reads. The result depends on files, shape and seed alone.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from lrm_hf.cameras import Cameras, camera_rays, look_at_cameras, project_points
from lrm_hf.modeling.configuration_lrm import TriplaneFieldConfig
from lrm_hf.modeling.field import FieldMLP, TriplaneField
from lrm_hf.rendering import render
from lrm_hf.training.losses import occupancy_loss, plane_variation_loss, psnr, surface_color_loss
from lrm_hf.training.mesh_views import load_object, render_views
from lrm_hf.training.views import ObjectViews


# channels and samples per ray of OpenLRM 1.1; all have planes of 64 x 64 texels and three hidden layers of 64
SHAPES = {"small": (32, 96), "base": (48, 96), "large": (80, 128)}
PLANE_SIZE = 64
VIEWS, VIEW_SIZE = 48, 160
HELD_OUT_SIZE = 96
# half of the thickness that a surface gets, in world units: about half a texel
THICKNESS = 0.015
# half-width of the band around the surface that gets half of the points, in world units
BAND = 0.06
# raw densities, before a softplus
CLEARLY_EMPTY, CLEARLY_SOLID = -9.0, 40.0
# the object's half diagonal is 1; a little less keeps it off the box's faces
SCALE = 0.95


def field_config(shape: str) -> TriplaneFieldConfig:
    channels, samples = SHAPES[shape]
    return TriplaneFieldConfig(channels=channels, num_samples=samples)


def sphere_cameras(count: int) -> Cameras:
    """Cameras all around, evenly spread (Fibonacci lattice), at distance 2.5."""
    index = torch.arange(count, dtype=torch.float64) + 0.5
    height = 1 - 2 * index / count
    angle = index * torch.pi * (1 + 5**0.5)
    ring = (1 - height.square()).sqrt()
    position = torch.stack([ring * angle.cos(), ring * angle.sin(), height], dim=-1)
    return look_at_cameras((2.5 * position).float(), focal=1.0)


def surface_points(views: ObjectViews) -> tuple[Tensor, Tensor, Tensor]:
    """Points `(n, 3)` where rays meet the surface, their colours `(n, 3)` in [0, 1], and the rays' directions."""
    origins, directions = camera_rays(views.cameras, *views.depth.shape[-2:])
    depth = views.depth.float()
    seen = depth > 0
    points = origins[seen] + depth[seen][:, None] * directions[seen]
    return points, views.rgba[:, :3].permute(0, 2, 3, 1)[seen].float() / 255, directions[seen]


def nearest_depths(views: ObjectViews) -> Tensor:
    """`(views, 1, height, width)` smallest depth of each pixel and its neighbours; very large where there is none."""
    depth = views.depth.float()[:, None]
    depth = torch.where(depth > 0, depth, torch.full_like(depth, 1e4))
    return -F.max_pool2d(-depth, kernel_size=3, stride=1, padding=1)


def is_filled(cameras: Cameras, nearest: Tensor, points: Tensor) -> Tensor:
    """`(n,)` bool: whether no view looks through a point. Surfaces count as `2 * THICKNESS` thick, since many meshes
    are open shells; what no view sees is inside."""
    uv, _ = project_points(cameras, points.expand(len(cameras), -1, 3))
    distance = (points - cameras.position[:, None]).norm(dim=-1)
    depth = F.grid_sample(nearest, (uv * 2 - 1)[:, :, None], mode="nearest", padding_mode="border", align_corners=False)
    return (depth[:, 0, :, 0] <= distance + THICKNESS).all(dim=0)


def clearness_loss(raw: Tensor, filled: Tensor) -> Tensor:
    """How far raw densities are from clearly empty and clearly solid: the gradient of `occupancy_loss` fades away long
    before, and leaves a haze and a soft object that no converged model has."""
    missing = torch.where(filled > 0, CLEARLY_SOLID - raw, raw - CLEARLY_EMPTY).clamp(min=0)
    return F.smooth_l1_loss(missing, torch.zeros_like(missing))


def fit(views: ObjectViews, shape: str, steps: int, points_per_step: int, seed: int) -> TriplaneField:
    """Planes and MLP of one of `SHAPES` that reproduce what the views saw."""
    torch.manual_seed(seed)
    config = field_config(shape)
    mlp = FieldMLP(config)
    for layer in mlp.layers:
        torch.nn.init.kaiming_normal_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    planes = torch.nn.Parameter(0.1 * torch.randn(1, 3, config.channels, PLANE_SIZE, PLANE_SIZE))
    optimizer = torch.optim.Adam([{"params": [planes], "lr": 0.03}, {"params": mlp.parameters(), "lr": 3e-3}])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [0.03, 3e-3], total_steps=steps, pct_start=0.1)
    surface, colors, directions = surface_points(views)
    nearest = nearest_depths(views)
    for _ in tqdm(range(steps), desc=f"Fitting {shape}", leave=False):
        third = points_per_step // 3
        chosen = torch.randint(len(surface), (2 * third,))
        near = surface[chosen] + directions[chosen] * ((torch.rand(2 * third, 1) * 2 - 1) * BAND)
        points = torch.cat([near, torch.rand(third, 3) * 2 - 1])
        filled = is_filled(views.cameras, nearest, points)[None, :, None].float()
        field = TriplaneField(planes, *mlp.parameters_in_float32(), config)
        raw, _ = field.raw(points[None])
        # colours a little behind the surface count as the surface's: that is where rays end
        behind = (surface[chosen] + directions[chosen] * 0.01 * torch.rand(2 * third, 1))[None]
        rgb = field.query(behind)[1]
        loss = occupancy_loss(field.density_from_raw(raw), filled) + 0.1 * clearness_loss(raw, filled)
        loss = loss + 2 * surface_color_loss(rgb, colors[chosen][None], torch.ones(1, 1, 1))
        loss = loss + 0.01 * plane_variation_loss(field)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return TriplaneField(planes, *mlp.parameters_in_float32(), config).detach()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fitted_fields", description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="directory for the fields, made where it is missing")
    parser.add_argument("objects", type=Path, nargs="+", help="mesh files")
    parser.add_argument("--shape", nargs="+", choices=sorted(SHAPES), default=["base"])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--points", type=int, default=12_000, help="points per step (default: 12000)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    if arguments.steps < 1 or arguments.points < 3:
        parser.error("--steps must be at least 1 and --points at least 3")
    arguments.output.mkdir(parents=True, exist_ok=True)
    for path in arguments.objects:
        mesh_object = load_object(path)
        mesh_object.triangles *= SCALE
        views = render_views(mesh_object, sphere_cameras(VIEWS), VIEW_SIZE, antialias=1)
        held_out = sphere_cameras(3)
        wanted = render_views(mesh_object, held_out, HELD_OUT_SIZE).rgba.float() / 255
        wanted = wanted[:, :3] * wanted[:, 3:] + 1 - wanted[:, 3:]
        for shape in arguments.shape:
            field = fit(views, shape, arguments.steps, arguments.points, arguments.seed)
            target = arguments.output / f"{path.stem}_{shape}.safetensors"
            field.save(target)
            with torch.no_grad():
                quality = float(psnr(render(field, held_out, HELD_OUT_SIZE, HELD_OUT_SIZE).images[0], wanted).mean())
            print(f"{os.fspath(target)}: {quality:.1f} dB on views that it was not fitted to", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
