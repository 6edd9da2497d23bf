# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The one door to rendering: a field and cameras in, pictures out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from tqdm.auto import tqdm

from ..cameras import Cameras, camera_rays, check_anchors
from ..modeling.field import TriplaneField
from . import dense, occupancy, packed
from .backends import choose_backend, has_own_arithmetic, triton_kernels
from .folding import FoldedField, fold, kept_with
from .sampling import ray_box_intersection


# what lies behind less than this is not looked at, where that is allowed
MIN_TRANSMITTANCE = 1e-4
# points evaluated at a time on a CPU: large enough to keep both cores busy, small enough to stay near the caches
CPU_CHUNK_POINTS = 2**17
# of the samples of rays that pass near something, one in so many or fewer is evaluated
FEW_EVALUATED = 3
# share of a GPU's free memory that one chunk may take
GPU_MEMORY_SHARE = 0.4
# rays that are listed at a time, in whole views: more only cost memory
LISTED_RAYS, GPU_LISTED_RAYS = 2**18, 2**20


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
    backend: str = "auto",
    exact: bool | None = None,
    progress: bool = False,
) -> RenderOutput:
    """Volume-renders a batch of fields.

    Without `generator` and `noise` the result is deterministic: the same call gives the same bytes. Differentiable once
    with respect to planes, MLP weights and cameras (with `exact=True` as often as wanted); where gradients are wanted
    and the rays do not fit into one chunk, each chunk is computed again in the backward pass instead of being kept.

    Where no gradients are wanted, empty space and what lies behind opaque surfaces is not evaluated: cells of the box
    that can't give an alpha above 1e-4, and samples behind a transmittance of 1e-4. Such pictures differ from exact
    ones by less than 4/255 everywhere and by far less on average; `exact=True` shows by how much. What is found out
    about a field is kept with it, and found out again when its planes or weights change in place.

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
        backend: `"torch"`, `"triton"` (an error that says why where it can't be had), or `"auto"`: what the environment
            variable `LRM_HF_BACKEND` says, and without it Triton where there is a CUDA device that it runs on.
        exact: `True` evaluates every sample; with torch that is the plain reference that all else is compared with.
            `False` leaves out what hardly shows, as described above, also where gradients are wanted. Default: exact
            where gradients are wanted.
        progress: shows a progress bar over chunks.

    Raises:
        TypeError: if `field` or `cameras` is something else.
        ValueError: if sizes, shapes or numbers make no sense; a field or a background that is not finite and degenerate
            cameras included. Also if the backend can't render this field.
        ImportError: if the backend is not installed.
        MemoryError: if the memory does not suffice; the message names what to lower.
    """
    cameras, rgb = _check_inputs(field, cameras, height, width, background, num_samples, chunk_size, exact)
    chosen = choose_backend(field, backend, num_samples)
    batch, views = cameras.shape
    samples = num_samples or field.config.num_samples
    if anchors is not None:
        anchors = _broadcast("anchors", anchors, (batch, views, 2), field.device)
    needs_grad = torch.is_grad_enabled() and any(
        tensor.requires_grad
        for tensor in (field.planes, *field.weights, *field.biases, cameras.cam2world, cameras.intrinsics, rgb)
    )
    bounded = not (needs_grad if exact is None else exact)
    try:
        with torch.autocast(field.device.type, enabled=False):
            way = _choose_way(field, chosen, bounded, exact)
            jitter = _sampling_noise(
                field.config.sampling, (batch, views, height * width), samples, generator, noise, field.device
            )
            groups = [slice(None)] if needs_grad else _groups_of_views(batch, views, height * width, field.device)
            parts = []
            for group in tqdm(groups, desc="Rendering", disable=not progress or len(groups) < 2, leave=False):
                window = _Window(height, width, None if anchors is None else anchors[:, group], full_size)
                seen = _Seen(cameras[:, group], window, rgb[:, group], [part[:, group] for part in jitter])
                bar = progress and len(groups) == 1
                parts.append(_render_views(field, way, seen, samples, chunk_size, bar, needs_grad))
            color, depth, opacity = (
                part[0] if len(part) == 1 else torch.cat(part, dim=1) for part in zip(*parts, strict=True)
            )
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        raise MemoryError(
            f"out of memory on {field.device} while rendering {batch} x {views} pictures of {height} x {width} pixels: "
            f"lower `chunk_size` (now {chunk_size or _default_chunk_size(field)} points), or render fewer views or "
            f"fewer pixels at a time. ({error})"
        ) from error
    return RenderOutput(
        color.reshape(batch, views, height, width, 3).permute(0, 1, 4, 2, 3),
        depth.reshape(batch, views, 1, height, width),
        opacity.reshape(batch, views, 1, height, width),
    )


def _groups_of_views(batch: int, views: int, pixels: int, device: torch.device) -> list[slice]:
    """Views whose rays are listed at the same time: at least one, else no more rays than the limit."""
    step = max(1, (GPU_LISTED_RAYS if device.type == "cuda" else LISTED_RAYS) // (batch * pixels))
    return [slice(start, start + step) for start in range(0, views, step)]


class _Way(NamedTuple):
    """How the rays of one call are rendered."""

    render_rays: Callable[..., tuple[Tensor, Tensor, Tensor]]  # (field, samples, rays ...) -> colour, depth, opacity
    field: TriplaneField | FoldedField  # as `render_rays` takes it
    occupancy: Tensor | None  # [batch, cells, cells, cells]
    by_kernels: bool  # which bound their memory by themselves where no gradients are wanted


def _choose_way(field: TriplaneField, backend: str, bounded: bool, exact: bool | None) -> _Way:
    if backend == "torch" and (exact is True or has_own_arithmetic(field)):
        return _Way(dense.render_rays, field, None, False)
    cells = occupancy.occupancy_grid(field) if bounded and occupancy.can_use(field.config) else None
    limits: dict[str, Any] = {"occupancy": cells, "min_transmittance": MIN_TRANSMITTANCE if bounded else 0.0}
    if backend == "triton":
        return _Way(partial(triton_kernels().render_rays, **limits), field, cells, _by_kernels(field.device))
    return _Way(partial(packed.render_rays, **limits), fold(field), cells, False)


def _by_kernels(device: torch.device) -> bool:
    """Whether rays are listed by kernels too. The interpreter, on a CPU, is slower than torch."""
    return device.type == "cuda"


class _Window(NamedTuple):
    """The pixels of a picture that are rendered."""

    height: int
    width: int
    anchors: Tensor | None  # [batch, views, 2]
    full_size: tuple[int, int] | None


class _Seen(NamedTuple):
    """The views that are rendered at a time."""

    cameras: Cameras  # [batch, views]
    window: _Window
    rgb: Tensor  # [batch, views, 3] backgrounds
    jitter: list[Tensor]  # [batch, views, height * width, n] sampling noise


def _render_views(
    field: TriplaneField,
    way: _Way,
    seen: _Seen,
    samples: int,
    chunk_size: int | None,
    progress: bool,
    needs_grad: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Colour `(batch, rays, 3)`, depth and opacity `(batch, rays, 1)`."""
    if way.by_kernels and not needs_grad and not seen.jitter:
        return _render_views_by_kernels(way, seen, samples, chunk_size, progress)
    config = field.config
    batch, views = seen.cameras.shape
    height, width, anchors, full_size = seen.window
    rays = views * height * width
    origins, directions = (
        part.reshape(batch, rays, 3) for part in camera_rays(seen.cameras, height, width, anchors, full_size)
    )
    near, far, hit = ray_box_intersection(origins, directions, config.radius * config.bounds_scale)
    hit = hit & (far - near > config.min_ray_length)
    if way.occupancy is not None:
        looks = occupancy.occupied_pixels(way.occupancy, float(config.radius), seen.cameras, *seen.window)
        hit = hit & looks.reshape(batch, rays, 1)
    rgb = seen.rgb[:, :, None].expand(batch, views, height * width, 3).reshape(batch, rays, 3)
    jitter = [part.flatten(1, 2) for part in seen.jitter]

    # rays that can hit something, packed to the front of each object's list; what is left over is the background
    count = int(hit.sum(dim=1).max())
    order = (~hit[..., 0]).to(torch.uint8).argsort(dim=1, stable=True)[:, :count]
    inputs = [_pack(tensor, order) for tensor in (origins, directions, near, far, hit, rgb, *jitter)]
    color, depth, opacity = _render_in_chunks(way, inputs, samples, chunk_size, progress, needs_grad)

    empty = torch.zeros_like(near)
    return (
        rgb.scatter(1, order[..., None].expand(-1, -1, 3), color),
        empty.scatter(1, order[..., None], depth),
        empty.scatter(1, order[..., None], opacity),
    )


def _render_views_by_kernels(
    way: _Way, seen: _Seen, samples: int, chunk_size: int | None, progress: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """As `_render_views`, where kernels list the rays as well."""
    from .kernels_pixels_launch import list_rays, to_pixels

    config, looks = way.field.config, None
    if seen.window.anchors is not None:
        check_anchors(seen.window.anchors)
    if way.occupancy is not None:
        looks = occupancy.occupied_pixels(way.occupancy, float(config.radius), seen.cameras, *seen.window)
    radius, min_length = float(config.radius * config.bounds_scale), float(config.min_ray_length)
    listed = list_rays(seen.cameras, seen.rgb, *seen.window, looks, radius, min_length)
    return to_pixels(listed, *_render_in_chunks(way, list(listed.inputs), samples, chunk_size, progress, False))


def _render_in_chunks(
    way: _Way, inputs: list[Tensor], samples: int, chunk_size: int | None, progress: bool, needs_grad: bool
) -> tuple[Tensor, Tensor, Tensor]:
    batch, rays = inputs[0].shape[:2]
    field = way.field.field if isinstance(way.field, FoldedField) else way.field
    if way.by_kernels and not needs_grad and chunk_size is None:
        step = max(1, rays)
    else:
        points = chunk_size or _default_chunk_size(field)
        if way.occupancy is not None:
            points *= FEW_EVALUATED
        step = max(1, points // max(1, batch * samples))
    chunks = range(0, rays, step)
    outputs = []
    for start in tqdm(chunks, desc="Rendering", disable=not progress or len(chunks) < 4, leave=False):
        part = inputs if step >= rays else [tensor[:, start : start + step] for tensor in inputs]
        if needs_grad and len(chunks) > 1:
            outputs.append(checkpoint(way.render_rays, way.field, samples, *part, use_reentrant=False))
        else:
            outputs.append(way.render_rays(way.field, samples, *part))
    if not outputs:
        empty = inputs[0].new_zeros(batch, 0, 1)
        return empty.expand(-1, -1, 3), empty, empty
    color, depth, opacity = (
        parts[0] if len(parts) == 1 else torch.cat(parts, dim=1) for parts in zip(*outputs, strict=True)
    )
    return color, depth, opacity


def _is_out_of_memory(error: BaseException) -> bool:
    """On a CPU torch raises plain runtime errors, which only their text tells apart."""
    text = str(error).lower()
    return isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)) or any(
        part in text for part in ("can't allocate memory", "not enough memory", "out of memory")
    )


def _sampling_noise(
    sampling: str,
    shape: tuple[int, int, int],
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
        if any(part.numel() != math.prod(shape) * size for part, size in zip(noise, sizes, strict=True)):
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
    exact: bool | None,
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
    if exact not in (None, True, False):
        raise TypeError(f"`exact` must be True, False or None, got {exact!r}.")
    if num_samples is not None and field.config.sampling == "importance" and (num_samples < 8 or num_samples % 2):
        raise ValueError(f"`num_samples` must be even and at least 8 for importance sampling, got {num_samples}.")
    if len(cameras.shape) > 2:
        raise ValueError(f"`cameras` must have shape (views,) or (batch, views), got {tuple(cameras.shape)}.")
    wrong = _not_finite(field)
    if wrong is not None:
        raise ValueError(f"`field` has {wrong} with values that are not finite.")
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
    color = torch.as_tensor(background, dtype=torch.float32)
    if not bool(torch.isfinite(color).all()):
        raise ValueError("`background` holds values that are not finite.")
    return cameras, _broadcast("background", color, shape, field.device)


def _not_finite(field: TriplaneField) -> str | None:
    """Which tensors of a field hold values that are not finite. On a GPU, where each look waits for the device, it is
    kept with the field."""
    parts = {"planes": (field.planes,), "weights": field.weights, "biases": field.biases}
    tensors = tuple(tensor for part in parts.values() for tensor in part)

    def look() -> str | None:
        for name, part in parts.items():
            if not all(bool(torch.isfinite(tensor.detach()).all()) for tensor in part):
                return name
        return None

    # to know whether a tensor of inference mode has changed costs more than the look itself
    known = field.planes.is_cuda and not any(tensor.is_inference() for tensor in tensors)
    return kept_with(field, "_finite", tensors, look) if known else look()


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
