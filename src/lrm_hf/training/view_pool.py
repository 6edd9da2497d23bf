# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""A pool of objects from any source, and the batches that training draws from it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..cameras import Cameras, camera_rays
from .data_sources import open_views
from .source_frame import FRAMES, Frame, elevation_of, place_source
from .view_datasets import RawViewDataset, ViewDataset
from .views import ObjectViews


@dataclass
class TrainingBatch:
    """
    Attributes:
        pixel_values: `(batch, 3, size, size)` source pictures on white.
        source_cameras: `(batch,)`, in the pool's frame, as all that follows.
        cameras: `(batch, views)` cameras of the target crops.
        images: `(batch, views, 3, crop, crop)` target crops on `background`.
        opacity: `(batch, views, 1, crop, crop)` in [0, 1].
        background: `(batch, views, 3)` in [0, 1].
        anchors: `(batch, views, 2)` row and column of each crop's first pixel.
        full_size: (height, width) of the pictures that the crops are cut from.
        points: `(batch, n, 3)` points whose occupancy is known.
        occupied: `(batch, n, 1)` 1 just under a surface, 0 in front of it and where a ray meets nothing.
        surface: `(batch, n, 3)` points on surfaces.
        surface_rgb: `(batch, n, 3)` their colours.
        surface_weight: `(batch, n, 1)` 0 where the ray met nothing.
        depth: `(batch, views, 1, crop, crop)` distance along the unit ray to the first surface; 0 where there is none,
            it is not known, or, with a `scale`, not all pixels that are averaged have one.
    """

    pixel_values: Tensor
    source_cameras: Cameras
    cameras: Cameras
    images: Tensor
    opacity: Tensor
    background: Tensor
    anchors: Tensor
    full_size: tuple[int, int]
    points: Tensor
    occupied: Tensor
    surface: Tensor
    surface_rgb: Tensor
    surface_weight: Tensor
    depth: Tensor | None = None


class ViewPool:
    """Objects to train on.

    Args:
        directories: what [`~lrm_hf.training.data_sources.open_views`] recognises, or a `ViewDataset`, each. Rendered
            views (`.npz`) are held in memory; of other layouts each draw reads or renders the views that it needs.
        weights: how often each is drawn from, relative to the others; default by number of objects.
        limit: at most this many objects of each.
        size: side of the pictures in pixels; default as they are.
        frame: how an object's cameras are moved by its source view, see
            [`~lrm_hf.training.source_frame.place_source`]. In `"world"`, the default, nothing moves and only views from
            azimuth 0 are sources; else any view may be.
        elevation: of the source camera in the `"canonical"` frame, in degrees: the config's `source_camera_elevation`.
        distance: scales each scene so that its source camera is this far from the origin; default: no scaling.
        source_elevations: lowest and highest elevation, in the data's own frame, of views that may be sources.
        seed: of objects and cameras that are made or rendered on the fly. Batches follow from their own generator.

    Raises:
        OSError, ValueError: what `open_views` raises.
        ValueError: if the pictures differ in size, or `weights` or a number do not fit.
    """

    def __init__(
        self,
        directories: Sequence[str | os.PathLike | ViewDataset],
        weights: Sequence[float] | None = None,
        limit: int | None = None,
        *,
        size: int | None = None,
        frame: Frame = "world",
        elevation: float = 0.0,
        distance: float | None = None,
        source_elevations: tuple[float, float] = (-90.0, 90.0),
        seed: int = 0,
    ):
        if frame not in FRAMES:
            raise ValueError(f"`frame` must be one of {', '.join(FRAMES)}, got {frame!r}.")
        if not directories:
            raise ValueError("`directories` is empty: there is nothing to train on.")
        self.frame: Frame = frame
        self.elevation, self.distance = elevation, distance
        self.source_elevations = source_elevations
        self.groups: list[ViewDataset] = [
            source if isinstance(source, ViewDataset) else open_views(source, size=size, limit=limit, seed=seed)
            for source in directories
        ]
        sizes = {group.size for group in self.groups}
        if len(sizes) != 1:
            raise ValueError(f"`directories` hold pictures of different sizes: {sorted(sizes)}; give a `size`.")
        self.size = sizes.pop()
        counts = [len(group) for group in self.groups]
        if weights is None and len(counts) > 1 and any(group.endless for group in self.groups):
            raise ValueError("`weights` must say how often to draw from data without end, beside other data.")
        if weights is not None and len(weights) != len(counts):
            raise ValueError(f"`weights` must have one number per directory, got {len(weights)} for {len(counts)}.")
        self.weights = torch.tensor(weights if weights is not None else counts, dtype=torch.float64)

    def __len__(self) -> int:
        return sum(len(group) for group in self.groups)

    def draw(
        self,
        batch: int,
        generator: torch.Generator,
        *,
        views: int = 2,
        crop: int = 20,
        scale: int = 1,
        points: int = 2048,
        own_view: float = 0.25,
        foreground: float = 0.7,
        mirror: float = 0.5,
        recolor: float = 0.3,
        white: float = 0.5,
    ) -> TrainingBatch:
        """A batch of different objects, each with one source picture and crops of other views.

        Args:
            batch, views: sizes.
            generator: decides everything that is random.
            crop: side of the target crops in pixels.
            scale: targets are averaged down by this factor before they are cropped.
            points: points with known occupancy per object, and as many on surfaces.
            own_view: share of objects whose first target is the source view itself.
            foreground: share of crops that are centred on a pixel of the object.
            mirror: share of objects that are mirrored left to right, cameras and all.
            recolor: share of objects whose colour channels are permuted.
            white: share of target views on white; the others get a colour each, drawn evenly from all there are.

        Raises:
            ValueError: if a share is not in [0, 1], `crop` exceeds the targets, or a target's side is no multiple of
                `scale`.
        """
        shares = {"own_view": own_view, "foreground": foreground, "mirror": mirror, "recolor": recolor, "white": white}
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise ValueError(f"`{name}` is a share from 0 to 1, got {share}.")
        if scale < 1 or self.size % scale:
            raise ValueError(f"`scale` must divide the pictures' side of {self.size}, got {scale}.")
        groups = torch.multinomial(self.weights, batch, replacement=True, generator=generator)
        chosen = [self._choose(self.groups[g], generator, views, own_view) for g in groups.tolist()]
        drawn = self._load(chosen)
        source = torch.stack([part.rgba[0] for part in drawn]).float() / 255
        targets = torch.stack([part.rgba[1:] for part in drawn]).float() / 255
        depth = torch.stack([part.depth[1:] for part in drawn]).float()
        depth = depth * torch.tensor([choice.scale for choice in chosen])[:, None, None, None]
        placed = Cameras(
            torch.stack([choice.cameras.cam2world for choice in chosen]),
            torch.stack([choice.cameras.intrinsics for choice in chosen]),
        )
        source_cameras, cameras = placed[:, 0], placed[:, 1:]
        flip = torch.rand(batch, generator=generator) < mirror
        source, targets, depth = (
            torch.where(flip.reshape(-1, *[1] * (part.ndim - 1)), part.flip(-1), part)
            for part in (source, targets, depth)
        )
        source_cameras, cameras = _mirror(source_cameras, flip), _mirror(cameras, flip[:, None])
        channels = torch.stack([torch.randperm(3, generator=generator) for _ in range(batch)])
        keep = torch.rand(batch, 1, generator=generator) >= recolor
        channels = torch.where(keep, torch.arange(3), channels)
        channels = torch.cat([channels, torch.full((batch, 1), 3)], dim=1)
        source = source.gather(1, channels[..., None, None].expand_as(source))
        targets = targets.gather(2, channels[:, None, :, None, None].expand_as(targets))
        known = _known_points(targets, depth, cameras, points, generator)
        rgb, alpha = targets[:, :, :3] * targets[:, :, 3:], targets[:, :, 3:]
        distance = depth[:, :, None]
        if scale > 1:
            complete = -F.max_pool2d(-(distance > 0).float().flatten(0, 1), scale).unflatten(0, (batch, views))
            rgb, alpha, distance = (
                F.avg_pool2d(part.flatten(0, 1), scale).unflatten(0, (batch, views)) for part in (rgb, alpha, distance)
            )
            distance = distance * complete
        anchors = _crop_anchors(alpha[:, :, 0], crop, foreground, generator)
        rgb, alpha, distance = (_crop(part, anchors, crop) for part in (rgb, alpha, distance))
        background = torch.rand(batch, views, 3, generator=generator)
        plain = torch.rand(batch, views, 1, generator=generator) < white
        background = torch.where(plain, torch.ones_like(background), background)
        side = self.size // scale
        return TrainingBatch(
            pixel_values=source[:, :3] * source[:, 3:] + 1 - source[:, 3:],
            source_cameras=source_cameras,
            cameras=cameras,
            images=rgb + (1 - alpha) * background[..., None, None],
            opacity=alpha,
            background=background,
            anchors=anchors,
            full_size=(side, side),
            depth=distance,
            **known,
        )

    def _choose(self, group: ViewDataset, generator: torch.Generator, views: int, own_view: float) -> _Choice:
        index = int(torch.randint(len(group), (), generator=generator))
        cameras = group.cameras(index)
        sources = self._sources(cameras)
        if len(sources) == 0:
            raise ValueError(
                f"object {group.name(index)!r} has no view that may be the source: in the frame {self.frame!r} it must "
                f"stand at elevations from {self.source_elevations[0]:g} to {self.source_elevations[1]:g} degrees"
                + (", at azimuth 0; try the frame 'canonical' or 'upright'." if self.frame == "world" else ".")
            )
        if len(cameras) <= views:
            raise ValueError(f"object {group.name(index)!r} has {len(cameras)} views; {views} targets need one more.")
        source = int(sources[torch.randint(len(sources), (), generator=generator)])
        others = torch.randperm(len(cameras), generator=generator).tolist()
        targets = [other for other in others if other != source][:views]
        if float(torch.rand((), generator=generator)) < own_view:
            targets[0] = source
        placed, scale = place_source(cameras, source, self.frame, self.elevation, self.distance)
        shown = [source, *targets]
        return _Choice(group, index, shown, placed[shown], scale)

    def _sources(self, cameras: Cameras) -> Tensor:
        """Indices of the views that may be sources."""
        low, high = self.source_elevations
        elevation = elevation_of(cameras.cam2world)
        allowed = (elevation > low - 1e-3) & (elevation < high + 1e-3)
        if self.frame == "world":
            position = cameras.position
            allowed &= (position[:, 0].abs() < 1e-4) & (position[:, 1] < 0)
        return allowed.nonzero()[:, 0]

    def _load(self, chosen: list[_Choice]) -> list[ObjectViews]:
        if not all(isinstance(choice.group, RawViewDataset) for choice in chosen):
            return [choice.group.load(choice.index, choice.views) for choice in chosen]
        with ThreadPoolExecutor(4) as threads:  # decoding a picture leaves the other threads alone
            return list(threads.map(lambda choice: choice.group.load(choice.index, choice.views), chosen))


@dataclass
class _Choice:
    """An object of a batch: its views, the source first, and their cameras where `place_source` put them."""

    group: ViewDataset
    index: int
    views: list[int]
    cameras: Cameras
    scale: float


def _mirror(cameras: Cameras, flip: Tensor) -> Cameras:
    """The cameras that see the mirror image (in x) where the originals see the object; `flip` broadcasts."""
    sign = torch.tensor([-1.0, 1.0, 1.0, 1.0])
    mirrored = cameras.cam2world * sign[:, None] * sign
    intrinsics = cameras.intrinsics.clone()
    intrinsics[..., 0, 2] = 1 - intrinsics[..., 0, 2]
    flip = flip[..., None, None]
    return Cameras(torch.where(flip, mirrored, cameras.cam2world), torch.where(flip, intrinsics, cameras.intrinsics))


def _crop_anchors(alpha: Tensor, crop: int, foreground: float, generator: torch.Generator) -> Tensor:
    """`(batch, views, 2)` for alpha `(batch, views, height, width)`."""
    batch, views, height, width = alpha.shape
    if crop > min(height, width):
        raise ValueError(f"`crop` must be at most {min(height, width)}, got {crop}.")
    weights = (alpha.flatten(2) + 1e-6).flatten(0, 1)
    pixel = torch.multinomial(weights, 1, generator=generator).reshape(batch, views)
    centre = torch.stack([pixel // width, pixel % width], dim=-1)
    anywhere = torch.rand(batch, views, 2, generator=generator) * torch.tensor([height, width])
    uniform = torch.rand(batch, views, 1, generator=generator) >= foreground
    anchors = torch.where(uniform, anywhere.long(), centre) - crop // 2
    limit = torch.tensor([height - crop, width - crop])
    return anchors.clamp(min=torch.zeros_like(limit), max=limit)


def _crop(pictures: Tensor, anchors: Tensor, crop: int) -> Tensor:
    """`(batch, views, channels, height, width)` to `(batch, views, channels, crop, crop)`."""
    batch, views, channels, _, width = pictures.shape
    steps = torch.arange(crop)
    rows = anchors[..., :1] + steps
    columns = anchors[..., 1:] + steps
    index = (rows[..., :, None] * width + columns[..., None, :]).reshape(batch, views, 1, -1)
    return pictures.flatten(3).gather(3, index.expand(-1, -1, channels, -1)).unflatten(3, (crop, crop))


def _known_points(
    targets: Tensor, depth: Tensor, cameras: Cameras, count: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Points along random pixels' rays: under the surface, in front of it, and on it."""
    batch, views, _, height, width = targets.shape
    origins, directions = camera_rays(cameras, height, width)
    total = views * height * width
    alpha = targets[:, :, 3].reshape(batch, total)
    # half of the rays meet the object, so that occupied points are not rare
    met = (depth.reshape(batch, total) > 0).float()
    weights = met / met.sum(1, keepdim=True).clamp(min=1) + 0.7 * (1 - met) / (1 - met).sum(1, keepdim=True).clamp(
        min=1
    )
    pixel = torch.multinomial(weights, count, replacement=True, generator=generator)
    index = pixel[..., None].expand(-1, -1, 3)
    origin = origins.reshape(batch, total, 3).gather(1, index)
    direction = directions.reshape(batch, total, 3).gather(1, index)
    surface_depth = depth.reshape(batch, total, 1).gather(1, pixel[..., None])
    hit = surface_depth > 0
    clear = alpha.gather(1, pixel)[..., None] == 0
    u = torch.rand(batch, count, 1, generator=generator)
    kind = torch.rand(batch, count, 1, generator=generator)
    near, far = (origin.norm(dim=-1, keepdim=True) + side for side in (-1.0, 1.0))
    under = surface_depth + 0.004 + 0.036 * u
    close = surface_depth - 0.015 - 0.15 * u.square()
    front = near + (surface_depth - 0.03 - near).clamp(min=0) * u
    anywhere = near + (far - near) * u
    distance = torch.where(hit, torch.where(kind < 0.5, under, torch.where(kind < 0.75, close, front)), anywhere)
    points = origin + distance * direction
    # pixels that are neither clearly object nor clearly background say nothing certain: their points are moved out of
    # the box, where everything is empty
    uncertain = ~hit & ~clear
    points = torch.where(uncertain, torch.full_like(points, 2.0), points)
    rgb = targets[:, :, :3].permute(0, 1, 3, 4, 2).reshape(batch, total, 3).gather(1, index)
    return {
        "points": points,
        "occupied": (hit & (kind < 0.5)).float(),
        "surface": origin + surface_depth * direction,
        "surface_rgb": rgb,
        "surface_weight": hit.float(),
    }
