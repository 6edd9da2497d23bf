# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Tensors in, launches of `kernels_sampling.py`, tensors out. No gradients flow through any of it.

A list of samples to look at comes as a pair: their indices, int16 `(batch, n, samples)`, and how many of them count,
int32 `(batch, n)`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .kernels_launch import EMPTY, FieldLaunch, Rays, blocks_of, program_of, raw_density, ray_block, strides_of


def live_samples(launch: FieldLaunch, rays: Rays, depths: Tensor) -> tuple[Tensor, Tensor]:
    """The samples to look at among those at depths `(batch, n, samples)`."""
    from .kernels_sampling import live_samples_kernel

    depths = depths.detach().contiguous()
    live, counts = torch.empty_like(depths, dtype=torch.int16), _counts_of(depths)
    total, (block, warps) = counts.numel(), ray_block()
    live_samples_kernel[(blocks_of(total, block),)](
        *_operands(rays), depths, rays.hit, rays.cells, live, counts, total, depths.shape[1], depths.shape[2],
        rays.cells.shape[1], launch.inverse_radius,
        INSIDE_ONLY=launch.rule["NEIGHBORS"], OCCUPANCY=rays.occupancy is not None, **program_of(block, warps),
    )  # fmt: skip
    return live, counts


def binned_samples(
    launch: FieldLaunch, rays: Rays, near: Tensor, far: Tensor, samples: int, jitter: Tensor | None
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """`bin_depths` `(batch, n, samples)`, and which of them to look at."""
    depths, live, counts, _ = _spread(launch, rays, near, far, samples, jitter, neighbors=False)
    return depths, (live, counts)


def importance_samples(
    launch: FieldLaunch,
    rays: Rays,
    near: Tensor,
    far: Tensor,
    samples: int,
    jitter: tuple[Tensor, ...],
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Depths `(batch, n, samples)`, half of them coarse and half of them where those found something, ascending; and
    which of them to look at.

    Args:
        jitter: none, or that of the coarse samples and u of the fine ones, `(batch, n, samples / 2)` each.
    """
    from .kernels_sampling import importance_samples_kernel

    half = samples // 2
    coarse, live, counts, raw = _spread(launch, rays, near, far, half, jitter[0] if jitter else None, neighbors=True)
    raw_density(launch, rays, coarse, live, counts, raw)
    # an ascending u gives ascending depths: the same ones in another order
    u = jitter[1].detach().sort(dim=-1).values.contiguous() if jitter else raw
    depths, live = _per_sample(near, 2 * half, torch.float32), _per_sample(near, 2 * half, torch.int16)
    counts = _counts_of(depths)
    total, (block, warps) = counts.numel(), ray_block()
    importance_samples_kernel[(blocks_of(total, block),)](
        *_operands(rays), rays.hit, rays.cells, coarse, raw, u, depths, live, counts, total, depths.shape[1], half,
        rays.cells.shape[1], launch.inverse_radius, launch.numbers[0],
        EXPONENTIAL=launch.rule["EXPONENTIAL"], JITTER=bool(jitter), OCCUPANCY=rays.occupancy is not None,
        **program_of(block, warps),
    )  # fmt: skip
    return depths, (live, counts)


def resolve_sums(
    launch: FieldLaunch, sums: Tensor, depths: Tensor, background: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """`compositing.resolve` of sums `(batch, n, 5)`: colour `(batch, n, 3)`, depth and opacity `(batch, n, 1)`."""
    from .kernels_sampling import resolve_kernel

    color = torch.empty(background.shape, device=sums.device)
    depth, opacity = (torch.empty(*sums.shape[:2], 1, device=sums.device) for _ in range(2))
    total, (block, warps) = depth.numel(), ray_block()
    resolve_kernel[(blocks_of(total, block),)](
        sums, depths, background.contiguous(), color, depth, opacity, total, depths.shape[2],
        *strides_of(depths), NEIGHBORS=launch.rule["NEIGHBORS"], **program_of(block, warps),
    )  # fmt: skip
    return color, depth, opacity


def _spread(
    launch: FieldLaunch, rays: Rays, near: Tensor, far: Tensor, samples: int, jitter: Tensor | None, neighbors: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Depths, the list of those to look at, and a raw density of `EMPTY` for each; the latter with neighbours only."""
    from .kernels_sampling import spread_samples_kernel

    depths, live = _per_sample(near, samples, torch.float32), _per_sample(near, samples, torch.int16)
    counts = _counts_of(depths)
    # what is not there stands in as an argument that is not touched
    raw = _per_sample(near, samples, torch.float32) if neighbors else depths
    noise = depths if jitter is None else jitter.detach().contiguous()
    total, (block, warps) = counts.numel(), ray_block()
    spread_samples_kernel[(blocks_of(total, block),)](
        *_operands(rays), near.detach().contiguous(), far.detach().contiguous(), rays.hit, rays.cells, noise, depths,
        live, counts, raw, total, depths.shape[1], samples, rays.cells.shape[1], launch.inverse_radius, EMPTY,
        NEIGHBORS=neighbors, JITTER=jitter is not None, OCCUPANCY=rays.occupancy is not None,
        **program_of(block, warps),
    )  # fmt: skip
    return depths, live, counts, raw


def _operands(rays: Rays) -> tuple[Tensor, Tensor]:
    return rays.origins.detach(), rays.directions.detach()


def _per_sample(near: Tensor, samples: int, dtype: torch.dtype) -> Tensor:
    """`(batch, n, samples)` with rays next to each other in memory."""
    batch, count = near.shape[:2]
    return torch.empty(samples, batch, count, dtype=dtype, device=near.device).permute(1, 2, 0)


def _counts_of(depths: Tensor) -> Tensor:
    return torch.empty(depths.shape[:2], dtype=torch.int32, device=depths.device)
