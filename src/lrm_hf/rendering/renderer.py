# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The one door to rendering: a field and cameras in, pictures out.

This is the plain torch path: the reference that every faster path is compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from tqdm.auto import tqdm

from ..cameras import Cameras, camera_rays
from ..modeling.field import TriplaneField
from .compositing import accumulate, compositing_weights, neighbor_mean
from .sampling import bin_depths, importance_depths, ray_box_intersection, stratified_depths


# raw density of a sample outside the box: no activation leaves anything of it, also after averaging with a neighbour
OUTSIDE = -1e9
# points evaluated at a time on a CPU: large enough to keep both cores busy, small enough to stay near the caches
CPU_CHUNK_POINTS = 2**17
# share of a GPU's free memory that one chunk may take
GPU_MEMORY_SHARE = 0.4


@dataclass
class RenderOutput:
    """Pictures of a batch of fields.

    Attributes:
        images: `(batch, views, 3, height, width)`, in [0, 1] within the field's colour padding.
        depth: `(batch, views, 1, height, width)` distance along the unit ray in world units, 0 where opacity is 0.
        opacity: `(batch, views, 1, height, width)` in [0, 1].
    """

    images: Tensor
    depth: Tensor
    opacity: Tensor


def render(
    field: TriplaneField,
    cameras: Cameras,
    height: int = 288,
    width: int = 288,
    background: float | Sequence[float] | Tensor = 1.0,
    *,
    num_samples: int | None = None,
    anchors: Tensor | None = None,
    full_size: tuple[int, int] | None = None,
    generator: torch.Generator | None = None,
    noise: tuple[Tensor, Tensor] | None = None,
    chunk_size: int | None = None,
    progress: bool = False,
) -> RenderOutput:
    """Volume-renders a batch of fields.

    Without `generator` and `noise` the result is deterministic: the same call gives the same bytes. Differentiable with
    respect to planes, MLP weights and cameras; where gradients are wanted and the rays do not fit into one chunk, each
    chunk is computed again in the backward pass instead of being kept.

    Args:
        field: `batch` fields.
        cameras: shape `(views,)` for the same views of every object, or `(batch, views)`; `()` is one view.
        height, width: size of the pictures in pixels, or of the region where `anchors` are given.
        background: colour behind the object in [0, 1]: a number, three numbers, or a tensor that broadcasts to
            `(batch, views, 3)`; a grey per view is `(batch, views, 1)`.
        num_samples: samples per ray; default `field.config.num_samples`.
        anchors: `(views, 2)` or `(batch, views, 2)` row and column of the region's first pixel in the full picture.
        full_size: (height, width) of the full picture that a region is cut from; default the region itself.
        generator: draws the sampling noise that training wants.
        noise: that noise given outright. For importance sampling a pair of jitter `(batch, views, rays, n)` and u
            `(batch, views, rays, n)`, n = num_samples / 2; for uniform sampling a single jitter
            `(batch, views, rays, num_samples)` in a tuple of one. Rays count row by row.
        chunk_size: points that are evaluated at a time; default by the free memory. Changes only time and memory.
        progress: shows a progress bar over chunks.

    Raises:
        TypeError: if `field` or `cameras` is something else.
        ValueError: if sizes, shapes or numbers make no sense; a field or a background that is not finite and degenerate
            cameras included.
    """
    cameras, rgb = _check_inputs(field, cameras, height, width, background, num_samples, chunk_size)
    batch, views = cameras.shape
    config = field.config
    samples = num_samples or config.num_samples
    if anchors is not None:
        anchors = _broadcast("anchors", anchors, (batch, views, 2), field.device)
    with torch.autocast(field.device.type, enabled=False):
        origins, directions = camera_rays(cameras, height, width, anchors, full_size)
        rays = views * height * width
        origins, directions = origins.reshape(batch, rays, 3), directions.reshape(batch, rays, 3)
        near, far, hit = ray_box_intersection(origins, directions, config.radius * config.bounds_scale)
        hit = hit & (far - near > config.min_ray_length)
        jitter = _sampling_noise(config.sampling, (batch, rays), samples, generator, noise, field.device)
        rgb = rgb[:, :, None].expand(batch, views, height * width, 3).reshape(batch, rays, 3)

        # rays that hit the box, packed to the front of each object's list; what is left over is the background
        count = int(hit.sum(dim=1).max())
        order = (~hit[..., 0]).to(torch.uint8).argsort(dim=1, stable=True)[:, :count]
        inputs = [_pack(tensor, order) for tensor in (origins, directions, near, far, hit, rgb, *jitter)]
        color, depth, opacity = _render_in_chunks(field, inputs, samples, chunk_size, progress)

        images = rgb.scatter(1, order[..., None].expand(-1, -1, 3), color)
        empty = torch.zeros_like(near)
        depth = empty.scatter(1, order[..., None], depth)
        opacity = empty.scatter(1, order[..., None], opacity)
    return RenderOutput(
        images.reshape(batch, views, height, width, 3).permute(0, 1, 4, 2, 3),
        depth.reshape(batch, views, 1, height, width),
        opacity.reshape(batch, views, 1, height, width),
    )


def _render_in_chunks(
    field: TriplaneField, inputs: list[Tensor], samples: int, chunk_size: int | None, progress: bool
) -> tuple[Tensor, Tensor, Tensor]:
    batch, rays = inputs[0].shape[:2]
    step = max(1, (chunk_size or _default_chunk_size(field)) // max(1, batch * samples))
    chunks = range(0, rays, step)
    sources = (field.planes, *field.weights, *field.biases, *inputs)
    needs_grad = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in sources)
    outputs = []
    for start in tqdm(chunks, desc="Rendering", disable=not progress or len(chunks) < 4, leave=False):
        part = [tensor[:, start : start + step] for tensor in inputs]
        if needs_grad and len(chunks) > 1:
            outputs.append(checkpoint(_render_rays, field, samples, *part, use_reentrant=False))
        else:
            outputs.append(_render_rays(field, samples, *part))
    if not outputs:
        empty = inputs[0].new_zeros(batch, 0, 1)
        return empty.expand(-1, -1, 3), empty, empty
    color, depth, opacity = (torch.cat(parts, dim=1) for parts in zip(*outputs, strict=True))
    return color, depth, opacity


def _render_rays(
    field: TriplaneField,
    samples: int,
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    hit: Tensor,
    background: Tensor,
    *jitter: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Rays `(batch, n, ...)` to colour `(batch, n, 3)`, depth and opacity `(batch, n, 1)`."""
    config = field.config
    if config.sampling == "uniform":
        depths = bin_depths(near, far, samples, jitter[0] if jitter else 0.5)
        raw, rgb = _evaluate(field, origins, directions, depths)
        density = field.density_from_raw(raw[..., 0])
        length = (far - near) / samples if config.step_length == "metric" else 1.0 / samples
        weights = compositing_weights(density, length * torch.ones_like(density))
        weights = weights * hit
        return accumulate(weights, rgb, depths, background)

    half = samples // 2
    depths = stratified_depths(near, far, half, jitter[0] if jitter else 0.5)
    raw, rgb = _evaluate(field, origins, directions, depths, inside_only=True)
    with torch.no_grad():
        coarse, _, _ = _composite_neighbors(field, depths, raw, rgb)
        if jitter:
            u = jitter[1]
        else:
            u = (torch.arange(half, dtype=near.dtype, device=near.device) + 0.5) / half
            u = u.expand(*depths.shape[:-1], half)
    fine = importance_depths(depths, coarse, u)
    fine_raw, fine_rgb = _evaluate(field, origins, directions, fine, inside_only=True)
    depths, order = torch.cat([depths, fine], dim=-1).sort(dim=-1, stable=True)
    raw = torch.cat([raw, fine_raw], dim=-2).gather(-2, order[..., None])
    rgb = torch.cat([rgb, fine_rgb], dim=-2).gather(-2, order[..., None].expand(*order.shape, 3))
    weights, rgb, depths = _composite_neighbors(field, depths, raw, rgb)
    return accumulate(weights * hit, rgb, depths, background)


def _composite_neighbors(
    field: TriplaneField, depths: Tensor, raw: Tensor, rgb: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, colours and depths of the pieces between neighbouring samples. The raw density is averaged before its
    activation, as in the original."""
    density = field.density_from_raw(neighbor_mean(raw)[..., 0])
    weights = compositing_weights(density, depths[..., 1:] - depths[..., :-1])
    return weights, neighbor_mean(rgb), neighbor_mean(depths[..., None])[..., 0]


def _evaluate(
    field: TriplaneField, origins: Tensor, directions: Tensor, depths: Tensor, inside_only: bool = False
) -> tuple[Tensor, Tensor]:
    """Raw density `(batch, n, samples, 1)` and colour `(batch, n, samples, 3)` at depths `(batch, n, samples)`."""
    points = origins[..., None, :] + depths[..., None] * directions[..., None, :]
    raw, rgb = field.raw(points.flatten(1, 2))
    raw, rgb = raw.unflatten(1, depths.shape[1:]), rgb.unflatten(1, depths.shape[1:])
    if inside_only:
        outside = (points.abs() > field.config.radius).any(dim=-1, keepdim=True)
        raw, rgb = raw.masked_fill(outside, OUTSIDE), rgb.masked_fill(outside, 0.0)
    return raw, rgb


def _sampling_noise(
    sampling: str,
    shape: tuple[int, int],
    samples: int,
    generator: torch.Generator | None,
    noise: Sequence[Tensor] | None,
    device: torch.device,
) -> list[Tensor]:
    sizes = [samples] if sampling == "uniform" else [samples // 2, samples // 2]
    if noise is not None:
        if generator is not None:
            raise ValueError("`noise` and `generator` exclude each other.")
        if len(noise) != len(sizes):
            raise ValueError(f"`noise` must hold {len(sizes)} tensor(s) for {sampling} sampling, got {len(noise)}.")
        if any(part.numel() != shape[0] * shape[1] * size for part, size in zip(noise, sizes, strict=True)):
            raise ValueError(
                f"`noise` must have shapes (batch, views, rays, n) with n = {sizes}, got "
                f"{[tuple(part.shape) for part in noise]}."
            )
        return [part.to(device, torch.float32).reshape(*shape, size) for part, size in zip(noise, sizes, strict=True)]
    if generator is None:
        return []
    # drawn for all rays at once, so that the chunk size changes nothing
    return [torch.rand(*shape, size, generator=generator, device=generator.device).to(device) for size in sizes]


def _check_inputs(
    field: TriplaneField,
    cameras: Cameras,
    height: int,
    width: int,
    background: float | Sequence[float] | Tensor,
    num_samples: int | None,
    chunk_size: int | None,
) -> tuple[Cameras, Tensor]:
    if not isinstance(field, TriplaneField):
        raise TypeError(f"`field` must be a TriplaneField, got {type(field).__name__}.")
    if not isinstance(cameras, Cameras):
        raise TypeError(f"`cameras` must be Cameras, got {type(cameras).__name__}.")
    for name, value in (("height", height), ("width", width), ("chunk_size", chunk_size), ("num_samples", num_samples)):
        if value is None and name in ("chunk_size", "num_samples"):
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"`{name}` must be an integer, got {value!r}.")
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")
    if num_samples is not None and field.config.sampling == "importance" and (num_samples < 8 or num_samples % 2):
        raise ValueError(f"`num_samples` must be even and at least 8 for importance sampling, got {num_samples}.")
    if len(cameras.shape) > 2:
        raise ValueError(f"`cameras` must have shape (views,) or (batch, views), got {tuple(cameras.shape)}.")
    for name, tensors in (("planes", (field.planes,)), ("weights", field.weights), ("biases", field.biases)):
        if not all(bool(torch.isfinite(tensor.detach()).all()) for tensor in tensors):
            raise ValueError(f"`field` has {name} with values that are not finite.")
    batch = len(field)
    if batch == 0:
        raise ValueError("`field` is an empty batch.")
    if not cameras.shape:
        cameras = cameras.reshape(1)
    if len(cameras.shape) == 2 and cameras.shape[0] not in (1, batch):
        raise ValueError(f"`cameras` of shape {tuple(cameras.shape)} do not fit a batch of {batch} fields.")
    cameras = cameras.validate().to(field.device, torch.float32).expand(batch, cameras.shape[-1])
    if cameras.shape[1] == 0:
        raise ValueError("`cameras` holds no view.")
    shape = (batch, cameras.shape[1], 3)
    color = torch.as_tensor(background, dtype=torch.float32, device=field.device)
    if not bool(torch.isfinite(color).all()):
        raise ValueError("`background` holds values that are not finite.")
    return cameras, _broadcast("background", color, shape, field.device)


def _broadcast(name: str, value: Tensor, shape: tuple[int, ...], device: torch.device) -> Tensor:
    try:
        return value.to(device).expand(shape)
    except RuntimeError as error:
        raise ValueError(f"`{name}` of shape {tuple(value.shape)} does not broadcast to {shape}.") from error


def _pack(tensor: Tensor, order: Tensor) -> Tensor:
    return tensor.gather(1, order[..., None].expand(*order.shape, tensor.shape[-1]))


def _default_chunk_size(field: TriplaneField) -> int:
    if field.device.type != "cuda":
        return CPU_CHUNK_POINTS
    free, _ = torch.cuda.mem_get_info(field.device)
    per_point = 4 * (3 * field.config.channels * 2 + field.config.hidden_size * 3 + 64)
    return max(2**14, int(free * GPU_MEMORY_SHARE) // per_point)
