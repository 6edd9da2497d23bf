# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The quick way in torch: only samples that a picture can show are evaluated, packed into dense lists.

Two things are left out: samples in empty cells (see `occupancy`), and what lies behind the point where a ray's
transmittance has fallen below a limit. For the latter rays are worked through front to back in blocks of samples. Each
decision is taken for each ray by itself, so that neither batch nor chunk size changes anything.

Where neighbouring samples are averaged before the density's activation, a sample counts as soon as one of its
neighbours lies in an occupied cell: the mean of a high and a low raw density is not the low one.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..modeling.field import TriplaneField
from . import dense
from .compositing import compositing_weights, neighbor_mean
from .dense import OUTSIDE, middle_u
from .folding import FoldedField, fold
from .occupancy import is_occupied
from .sampling import bin_depths, importance_depths, stratified_depths


# samples of a ray between two looks at its transmittance: fewer save evaluations, more save calls
BLOCK = 12


def render_rays(
    field: TriplaneField | FoldedField,
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
) -> tuple[Tensor, Tensor, Tensor]:
    """Rays `(batch, n, ...)` to colour `(batch, n, 3)`, depth and opacity `(batch, n, 1)`.

    Args:
        occupancy: `(batch, cells, cells, cells)` bool from `occupancy_grid`; none: nowhere is empty.
        min_transmittance: what lies behind less than this is not looked at.
    """
    folded = field if isinstance(field, FoldedField) else fold(field)
    if occupancy is None and min_transmittance <= 0:
        return dense.render_rays(folded, samples, origins, directions, near, far, hit, background, *jitter)
    batch, count = hit.shape[:2]
    kept = hit.reshape(-1).nonzero()[:, 0]
    origins, directions, near, far, background_kept, *jitter_kept = (
        tensor.reshape(batch * count, -1)[kept]
        for tensor in (origins, directions, near, far, background, *jitter)
    )
    rays = _Rays(
        folded,
        origins,
        directions,
        kept // count if batch > 1 else None,
        occupancy,
        -math.log(min_transmittance) if min_transmittance > 0 else math.inf,
    )
    way = _uniform if folded.config.sampling == "uniform" else _importance
    color, depth, opacity = way(rays, samples, near, far, jitter_kept)
    color = color + background_kept * (1 - opacity)
    empty = near.new_zeros(batch * count, 1)
    return (
        background.reshape(-1, 3).index_copy(0, kept, color).reshape(batch, count, 3),
        empty.index_copy(0, kept, depth).reshape(batch, count, 1),
        empty.index_copy(0, kept, opacity).reshape(batch, count, 1),
    )


class _Rays(NamedTuple):
    """Rays of one chunk, and what they look at. `owner`: batch entry of each, none for a batch of one."""

    folded: FoldedField
    origins: Tensor  # [rays, 3]
    directions: Tensor  # [rays, 3]
    owner: Tensor | None  # [rays]
    occupancy: Tensor | None
    limit: float  # optical depth behind which nothing is seen

    def live(self, depths: Tensor) -> Tensor:
        """`(rays, samples)` bool: samples in occupied cells."""
        if self.occupancy is None:
            return torch.ones_like(depths, dtype=torch.bool)
        with torch.no_grad():
            radius = float(self.folded.config.radius)
            return is_occupied(self.occupancy, radius, self.origins, self.directions, depths, self.owner)

    def evaluate(self, index: Tensor, depths: Tensor, inside_only: bool) -> Tensor:
        """Raw density and colour `(n, 4)` at samples with the flat numbers `index` of `depths` `(rays, samples)`."""
        ray = index // depths.shape[1]
        points = self.origins[ray] + depths.reshape(-1)[index][:, None] * self.directions[ray]
        output = self.folded.evaluate(points, None if self.owner is None else self.owner[ray])
        if inside_only:
            outside = (points.abs() > self.folded.config.radius).any(dim=1)
            if bool(outside.any()):
                raw = output[:, :1].masked_fill(outside[:, None], OUTSIDE)
                output = torch.cat([raw, output[:, 1:].masked_fill(outside[:, None], 0.0)], dim=1)
        return output


class _Found(NamedTuple):
    """Samples that were evaluated."""

    index: Tensor  # [n] flat, of [rays, samples]
    output: Tensor  # [n, 4] raw density and colour


def _uniform(
    rays: _Rays, samples: int, near: Tensor, far: Tensor, jitter: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    depths = bin_depths(near, far, samples, jitter[0] if jitter else 0.5)
    live = rays.live(depths)
    length = (far - near) / samples if rays.folded.config.step_length == "metric" else torch.full_like(near, 1 / samples)
    passed = torch.zeros_like(near)  # optical depth so far
    optical = torch.zeros_like(depths)
    found = []
    for start in range(0, samples, BLOCK):
        part = slice(start, start + BLOCK)
        index = _flat(live[:, part] & (passed < rays.limit), start, samples)
        output = rays.evaluate(index, depths, inside_only=False)
        found.append(_Found(index, output))
        with torch.no_grad():
            density = rays.folded.density_from_raw(output[:, 0])
            optical.view(-1)[index] = density * length[index // samples, 0]
            passed += optical[:, part].sum(dim=1, keepdim=True)
    index, output = _join(found)
    if output.requires_grad or depths.requires_grad:
        density = rays.folded.density_from_raw(output[:, 0]) * length[index // samples, 0]
        optical = torch.zeros_like(optical).view(-1).index_copy(0, index, density).view(depths.shape)
    weights = compositing_weights(optical, torch.ones_like(near))
    return _accumulate(weights, weights, depths, index, output)


def _importance(
    rays: _Rays, samples: int, near: Tensor, far: Tensor, jitter: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    half = samples // 2
    coarse = stratified_depths(near, far, half, jitter[0] if jitter else 0.5)
    coarse_live = rays.live(coarse)
    raw = torch.full_like(coarse, OUTSIDE)
    first, optical = _march(rays, coarse, raw, _beside(coarse_live))
    u = jitter[1].sort(dim=-1).values if jitter else middle_u(coarse)
    fine = importance_depths(coarse, compositing_weights(optical, torch.ones_like(near)), u)

    # both are ascending: where each goes in the list of all
    number = torch.arange(half, device=near.device)
    coarse_place = torch.searchsorted(fine, coarse.detach().contiguous()) + number
    fine_place = torch.searchsorted(coarse.detach().contiguous(), fine, right=True) + number
    depths = _merge(coarse, coarse_place, fine, fine_place)
    live = _merge(coarse_live, coarse_place, rays.live(fine), fine_place)
    known = torch.zeros_like(coarse_live).view(-1).index_fill_(0, first.index, True).view(coarse.shape)
    known = _merge(known, coarse_place, torch.zeros_like(coarse_live), fine_place)
    raw = _merge(raw, coarse_place, torch.full_like(raw, OUTSIDE), fine_place)
    second, optical = _march(rays, depths, raw, _beside(live) & ~known)

    moved = first.index // half * samples + coarse_place.view(-1)[first.index]
    index, output = _join([_Found(moved, first.output), second])
    if output.requires_grad or depths.requires_grad:
        raw = torch.full_like(raw, OUTSIDE).view(-1).index_copy(0, index, output[:, 0]).view(depths.shape)
        optical = _optical_depths(rays, raw, depths)
    weights = compositing_weights(optical, torch.ones_like(near))
    middles = neighbor_mean(depths[..., None])[..., 0]
    # a piece has the mean of its ends' colours: half of its weight goes to each
    half_weights = 0.5 * weights
    ends = torch.nn.functional.pad(half_weights, (0, 1)) + torch.nn.functional.pad(half_weights, (1, 0))
    return _accumulate(weights, ends, middles, index, output)


def _march(rays: _Rays, depths: Tensor, raw: Tensor, wanted: Tensor) -> tuple[_Found, Tensor]:
    """Evaluates the wanted samples of each ray, front to back, as long as anything is seen of them.

    Args:
        depths: `(rays, samples)`, ascending.
        raw: raw density there, `OUTSIDE` where it is not known; what is evaluated is written into it.
        wanted: bool.

    Returns:
        What was evaluated, and the optical depth `(rays, samples - 1)` of the pieces between samples.
    """
    samples = depths.shape[1]
    passed = torch.zeros_like(depths[:, :1])
    optical, found = [], []
    for start in range(0, samples, BLOCK):
        part = slice(start, start + BLOCK)
        index = _flat(wanted[:, part] & (passed < rays.limit), start, samples)
        output = rays.evaluate(index, depths, inside_only=True)
        found.append(_Found(index, output))
        with torch.no_grad():
            raw.view(-1)[index] = output[:, 0]
            pieces = slice(max(0, start - 1), start + BLOCK)
            optical.append(_optical_depths(rays, raw[:, pieces], depths[:, pieces]))
            passed += optical[-1].sum(dim=1, keepdim=True)
    return _join(found), torch.cat(optical, dim=1)


def _optical_depths(rays: _Rays, raw: Tensor, depths: Tensor) -> Tensor:
    """Of the pieces between neighbouring samples, whose raw densities are averaged first."""
    density = rays.folded.density_from_raw(neighbor_mean(raw[..., None])[..., 0])
    return density * (depths[:, 1:] - depths[:, :-1]).clamp(min=0)  # merging is exact up to rounding


def _accumulate(
    weights: Tensor, sample_weights: Tensor, depths: Tensor, index: Tensor, output: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Colour before its background, depth and opacity, from the weights of pieces and of samples."""
    rays, samples = sample_weights.shape
    shares = output[:, 1:] * sample_weights.reshape(-1)[index][:, None]
    color = output.new_zeros(rays, 3).index_add(0, index // samples, shares)
    opacity = weights.sum(dim=1, keepdim=True).clamp(max=1.0)
    empty = opacity <= 0
    depth = (weights * depths).sum(dim=1, keepdim=True) / torch.where(empty, torch.ones_like(opacity), opacity)
    depth = torch.maximum(torch.minimum(depth, depths[:, -1:]), depths[:, :1])
    return color, torch.where(empty, torch.zeros_like(depth), depth), opacity


def _beside(live: Tensor) -> Tensor:
    """Live samples and their neighbours along the ray."""
    wide = live.clone()
    wide[:, 1:] |= live[:, :-1]
    wide[:, :-1] |= live[:, 1:]
    return wide


def _flat(chosen: Tensor, start: int, samples: int) -> Tensor:
    """Flat numbers, in `(rays, samples)`, of the samples chosen from a block that begins at `start`."""
    width = chosen.shape[1]
    index = chosen.reshape(-1).nonzero()[:, 0]
    ray = index // width
    return index + ray * (samples - width) + start


def _merge(coarse: Tensor, coarse_place: Tensor, fine: Tensor, fine_place: Tensor) -> Tensor:
    """`(rays, n)` and `(rays, n)` to `(rays, 2 n)`."""
    both = coarse.new_empty(coarse.shape[0], 2 * coarse.shape[1])
    return both.scatter(1, coarse_place, coarse).scatter(1, fine_place, fine)


def _join(found: list[_Found]) -> _Found:
    return _Found(torch.cat([part.index for part in found]), torch.cat([part.output for part in found]))
