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
from .compositing import compositing_weights
from .dense import OUTSIDE, middle_u
from .folding import FoldedField, fold
from .occupancy import is_occupied
from .sampling import bin_depths, importance_depths, stratified_depths


# samples of a ray between two looks at its transmittance: fewer save evaluations, more save calls. Of 24, 32 and 48
# this was the quickest on one core and on two
BLOCK = 48


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
        tensor.reshape(batch * count, -1)[kept] for tensor in (origins, directions, near, far, background, *jitter)
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
    seen, color, depth, opacity = way(rays, samples, near, far, jitter_kept)
    kept, color = kept[seen], color + background_kept[seen] * (1 - opacity)
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

    def part(self, index: Tensor) -> _Rays:
        origins, directions = (part.index_select(0, index) for part in (self.origins, self.directions))
        return self._replace(
            origins=origins, directions=directions, owner=None if self.owner is None else self.owner[index]
        )

    def live(self, depths: Tensor) -> Tensor:
        """`(rays, samples)` bool: samples in occupied cells."""
        if self.occupancy is None:
            return torch.ones_like(depths, dtype=torch.bool)
        with torch.no_grad():
            radius = float(self.folded.config.radius)
            return is_occupied(self.occupancy, radius, self.origins, self.directions, depths, self.owner)

    def evaluate(self, samples: _Samples, depths: Tensor, inside_only: bool) -> Tensor:
        """Raw density and colour `(n, 4)` at samples of `depths` `(rays, samples)`."""
        origins, directions = (part.index_select(0, samples.ray) for part in (self.origins, self.directions))
        points = torch.addcmul(origins, depths.reshape(-1).index_select(0, samples.number)[:, None], directions)
        output = self.folded.evaluate(points, None if self.owner is None else self.owner[samples.ray])
        radius = self.folded.config.radius
        if (
            inside_only and len(points) and float(points.detach().abs().max()) > radius
        ):  # few parts reach out of the box
            outside = (points.detach().abs() > radius).any(dim=1, keepdim=True)
            raw = output[:, :1].masked_fill(outside, OUTSIDE)
            output = torch.cat([raw, output[:, 1:].masked_fill(outside, 0.0)], dim=1)
        return output


class _Samples(NamedTuple):
    """Some samples out of `(rays, samples)`."""

    ray: Tensor  # [n]
    number: Tensor  # [n] flat


def _uniform(
    rays: _Rays, samples: int, near: Tensor, far: Tensor, jitter: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    depths = bin_depths(near, far, samples, jitter[0] if jitter else 0.5)
    live = rays.live(depths)
    seen = live.any(dim=1).nonzero()[:, 0]
    rays, near, far, depths, live = rays.part(seen), near[seen], far[seen], depths[seen], live[seen]
    length = (
        (far - near) / samples if rays.folded.config.step_length == "metric" else torch.full_like(near, 1 / samples)
    )
    passed = torch.zeros_like(near)  # optical depth so far
    optical = torch.zeros_like(depths)
    chosen, outputs = [], []
    for start in range(0, samples, BLOCK):
        chosen.append(_choose(live[:, start : start + BLOCK] & (passed < rays.limit), start, samples))
        outputs.append(rays.evaluate(chosen[-1], depths, inside_only=False))
        with torch.no_grad():
            pieces = rays.folded.density_from_raw(outputs[-1][:, 0]) * length[chosen[-1].ray, 0]
            optical.view(-1)[chosen[-1].number] = pieces
            passed[:, 0].index_add_(0, chosen[-1].ray, pieces)
    found, output = _join(chosen), torch.cat(outputs)
    if output.requires_grad or depths.requires_grad:
        pieces = rays.folded.density_from_raw(output[:, 0]) * length[found.ray, 0]
        optical = torch.zeros_like(optical).view(-1).index_copy(0, found.number, pieces).view(depths.shape)
    return seen, *_accumulate(compositing_weights(optical, torch.ones_like(near)), depths, found, output)


def _importance(
    rays: _Rays, samples: int, near: Tensor, far: Tensor, jitter: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    half = samples // 2
    coarse = stratified_depths(near, far, half, jitter[0] if jitter else 0.5)
    u = jitter[1].sort(dim=-1).values if jitter else middle_u(coarse)
    coarse_live = rays.live(coarse)
    seen = _seen(rays, coarse, coarse_live, u, same_spacing=not jitter)
    rays = rays.part(seen)
    coarse, coarse_live, u = (part.index_select(0, seen) for part in (coarse, coarse_live, u))

    raw = torch.full_like(coarse, OUTSIDE, requires_grad=False)
    known = torch.zeros_like(coarse_live)
    first, first_output, optical = _march(rays, coarse, raw, _beside(coarse_live), known)
    one = optical.new_ones(())  # an optical depth is density times length already
    fine = importance_depths(coarse, compositing_weights(optical, one)[:, :-1], u)

    # both are ascending: where each goes in the list of all
    number = torch.arange(half, device=near.device)
    places = (
        torch.searchsorted(fine, coarse.detach()).add_(number),
        torch.searchsorted(coarse.detach(), fine, right=True).add_(number),
    )
    depths = _merge(coarse, fine, places)
    wanted = _beside(_merge(coarse_live, rays.live(fine), places))
    known = _merge(known, torch.zeros_like(known), places)
    raw = _merge(raw, torch.full_like(raw, OUTSIDE), places)
    second, second_output, optical = _march(rays, depths, raw, wanted, known)

    moved = first.ray * samples + places[0].view(-1)[first.number]
    found, output = _join([_Samples(first.ray, moved), second]), torch.cat([first_output, second_output])
    if output.requires_grad or depths.requires_grad:
        raw = torch.full_like(raw, OUTSIDE).view(-1).index_copy(0, found.number, output[:, 0])
        pieces = _choose(known[:, :-1] & known[:, 1:], 0, samples)
        optical = torch.zeros_like(raw).index_copy(0, pieces.number, _optical(rays, raw, depths, pieces))
        optical = optical.view(depths.shape)
    weights = compositing_weights(optical, one)
    # a piece has the mean of its ends' colours and depths: half of its weight goes to each
    ends = 0.5 * (weights + torch.nn.functional.pad(weights[:, :-1], (1, 0)))
    return seen, *_accumulate(ends, depths, found, output)


def _seen(rays: _Rays, coarse: Tensor, coarse_live: Tensor, u: Tensor, same_spacing: bool) -> Tensor:
    """Numbers of the rays that have a sample in an occupied cell, coarse or fine.

    Args:
        same_spacing: the depths of all rays are spaced alike, apart from where they begin and how long they are.
    """
    seen = coarse_live.any(dim=1)
    # where the coarse samples find nothing, it is known ahead where the fine ones will be
    others = (~seen).nonzero()[:, 0]
    first, last = coarse[others, :1], coarse[others, -1:]
    if same_spacing and len(others):
        spacing = (coarse[others[:1]] - first[:1]) / (last[:1] - first[:1])
        fine = first + (last - first) * importance_depths(spacing, torch.zeros_like(spacing[:, 1:]), u[:1])
    else:
        fine = importance_depths(coarse[others], torch.zeros_like(coarse[others, 1:]), u[others])
    seen[others] = rays.part(others).live(fine).any(dim=1)
    return seen.nonzero()[:, 0]


def _march(rays: _Rays, depths: Tensor, raw: Tensor, wanted: Tensor, known: Tensor) -> tuple[_Samples, Tensor, Tensor]:
    """Evaluates the wanted samples of each ray, front to back, as long as anything is seen of them.

    Args:
        depths: `(rays, samples)`, ascending.
        raw, known: raw density there, where it is known; what is evaluated is written into both.
        wanted: bool.

    Returns:
        What was evaluated, raw density and colour `(n, 4)` of it, and the optical depth `(rays, samples)` of the piece
        between each sample and the next: 0 where it is not known of both.
    """
    samples = depths.shape[1]
    passed = torch.zeros_like(depths[:, :1], requires_grad=False)
    optical = torch.zeros_like(depths, requires_grad=False)
    chosen, outputs = [], []
    for start in range(0, samples, BLOCK):
        stop = min(start + BLOCK, samples)
        part = slice(start, stop)
        asked = wanted[:, part] & (passed < rays.limit) & ~known[:, part]
        chosen.append(_choose(asked, start, samples))
        outputs.append(rays.evaluate(chosen[-1], depths, inside_only=True))
        known[:, part] |= asked
        with torch.no_grad():
            raw.view(-1)[chosen[-1].number] = outputs[-1][:, 0]
            before = max(0, start - 1)  # the piece that ends with this block's first sample
            pieces = _choose(known[:, before : stop - 1] & known[:, before + 1 : stop], before, samples)
            depth = _optical(rays, raw.view(-1), depths, pieces)
            optical.view(-1)[pieces.number] = depth
            passed[:, 0].index_add_(0, pieces.ray, depth)
    return _join(chosen), torch.cat(outputs), optical


def _optical(rays: _Rays, raw: Tensor, depths: Tensor, pieces: _Samples) -> Tensor:
    """Optical depth of pieces between a sample and the next, whose raw densities are averaged first."""
    number, after, flat = pieces.number, pieces.number + 1, depths.reshape(-1)
    density = rays.folded.density_from_raw(0.5 * (raw.index_select(0, number) + raw.index_select(0, after)))
    # ascending up to rounding
    return density * (flat.index_select(0, after) - flat.index_select(0, number)).clamp(min=0)


def _accumulate(weights: Tensor, depths: Tensor, found: _Samples, output: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Colour before its background `(rays, 3)`, depth and opacity `(rays, 1)`, from the samples' weights."""
    shares = output[:, 1:] * weights.reshape(-1).index_select(0, found.number)[:, None]
    color = output.new_zeros(len(weights), 3).index_add(0, found.ray, shares)
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


def _choose(chosen: Tensor, start: int, samples: int) -> _Samples:
    """The samples that are chosen of a block `(rays, n)` that begins with sample `start` of each ray."""
    width = chosen.shape[1]
    number = chosen.reshape(-1).nonzero()[:, 0]
    ray = torch.div(number, width, rounding_mode="floor")
    return _Samples(ray, torch.add(number, ray, alpha=samples - width).add_(start))


def _merge(coarse: Tensor, fine: Tensor, places: tuple[Tensor, Tensor]) -> Tensor:
    """`(rays, n)` and `(rays, n)` to `(rays, 2 n)`."""
    both = coarse.new_empty(coarse.shape[0], 2 * coarse.shape[1])
    return both.scatter(1, places[0], coarse).scatter(1, places[1], fine)


def _join(parts: list[_Samples]) -> _Samples:
    return _Samples(torch.cat([part.ray for part in parts]), torch.cat([part.number for part in parts]))
