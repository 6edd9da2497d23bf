# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Triton: where along a ray to look, and what becomes of the sums; the twin of `sampling.py` and of
`compositing.resolve`, without gradients. Importing this imports triton.

A lane owns a ray and goes along it. What it needs of the samples behind it are a few numbers, so that weights, their
cumulative sum, its inverse and the merging of two ascending lists are plain arithmetic, and nothing is sorted.

Worth a look are samples in occupied cells. Where neighbours are averaged before the density's activation, the samples
next to those are as well: the mean of a high and a low raw density is not the low one.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .kernels_forward import density_of, place_of, vector_of


@triton.jit
def look_at(
    x, y, z, wanted, occupancy, owner, cells, INSIDE_ONLY: tl.constexpr, OCCUPANCY: tl.constexpr
):  # fmt: skip
    """Of wanted points at box coordinates which may be looked at (those in the box, where INSIDE_ONLY), and which of
    these lie in an occupied cell; as 0 and 1."""
    allowed = wanted
    if INSIDE_ONLY:
        allowed = allowed & (tl.abs(x) <= 1.0) & (tl.abs(y) <= 1.0) & (tl.abs(z) <= 1.0)
    occupied = allowed
    if OCCUPANCY:
        last = cells - 1.0
        half = cells * 0.5
        cell_x = tl.minimum(tl.maximum((x + 1.0) * half, 0.0), last).to(tl.int64)
        cell_y = tl.minimum(tl.maximum((y + 1.0) * half, 0.0), last).to(tl.int64)
        cell_z = tl.minimum(tl.maximum((z + 1.0) * half, 0.0), last).to(tl.int64)
        cell = ((owner * cells + cell_x) * cells + cell_y) * cells + cell_z
        occupied = occupied & (tl.load(occupancy + cell, mask=occupied, other=0) != 0)
    return allowed.to(tl.int32), occupied.to(tl.int32)


@triton.jit
def live_samples_kernel(
    origins,  # [rays, 3]
    directions,  # [rays, 3]
    depths,  # [rays, samples]
    hit,  # [rays] uint8
    occupancy,  # [objects, cells, cells, cells] uint8, or anything where OCCUPANCY is false
    live,  # out [rays, samples] int16: indices of the samples to look at, ascending
    counts,  # out [rays] int32: how many
    total,
    rays_per_object,
    samples,
    cells,
    inverse_radius,
    INSIDE_ONLY: tl.constexpr,
    OCCUPANCY: tl.constexpr,
    BLOCK: tl.constexpr,
):
    ray = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    valid = ray < total
    wanted = valid & (tl.load(hit + ray, mask=valid, other=0) != 0)
    # box coordinates, -1 to 1 inside
    ox, oy, oz = vector_of(origins, ray, inverse_radius, valid)
    dx, dy, dz = vector_of(directions, ray, inverse_radius, valid)
    owner = ray // rays_per_object
    count = tl.zeros((BLOCK,), dtype=tl.int32)
    allowed_before, occupied_before, occupied_two_before = count, count, count
    for index in range(samples + 1):
        there = wanted & (index < samples)
        depth = tl.load(depths + ray * samples + index, mask=there, other=0.0)
        x, y, z = ox + depth * dx, oy + depth * dy, oz + depth * dz
        allowed, occupied = look_at(x, y, z, there, occupancy, owner, cells, INSIDE_ONLY, OCCUPANCY)
        near_by = occupied_before
        if INSIDE_ONLY:
            near_by = allowed_before & (occupied_two_before | occupied_before | occupied)
        before = tl.zeros((BLOCK,), dtype=tl.int32) + index - 1
        tl.store(live + ray * samples + count, before.to(tl.int16), mask=near_by != 0)
        count += near_by
        allowed_before, occupied_two_before, occupied_before = allowed, occupied_before, occupied
    tl.store(counts + ray, count, mask=valid)


@triton.jit
def spread_samples_kernel(
    origins,
    directions,
    near,  # [rays]
    far,  # [rays]
    hit,
    occupancy,
    jitter,  # [rays, samples] in [0, 1), or anything where JITTER is false
    depths,  # out [samples, rays]
    live,  # out [samples, rays] int16
    counts,  # out [rays] int32
    raw,  # out [samples, rays]: `empty` everywhere; where NEIGHBORS
    total,
    rays_per_object,
    samples,
    cells,
    inverse_radius,
    empty,
    NEIGHBORS: tl.constexpr,
    JITTER: tl.constexpr,
    OCCUPANCY: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Samples spread evenly, and which of them are worth a look: with NEIGHBORS `stratified_depths`, of which those in
    the box count, without it `bin_depths`."""
    ray = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    valid = ray < total
    wanted = valid & (tl.load(hit + ray, mask=valid, other=0) != 0)
    ox, oy, oz = vector_of(origins, ray, inverse_radius, valid)
    dx, dy, dz = vector_of(directions, ray, inverse_radius, valid)
    owner = ray // rays_per_object
    begin = tl.load(near + ray, mask=valid, other=0.0)
    length = tl.load(far + ray, mask=valid, other=0.0) - begin
    if NEIGHBORS:
        spacing = length / (samples - 1)
    else:
        spacing = length / samples
    count = tl.zeros((BLOCK,), dtype=tl.int32)
    allowed_before, occupied_before, occupied_two_before = count, count, count
    for index in range(samples + 1):
        there = valid & (index < samples)
        place = place_of(ray, index, 1, total)
        shift = tl.zeros((BLOCK,), dtype=tl.float32) + 0.5
        if JITTER:
            shift = tl.load(jitter + ray * samples + index, mask=there, other=0.0)
        if NEIGHBORS:
            depth = begin + index * spacing + shift * spacing
            tl.store(raw + place, tl.zeros((BLOCK,), dtype=tl.float32) + empty, mask=there)
        else:
            depth = begin + (index + shift) * spacing
        tl.store(depths + place, depth, mask=there)
        x, y, z = ox + depth * dx, oy + depth * dy, oz + depth * dz
        allowed, occupied = look_at(x, y, z, wanted & there, occupancy, owner, cells, NEIGHBORS, OCCUPANCY)
        near_by = occupied_before
        if NEIGHBORS:
            near_by = allowed_before & (occupied_two_before | occupied_before | occupied)
        before = tl.zeros((BLOCK,), dtype=tl.int32) + index - 1
        tl.store(live + place_of(ray, count, 1, total), before.to(tl.int16), mask=near_by != 0)
        count += near_by
        allowed_before, occupied_two_before, occupied_before = allowed, occupied_before, occupied
    tl.store(counts + ray, count, mask=valid)


@triton.jit
def importance_shares(coarse, raw, ray, total, half, density_bias, EXPONENTIAL: tl.constexpr, BLOCK: tl.constexpr):
    """Writes the pdf of `importance_depths`, not yet divided by its sum, over the first `half - 3` raw densities of
    each ray, which are not needed any more by then; returns that sum.

    The outermost weights, which have one neighbour only, end up in entries that the pdf leaves out.
    """
    valid = ray < total
    zero = tl.zeros((BLOCK,), dtype=tl.float32)
    raw_before = tl.load(raw + ray, mask=valid, other=0.0)
    depth_before = tl.load(coarse + ray, mask=valid, other=0.0)
    transmittance = zero + 1.0
    weight_before, larger_before, share_sum = zero, zero, zero
    for index in range(1, half):
        place = place_of(ray, index, 1, total)
        raw_here = tl.load(raw + place, mask=valid, other=0.0)
        depth = tl.load(coarse + place, mask=valid, other=0.0)
        density = density_of(0.5 * (raw_before + raw_here), density_bias, EXPONENTIAL)
        alpha = 1.0 - tl.exp(-density * (depth - depth_before))
        weight = alpha * transmittance
        transmittance *= 1.0 - alpha + 1e-10  # as `compositing_weights`
        larger = tl.maximum(weight_before, weight)
        share = 0.5 * (larger_before + larger) + 0.01 + 1e-5  # as `smooth_weights` and `importance_depths`
        tl.store(raw + place_of(ray, index - 3, 1, total), share, mask=valid & (index >= 3))
        share_sum += tl.where(index >= 3, share, 0.0)
        raw_before, depth_before, weight_before, larger_before = raw_here, depth, weight, larger
    return share_sum


@triton.jit
def importance_samples_kernel(
    origins,
    directions,
    hit,
    occupancy,
    coarse,  # [half, rays] depths, ascending
    raw,  # [half, rays] raw density there; overwritten
    jitter,  # [rays, half] u, ascending in [0, 1); or anything where JITTER is false
    depths,  # out [2 * half, rays]
    live,  # out [2 * half, rays] int16
    counts,  # out [rays] int32
    total,
    rays_per_object,
    half,
    cells,
    inverse_radius,
    density_bias,
    EXPONENTIAL: tl.constexpr,
    JITTER: tl.constexpr,
    OCCUPANCY: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Coarse depths and those that `importance_depths` adds, in one ascending list, and which are worth a look.

    In each step a ray does one of three things: it goes on to the cdf's next entry, or it places its next coarse sample
    or its next fine one. All rays take equally many steps.
    """
    ray = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    valid = ray < total
    wanted = valid & (tl.load(hit + ray, mask=valid, other=0) != 0)
    ox, oy, oz = vector_of(origins, ray, inverse_radius, valid)
    dx, dy, dz = vector_of(directions, ray, inverse_radius, valid)
    owner = ray // rays_per_object
    share_sum = importance_shares(coarse, raw, ray, total, half, density_bias, EXPONENTIAL, BLOCK)
    tl.debug_barrier()  # what was written is read again

    last = half - 3  # entry of the cdf
    zero = tl.zeros((BLOCK,), dtype=tl.float32)
    entry = tl.zeros((BLOCK,), dtype=tl.int32)
    placed, taken, count = entry, entry, entry  # coarse samples, fine ones, live ones
    allowed_before, occupied_before, occupied_two_before = entry, entry, entry
    coarse_depth = tl.load(coarse + ray, mask=valid, other=0.0)
    second_depth = tl.load(coarse + place_of(ray, 1, 1, total), mask=valid, other=0.0)
    edge = tl.load(coarse + place_of(ray, 2, 1, total), mask=valid, other=0.0)
    bin_low, bin_high = 0.5 * (coarse_depth + second_depth), 0.5 * (second_depth + edge)
    low, high = zero, tl.load(raw + ray, mask=valid, other=1.0) / share_sum
    u = zero + 0.5 / half
    if JITTER:
        u = tl.load(jitter + ray * half, mask=valid, other=0.0)
    depth_before = zero - float("inf")
    for _ in range(3 * half - 3):
        advance = (entry < last) & (taken < half) & (high <= u)
        width = high - low
        width = tl.where(width < 1e-5, 1.0, width)
        fine = bin_low + tl.maximum(u - low, 0.0) / width * (bin_high - bin_low)
        is_coarse = (placed < half) & ((taken >= half) | (coarse_depth <= fine))
        number = placed + taken
        emit = valid & (number < 2 * half) & (advance == 0)
        # rounding must not make a piece's length negative, which a huge density would blow up
        depth = tl.maximum(tl.where(is_coarse, coarse_depth, fine), depth_before)
        depth_before = tl.where(emit, depth, depth_before)
        tl.store(depths + place_of(ray, number, 1, total), depth, mask=emit)
        x, y, z = ox + depth * dx, oy + depth * dy, oz + depth * dz
        allowed, occupied = look_at(x, y, z, emit & wanted, occupancy, owner, cells, True, OCCUPANCY)
        near_by = tl.where(emit, allowed_before & (occupied_two_before | occupied_before | occupied), 0)
        tl.store(live + place_of(ray, count, 1, total), (number - 1).to(tl.int16), mask=near_by != 0)
        count += near_by
        allowed_before = tl.where(emit, allowed, allowed_before)
        occupied_two_before = tl.where(emit, occupied_before, occupied_two_before)
        occupied_before = tl.where(emit, occupied, occupied_before)

        next_coarse, next_fine = emit & is_coarse, emit & (is_coarse == 0)
        placed += next_coarse.to(tl.int32)
        taken += next_fine.to(tl.int32)
        following = tl.load(coarse + place_of(ray, placed, 1, total), mask=next_coarse & (placed < half), other=0.0)
        coarse_depth = tl.where(next_coarse, following, coarse_depth)
        if JITTER:
            following = tl.load(jitter + ray * half + taken, mask=next_fine & (taken < half), other=0.0)
            u = tl.where(next_fine, following, u)
        else:
            u = (taken + 0.5) / half
        low, bin_low = tl.where(advance, high, low), tl.where(advance, bin_high, bin_low)
        entry += advance.to(tl.int32)
        # behind its last entry the cdf rises no more
        more = advance & (entry < last)
        high += tl.load(raw + place_of(ray, entry, 1, total), mask=more, other=0.0) / share_sum
        following = tl.load(coarse + place_of(ray, entry + 2, 1, total), mask=more, other=0.0)
        bin_high = tl.where(more, 0.5 * (edge + following), bin_high)
        edge = tl.where(more, following, edge)
    near_by = allowed_before & (occupied_two_before | occupied_before)
    final = (entry * 0 + 2 * half - 1).to(tl.int16)
    tl.store(live + place_of(ray, count, 1, total), final, mask=near_by != 0)
    tl.store(counts + ray, count + near_by, mask=valid)


@triton.jit
def resolve_kernel(
    sums,  # [rays, 5] as `composite_kernel` leaves them
    depths,  # of all samples
    background,  # [rays, 3]
    color,  # out [rays, 3]
    depth,  # out [rays]
    opacity,  # out [rays]
    total,
    samples,
    across,
    along,
    NEIGHBORS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """`compositing.resolve`; with NEIGHBORS the first and last piece lie between samples."""
    ray = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    valid = ray < total
    first = tl.load(depths + ray * across, mask=valid, other=0.0)
    last = tl.load(depths + place_of(ray, samples - 1, across, along), mask=valid, other=0.0)
    if NEIGHBORS:
        first = 0.5 * (first + tl.load(depths + place_of(ray, 1, across, along), mask=valid, other=0.0))
        last = 0.5 * (tl.load(depths + place_of(ray, samples - 2, across, along), mask=valid, other=0.0) + last)
    share = tl.minimum(tl.load(sums + ray * 5 + 4, mask=valid, other=0.0), 1.0)  # rounding may end just above
    for channel in tl.static_range(3):
        seen = tl.load(sums + ray * 5 + channel, mask=valid, other=0.0)
        behind = tl.load(background + ray * 3 + channel, mask=valid, other=0.0)
        tl.store(color + ray * 3 + channel, seen + behind * (1.0 - share), mask=valid)
    empty = share <= 0.0
    mean = tl.load(sums + ray * 5 + 3, mask=valid, other=0.0) / tl.where(empty, 1.0, share)
    # rounding must not carry the mean out of the samples' range
    mean = tl.maximum(tl.minimum(mean, last), first)
    tl.store(depth + ray, tl.where(empty, 0.0, mean), mask=valid)
    tl.store(opacity + ray, share, mask=valid)
