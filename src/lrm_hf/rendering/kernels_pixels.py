# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Triton: from pixels to a list of the rays that can hit something, and from what these see back to pixels; the twin of
`camera_rays` and `ray_box_intersection`, without gradients. Importing this imports triton.

Pixels of all objects are counted through, views of an object one after the other: pixel `p` belongs to object
`p // pixels_per_object` and to view `p // pixels` of all views. The list has `count` places for each object.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def away_from_zero(component):
    """As `ray_box_intersection`: 1e-6 at least."""
    return tl.where(tl.abs(component) < 1e-6, tl.where(component < 0.0, -1e-6, 1e-6), component)


@triton.jit
def turned(pose, x, y, valid, AXIS: tl.constexpr):
    """One world component of the camera's direction (x, -y, -1)."""
    right = tl.load(pose + 4 * AXIS, mask=valid, other=0.0)
    up = tl.load(pose + 4 * AXIS + 1, mask=valid, other=0.0)
    back = tl.load(pose + 4 * AXIS + 2, mask=valid, other=0.0)
    return x * right - y * up - back


@triton.jit
def pixel_rays_kernel(
    poses,  # [views, 4, 4]
    intrinsics,  # [views, 3, 3]
    anchors,  # [views, 2] row and column of the first pixel, or anything where ANCHORS is false
    backgrounds,  # [views, 3]; where PACK
    looks,  # [all pixels] uint8: what may hit, or anything where LOOKS is false
    places,  # [all pixels] int32: hits of the object up to and with the pixel; where PACK
    hits,  # [all pixels] uint8: out, and in where PACK
    origins,  # out [objects, count, 3]; as all that follow, where PACK
    directions,  # out [objects, count, 3]
    near,  # out [objects, count]
    far,  # out [objects, count]
    packed_hits,  # out [objects, count] uint8, zero before
    background,  # out [objects, count, 3]
    total,
    pixels_per_object,
    pixels,
    width,
    count,
    full_height,
    full_width,
    radius,
    min_length,
    ANCHORS: tl.constexpr,
    LOOKS: tl.constexpr,
    PACK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Which pixels hit something, and with PACK the rays of those that do. Divisions and the root are rounded as in
    torch, since importance sampling in a sharp field makes visible differences of a direction's last bits."""
    pixel = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    valid = pixel < total
    view = pixel // pixels
    inside = (pixel % pixels).to(tl.int32)
    row, column = (inside // width).to(tl.float32) + 0.5, (inside % width).to(tl.float32) + 0.5
    if ANCHORS:
        row += tl.load(anchors + view * 2, mask=valid, other=0.0)
        column += tl.load(anchors + view * 2 + 1, mask=valid, other=0.0)
    v, u = tl.div_rn(row, full_height), tl.div_rn(column, full_width)
    lens = intrinsics + view * 9
    fx, skew = tl.load(lens, mask=valid, other=1.0), tl.load(lens + 1, mask=valid, other=0.0)
    fy = tl.load(lens + 4, mask=valid, other=1.0)
    cx, cy = tl.load(lens + 2, mask=valid, other=0.0), tl.load(lens + 5, mask=valid, other=0.0)
    x = tl.div_rn(u - cx + tl.div_rn(cy * skew, fy) - tl.div_rn(skew * v, fy), fx)
    y = tl.div_rn(v - cy, fy)
    pose = poses + view * 16
    dx, dy, dz = turned(pose, x, y, valid, 0), turned(pose, x, y, valid, 1), turned(pose, x, y, valid, 2)
    length = tl.maximum(tl.sqrt_rn(dx * dx + dy * dy + dz * dz), 1e-12)
    dx, dy, dz = tl.div_rn(dx, length), tl.div_rn(dy, length), tl.div_rn(dz, length)
    ox = tl.load(pose + 3, mask=valid, other=0.0)
    oy = tl.load(pose + 7, mask=valid, other=0.0)
    oz = tl.load(pose + 11, mask=valid, other=0.0)

    one = dx * 0.0 + 1.0
    across_x, across_y, across_z = away_from_zero(dx), away_from_zero(dy), away_from_zero(dz)
    across_x, across_y, across_z = tl.div_rn(one, across_x), tl.div_rn(one, across_y), tl.div_rn(one, across_z)
    low_x, high_x = (-radius - ox) * across_x, (radius - ox) * across_x
    low_y, high_y = (-radius - oy) * across_y, (radius - oy) * across_y
    low_z, high_z = (-radius - oz) * across_z, (radius - oz) * across_z
    begin = tl.maximum(tl.minimum(low_x, high_x), tl.minimum(low_y, high_y))
    begin = tl.maximum(tl.maximum(begin, tl.minimum(low_z, high_z)), 0.0)
    end = tl.minimum(tl.maximum(low_x, high_x), tl.maximum(low_y, high_y))
    end = tl.minimum(end, tl.maximum(low_z, high_z))
    if PACK:
        hit = tl.load(hits + pixel, mask=valid, other=0) != 0
        place = tl.load(places + pixel, mask=valid, other=1) - 1
        place += pixel // pixels_per_object * count
        tl.store(origins + place * 3, ox, mask=hit)
        tl.store(origins + place * 3 + 1, oy, mask=hit)
        tl.store(origins + place * 3 + 2, oz, mask=hit)
        tl.store(directions + place * 3, dx, mask=hit)
        tl.store(directions + place * 3 + 1, dy, mask=hit)
        tl.store(directions + place * 3 + 2, dz, mask=hit)
        tl.store(near + place, begin, mask=hit)
        tl.store(far + place, end, mask=hit)
        tl.store(packed_hits + place, hit.to(tl.uint8), mask=hit)
        for channel in tl.static_range(3):
            behind = tl.load(backgrounds + view * 3 + channel, mask=valid, other=0.0)
            tl.store(background + place * 3 + channel, behind, mask=hit)
    else:
        hit = valid & (end > begin) & (end - begin > min_length)
        if LOOKS:
            hit = hit & (tl.load(looks + pixel, mask=valid, other=0) != 0)
        tl.store(hits + pixel, hit.to(tl.uint8), mask=valid)


@triton.jit
def pixel_values_kernel(
    hits,  # [all pixels] uint8
    places,  # [all pixels] int32
    backgrounds,  # [views, 3]
    packed_color,  # [objects, count, 3]
    packed_depth,  # [objects, count]
    packed_opacity,  # [objects, count]
    color,  # out [all pixels, 3]
    depth,  # out [all pixels]
    opacity,  # out [all pixels]
    total,
    pixels_per_object,
    pixels,
    count,
    BLOCK: tl.constexpr,
):
    """What the rays of a list saw, and the background elsewhere."""
    pixel = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    valid = pixel < total
    hit = tl.load(hits + pixel, mask=valid, other=0) != 0
    place = tl.load(places + pixel, mask=valid, other=1) - 1
    place += pixel // pixels_per_object * count
    view = pixel // pixels
    for channel in tl.static_range(3):
        seen = tl.load(packed_color + place * 3 + channel, mask=hit, other=0.0)
        behind = tl.load(backgrounds + view * 3 + channel, mask=valid, other=0.0)
        tl.store(color + pixel * 3 + channel, tl.where(hit, seen, behind), mask=valid)
    tl.store(depth + pixel, tl.load(packed_depth + place, mask=hit, other=0.0), mask=valid)
    tl.store(opacity + pixel, tl.load(packed_opacity + place, mask=hit, other=0.0), mask=valid)
