# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Rendering by Triton kernels: the same pictures and gradients as the torch path in `renderer.py`, with nothing in
memory that is as large as rays x samples x channels.

Triton is imported when it is first needed, and a kernel compiles at its first launch. With `TRITON_INTERPRET=1` in the
environment before that, kernels run in Triton's interpreter on any device: slow, and meant for tests.

What a kernel sees is a field whose first linear layer is folded into its planes: bilinear interpolation is linear, so
W [f1; f2; f3] = W1 f1 + W2 f2 + W3 f3. The folding is done in torch, and gradients go through it.
"""

from __future__ import annotations

import importlib.util

import torch
from torch import Tensor

from ..modeling.field import TriplaneField
from .compositing import compositing_weights, neighbor_mean, resolve
from .kernels_launch import EMPTY, PRECISIONS, FieldLaunch, Rays, composite, evaluate_points, interpreted, raw_density
from .kernels_sampling_launch import binned_samples, importance_samples, live_samples, resolve_sums
from .sampling import bin_depths, importance_depths, stratified_depths


MAX_HIDDEN = 128
MAX_LAYERS = 10
MAX_SAMPLES = 2**15 - 1  # their indices are int16
# rays x samples of one launch where no gradients are wanted: bounds the depths in memory (11 bytes each)
LAUNCH_SAMPLES = 2**25


def unsupported(
    field: TriplaneField, device: torch.device | str | None = None, num_samples: int | None = None
) -> str | None:
    """Why the kernels can't render a field, in words that end a sentence; None where they can.

    Args:
        field: the field.
        device: where to render; default `field.device`.
        num_samples: samples per ray; default `field.config.num_samples`.
    """
    config = field.config
    device = torch.device(device) if device is not None else field.device
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    if config.hidden_size > MAX_HIDDEN:
        return f"the kernels take MLPs up to {MAX_HIDDEN} wide, and the field's `hidden_size` is {config.hidden_size}"
    if config.num_hidden_layers > MAX_LAYERS:
        return (
            f"the kernels take MLPs of up to {MAX_LAYERS} hidden layers, and the field's `num_hidden_layers` is "
            f"{config.num_hidden_layers}"
        )
    if (num_samples or config.num_samples) > MAX_SAMPLES:
        return f"the kernels take up to {MAX_SAMPLES} samples per ray, not {num_samples or config.num_samples}"
    if torch.are_deterministic_algorithms_enabled() and torch.is_grad_enabled() and field.planes.requires_grad:
        return "gradients of the planes are summed in no fixed order, and torch is set to deterministic algorithms"
    if interpreted():
        return None
    if device.type != "cuda":
        return f"the kernels need a CUDA device, not {device.type!r}"
    if torch.version.hip is not None:
        return "the kernels are untested on ROCm"
    if torch.cuda.get_device_capability(device) < (8, 0):
        name = torch.cuda.get_device_name(device)
        return f"the kernels need a GPU of compute capability 8.0 or newer, and {name} is older"
    return None


def render_rays(
    field: TriplaneField,
    samples: int,
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    hit: Tensor,
    background: Tensor,
    *jitter: Tensor,
    occupancy: Tensor | None = None,
    min_transmittance: float = 0.0,
    precision: str = "fp32",
) -> tuple[Tensor, Tensor, Tensor]:
    """Rays `(batch, n, ...)` to colour `(batch, n, 3)`, depth and opacity `(batch, n, 1)`.

    Differentiable once, with respect to planes, MLP, background, origins, directions, near and far. Rays that follow
    each other share memory accesses where they are neighbours in the picture as well.

    Args:
        field: `batch` fields.
        samples: per ray.
        origins, directions: `(batch, n, 3)`, directions of length one.
        near, far, hit: `(batch, n, 1)` as from `ray_box_intersection`.
        background: `(batch, n, 3)`.
        jitter: sampling noise `(batch, n, samples)`, or for importance sampling jitter and u of
            `(batch, n, samples / 2)`; bin centres and an even spread without.
        occupancy: bool `(batch, cells, cells, cells)` indexed by x, y, z over the box; samples in a cell that is False
            count as empty, with importance sampling if those next to them do so as well. Points beside the box count
            with the outermost cells.
        min_transmittance: a ray ends once less light than this gets through; what lies behind changes a colour by no
            more than this.
        precision: of the operands of matrix products: `"fp32"`, `"tf32x3"` (nearly fp32, on tensor cores), `"tf32"` or
            `"bf16"`, which also stores the folded planes as bfloat16. Sums are float32.

    Raises:
        ValueError: if the kernels can't render the field there, or `precision` is unknown.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"`precision` must be one of {', '.join(map(repr, PRECISIONS))}, got {precision!r}.")
    reason = unsupported(field, origins.device, samples)
    if reason is not None:
        raise ValueError(f"Triton kernels can't render this: {reason}.")
    batch, count = origins.shape[:2]
    if occupancy is not None and (
        occupancy.dtype != torch.bool
        or occupancy.ndim != 4
        or occupancy.shape[0] != batch
        or len(set(occupancy.shape[1:])) != 1
    ):
        raise ValueError(
            f"`occupancy` must be bool of shape ({batch}, cells, cells, cells), got {occupancy.dtype} of "
            f"{tuple(occupancy.shape)}."
        )
    inputs = (origins, directions, near, far, hit, background, *jitter)
    sources = (field.planes, *field.weights, *field.biases, *inputs)
    needs_grad = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in sources)
    step = max(1, count if needs_grad else LAUNCH_SAMPLES // (batch * samples))
    with torch.cuda.device_of(origins):
        launch = FieldLaunch.of(field, precision)
        parts = []
        for start in range(0, count, step):
            part = inputs if step >= count else tuple(tensor[:, start : start + step] for tensor in inputs)
            parts.append(_render_part(field, launch, samples, part, occupancy, min_transmittance))
    if not parts:
        return background.clone(), torch.zeros_like(near), torch.zeros_like(near)
    color, depth, opacity = (
        part[0] if len(parts) == 1 else torch.cat(part, dim=1) for part in zip(*parts, strict=True)
    )
    return color, depth, opacity


def query(field: TriplaneField, points: Tensor, precision: str = "fp32") -> tuple[Tensor, Tensor]:
    """As `TriplaneField.query`, without gradients: density `(batch, n, 1)` and colour `(batch, n, 3)` at world points
    `(batch, n, 3)`, in one kernel.

    Raises:
        ValueError: if the kernels can't evaluate the field there, or an argument makes no sense.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"`precision` must be one of {', '.join(map(repr, PRECISIONS))}, got {precision!r}.")
    reason = unsupported(field, points.device)
    if reason is not None:
        raise ValueError(f"Triton kernels can't evaluate this: {reason}.")
    if points.ndim != 3 or points.shape[-1] != 3 or points.shape[0] != len(field):
        raise ValueError(f"`points` must have shape ({len(field)}, n, 3), got {tuple(points.shape)}.")
    with torch.no_grad(), torch.cuda.device_of(points):
        outputs = evaluate_points(FieldLaunch.of(field, precision), points.float())
        padding = field.config.color_padding
        color = torch.sigmoid(outputs[..., 1:]) * (1 + 2 * padding) - padding
        return field.density_from_raw(outputs[..., :1]), color


def _render_part(
    field: TriplaneField,
    launch: FieldLaunch,
    samples: int,
    inputs: tuple[Tensor, ...],
    occupancy: Tensor | None,
    min_transmittance: float,
) -> tuple[Tensor, Tensor, Tensor]:
    with torch.autocast(field.device.type, enabled=False):
        origins, directions, near, far, hit, background = inputs[:6]
        rays, jitter = Rays(origins, directions, hit, occupancy), inputs[6:]
        wanted = (origins, directions, near, far, *jitter)
        differentiable = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in wanted)
        sample = _differentiable_samples if differentiable else _samples
        depths, listed = sample(field, launch, rays, near, far, samples, jitter)
        lengths = near  # not read
        if field.config.sampling == "uniform":
            metric = field.config.step_length == "metric"
            lengths = (far - near) / samples if metric else torch.full_like(near, 1 / samples)
        sums = composite(launch, rays, depths, lengths, listed, min_transmittance)
        if not (torch.is_grad_enabled() and (sums.requires_grad or background.requires_grad)):
            return resolve_sums(launch, sums, depths, background)
        first, last = depths[..., :1], depths[..., -1:]
        if field.config.sampling == "importance":
            first, last = 0.5 * (first + depths[..., 1:2]), 0.5 * (depths[..., -2:-1] + last)
        return resolve(sums[..., :3], sums[..., 3:4], sums[..., 4:], first, last, background)


def _samples(
    field: TriplaneField,
    launch: FieldLaunch,
    rays: Rays,
    near: Tensor,
    far: Tensor,
    samples: int,
    jitter: tuple[Tensor, ...],
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Where to look: depths `(batch, n, samples)`, ascending, and which of them count."""
    if field.config.sampling == "uniform":
        return binned_samples(launch, rays, near, far, samples, jitter[0] if jitter else None)
    return importance_samples(launch, rays, near, far, samples, jitter)


def _differentiable_samples(
    field: TriplaneField,
    launch: FieldLaunch,
    rays: Rays,
    near: Tensor,
    far: Tensor,
    samples: int,
    jitter: tuple[Tensor, ...],
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """As `_samples`, in torch: depths have gradients by the cameras."""
    if field.config.sampling == "uniform":
        depths = bin_depths(near, far, samples, jitter[0] if jitter else 0.5)
        return depths, live_samples(launch, rays, depths)
    half = samples // 2
    coarse = stratified_depths(near, far, half, jitter[0] if jitter else 0.5)
    with torch.no_grad():
        raw = torch.full_like(coarse, EMPTY)
        raw_density(launch, rays, coarse.detach().contiguous(), *live_samples(launch, rays, coarse), raw)
        density = field.density_from_raw(neighbor_mean(raw[..., None])[..., 0])
        weights = compositing_weights(density, coarse[..., 1:] - coarse[..., :-1])
        u = (torch.arange(half, dtype=near.dtype, device=near.device) + 0.5) / half
        fine = importance_depths(coarse, weights, jitter[1] if jitter else u.expand(coarse.shape))
    depths = torch.cat([coarse, fine], dim=-1).sort(dim=-1, stable=True).values
    return depths, live_samples(launch, rays, depths)
