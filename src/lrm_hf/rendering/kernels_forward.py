# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Triton: rays to pixels in one kernel. Importing this imports triton; `kernels.py` does so where a kernel is launched.

A program owns `BLOCK` rays and walks along them, one sample per ray and step, so that the running transmittance, the
averaging of neighbours and the end of a ray are plain arithmetic on vectors. Each ray walks its own list of samples
worth a look (`kernels_sampling.py`), and skips what is empty at no cost. What is `BLOCK` x hidden wide lives in
registers only.

Tensors are contiguous, but for those of depths and what else there is per sample: they have a stride `across` rays and
one `along` them, of which one is 1. Where lanes go along rays together, memory is read fastest with `across` 1.

Rays of all objects are counted through: ray `r` belongs to object `r // rays_per_object`.
Widths are padded with zeros to `HIDDEN`, a power of two of at least 16, which changes no number.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def axis_of(x, y, z, AXIS: tl.constexpr):
    if AXIS == 0:
        return x
    elif AXIS == 1:
        return y
    else:
        return z


@triton.jit
def texel_position(coordinate, size):
    """First of two texels along one axis of a plane with a rim, and the second one's share. A coordinate of -1 to 1
    spans the texels from edge to edge, the rim aside."""
    position = (coordinate + 1.0) * (size * 0.5) - 0.5
    # the rim of zeros takes what lies beyond the outermost texels
    position = tl.minimum(tl.maximum(position, -1.0), size * 1.0)
    first = tl.minimum(tl.floor(position), size - 1.0)
    return first.to(tl.int32) + 1, position - first


@triton.jit
def texel_rows(owner, u, v, height, width, PLANE: tl.constexpr):
    """Row of the table that holds the first of four texels, and the shares of the second ones along both axes."""
    column, across = texel_position(u, width)
    row, down = texel_position(v, height)
    return (((owner * 3 + PLANE) * (height + 2) + row) * (width + 2) + column).to(tl.int64), across, down


@triton.jit
def first_layer(table, biases, owner, x, y, z, mask, height, width, HIDDEN: tl.constexpr, PLANE_AXES: tl.constexpr):
    """The first linear layer `[n, HIDDEN]` at box coordinates: bilinear samples of the folded planes, summed."""
    columns = tl.arange(0, HIDDEN)
    hidden = tl.zeros((x.shape[0], HIDDEN), dtype=tl.float32) + tl.load(biases + columns)[None, :]
    mask = mask[:, None]
    for plane in tl.static_range(3):
        u = axis_of(x, y, z, (PLANE_AXES // 16**plane) % 4)
        v = axis_of(x, y, z, (PLANE_AXES // 16**plane // 4) % 4)
        row, across, down = texel_rows(owner, u, v, height, width, plane)
        corner = table + row[:, None] * HIDDEN + columns[None, :]
        across, down = across[:, None], down[:, None]
        below = corner + (width + 2) * HIDDEN
        hidden += (1.0 - across) * (1.0 - down) * tl.load(corner, mask=mask, other=0.0).to(tl.float32)
        hidden += across * (1.0 - down) * tl.load(corner + HIDDEN, mask=mask, other=0.0).to(tl.float32)
        hidden += (1.0 - across) * down * tl.load(below, mask=mask, other=0.0).to(tl.float32)
        hidden += across * down * tl.load(below + HIDDEN, mask=mask, other=0.0).to(tl.float32)
    return hidden


@triton.jit
def activate(hidden, SILU: tl.constexpr):
    if SILU:
        return hidden / (1.0 + tl.exp(-hidden))
    else:
        return tl.maximum(hidden, 0.0)


@triton.jit
def product(left, right, BF16: tl.constexpr, PRECISION: tl.constexpr):
    """Matrix product, summed in float32."""
    if PRECISION == "rounded":
        # what a product of bfloat16 operands is, for the interpreter, which multiplies their bits
        return tl.dot(left.to(tl.bfloat16).to(tl.float32), right.to(tl.bfloat16).to(tl.float32))
    elif BF16:
        return tl.dot(left.to(tl.bfloat16), right.to(tl.bfloat16))
    else:
        return tl.dot(left, right, input_precision=PRECISION)


@triton.jit
def last_layers(
    hidden,
    weights,
    biases,
    out_weight,
    out_bias,
    HIDDEN: tl.constexpr,
    LAYERS: tl.constexpr,
    SILU: tl.constexpr,
    BF16: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """From the first linear layer's output to `[n, 16]`: raw density, raw red, green and blue, and padding."""
    columns = tl.arange(0, HIDDEN)
    outputs = tl.arange(0, 16)
    square = columns[:, None] * HIDDEN + columns[None, :]
    for layer in tl.static_range(LAYERS):
        weight = tl.load(weights + layer * HIDDEN * HIDDEN + square)
        bias = tl.load(biases + (layer + 1) * HIDDEN + columns)
        hidden = product(activate(hidden, SILU), weight, BF16, PRECISION) + bias[None, :]
    weight = tl.load(out_weight + columns[:, None] * 16 + outputs[None, :])
    return product(activate(hidden, SILU), weight, BF16, PRECISION) + tl.load(out_bias + outputs)[None, :]


@triton.jit
def column_of(output, channel, COLUMN: tl.constexpr):
    return tl.sum(tl.where(channel == COLUMN, output, 0.0), axis=1)


@triton.jit
def density_of(raw, density_bias, EXPONENTIAL: tl.constexpr):
    """Volume density, as `TriplaneField.density_from_raw`."""
    shifted = raw + density_bias
    if EXPONENTIAL:
        return tl.exp(tl.minimum(shifted, 80.0))  # MAX_EXPONENT of modeling/field.py
    else:
        small = tl.exp(-tl.abs(shifted))
        sum_ = 1.0 + small
        # log(1 + small) without the digits that the sum rounds away
        tail = tl.where(sum_ == 1.0, small, tl.log(sum_) * small / tl.where(sum_ == 1.0, 1.0, sum_ - 1.0))
        return tl.maximum(shifted, 0.0) + tail


@triton.jit
def color_of(raw, color_padding):
    return (1.0 + 2.0 * color_padding) / (1.0 + tl.exp(-raw)) - color_padding


@triton.jit
def vector_of(vectors, ray, scale, mask):
    x = tl.load(vectors + ray * 3, mask=mask, other=0.0)
    y = tl.load(vectors + ray * 3 + 1, mask=mask, other=0.0)
    z = tl.load(vectors + ray * 3 + 2, mask=mask, other=0.0)
    return x * scale, y * scale, z * scale


@triton.jit
def place_of(ray, index, across, along):
    """Of a ray's sample, in a tensor that has a number per sample."""
    return ray * across + (ray * 0 + index) * along  # 64 bits, as rays have


@triton.jit
def raw_density_kernel(
    table,  # [objects * 3 * (height + 2) * (width + 2), HIDDEN], with a rim of zeros
    weights,  # [LAYERS, HIDDEN, HIDDEN], inputs first
    biases,  # [LAYERS + 1, HIDDEN]
    out_weight,  # [HIDDEN, 16]
    out_bias,  # [16]
    origins,  # [rays, 3]
    directions,  # [rays, 3]
    depths,  # [rays, samples]
    live,  # [rays, samples] int16
    counts,  # [rays] int32
    raw,  # out [rays, samples], written at live samples only
    total,
    rays_per_object,
    across,
    along,
    height,
    width,
    inverse_radius,
    HIDDEN: tl.constexpr,
    LAYERS: tl.constexpr,
    SILU: tl.constexpr,
    BF16: tl.constexpr,
    PRECISION: tl.constexpr,
    PLANE_AXES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Density before its activation at given depths: the coarse pass of importance sampling."""
    ray = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    count = tl.load(counts + ray, mask=ray < total, other=0)
    # box coordinates, -1 to 1 inside
    ox, oy, oz = vector_of(origins, ray, inverse_radius, ray < total)
    dx, dy, dz = vector_of(directions, ray, inverse_radius, ray < total)
    owner = (ray // rays_per_object).to(tl.int32)
    for step in range(tl.max(count, axis=0)):
        active = step < count
        index = tl.load(live + place_of(ray, step, across, along), mask=active, other=0).to(tl.int32)
        place = place_of(ray, index, across, along)
        depth = tl.load(depths + place, mask=active, other=0.0)
        x, y, z = ox + depth * dx, oy + depth * dy, oz + depth * dz
        hidden = first_layer(table, biases, owner, x, y, z, active, height, width, HIDDEN, PLANE_AXES)
        output = last_layers(
            hidden, weights, biases, out_weight, out_bias, HIDDEN, LAYERS, SILU, BF16, PRECISION
        )  # fmt: skip
        tl.store(raw + place, column_of(output, tl.arange(0, 16)[None, :], 0), mask=active)


@triton.jit
def points_kernel(
    table,
    weights,
    biases,
    out_weight,
    out_bias,
    points,  # [objects * points_per_object, 3] in world units
    outputs,  # out [objects * points_per_object, 4]: raw density, raw colour
    total,
    points_per_object,
    height,
    width,
    inverse_radius,
    HIDDEN: tl.constexpr,
    LAYERS: tl.constexpr,
    SILU: tl.constexpr,
    BF16: tl.constexpr,
    PRECISION: tl.constexpr,
    PLANE_AXES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The field at points, for meshing."""
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = point < total
    x, y, z = vector_of(points, point, inverse_radius, mask)
    owner = (point // points_per_object).to(tl.int32)
    hidden = first_layer(table, biases, owner, x, y, z, mask, height, width, HIDDEN, PLANE_AXES)
    output = last_layers(hidden, weights, biases, out_weight, out_bias, HIDDEN, LAYERS, SILU, BF16, PRECISION)
    channel = tl.arange(0, 16)[None, :]
    tl.store(outputs + point[:, None] * 4 + channel, output, mask=mask[:, None] & (channel < 4))


@triton.jit
def composite_kernel(
    table,
    weights,
    biases,
    out_weight,
    out_bias,
    origins,
    directions,
    depths,
    lengths,  # [rays] length of every sample's piece, or anything where NEIGHBORS is true
    live,
    counts,
    sums,  # out [rays, 5]: weighted sums of colour (3), depth and 1
    walked,  # out [rays] int32: live samples that were looked at before the ray ended; where STORE
    outputs,  # out [rays, samples, 4]: raw density and colour, written at samples looked at; where STORE
    total,
    rays_per_object,
    samples,
    across,
    along,
    height,
    width,
    inverse_radius,
    density_bias,
    color_padding,
    min_transmittance,
    HIDDEN: tl.constexpr,
    LAYERS: tl.constexpr,
    SILU: tl.constexpr,
    EXPONENTIAL: tl.constexpr,
    NEIGHBORS: tl.constexpr,
    STORE: tl.constexpr,
    BF16: tl.constexpr,
    PRECISION: tl.constexpr,
    PLANE_AXES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Looks along rays and composites. With NEIGHBORS a piece of ray lies between samples that follow each other in
    `depths` and takes their means, and is empty where one of them is not live; without, each sample is a piece."""
    ray = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    valid = ray < total
    count = tl.load(counts + ray, mask=valid, other=0)
    # box coordinates, -1 to 1 inside
    ox, oy, oz = vector_of(origins, ray, inverse_radius, valid)
    dx, dy, dz = vector_of(directions, ray, inverse_radius, valid)
    owner = (ray // rays_per_object).to(tl.int32)
    channel = tl.arange(0, 16)[None, :]
    zero = tl.zeros((BLOCK,), dtype=tl.float32)
    transmittance = zero + 1.0
    depth_sum, opacity, depth_before = zero, zero, zero
    color_sum = tl.zeros((BLOCK, 16), dtype=tl.float32)  # columns 1 to 3 count
    look_before = tl.zeros((BLOCK, 16), dtype=tl.float32)
    steps = tl.zeros((BLOCK,), dtype=tl.int32)
    index_before = steps - 2
    length = zero
    if not NEIGHBORS:
        length = tl.load(lengths + ray, mask=valid, other=0.0)
    step = 0
    limit = tl.max(count, axis=0)
    while step < limit:
        active = (step < count) & (transmittance >= min_transmittance)
        index = tl.load(live + place_of(ray, step, across, along), mask=active, other=0).to(tl.int32)
        depth = tl.load(depths + place_of(ray, index, across, along), mask=active, other=0.0)
        x, y, z = ox + depth * dx, oy + depth * dy, oz + depth * dz
        hidden = first_layer(table, biases, owner, x, y, z, active, height, width, HIDDEN, PLANE_AXES)
        output = last_layers(hidden, weights, biases, out_weight, out_bias, HIDDEN, LAYERS, SILU, BF16, PRECISION)
        if STORE:
            place = (ray * samples + index)[:, None] * 4 + channel
            tl.store(outputs + place, output, mask=active[:, None] & (channel < 4))
        look = tl.where(channel == 0, output, color_of(output, color_padding))
        piece, piece_look, piece_depth = active, look, depth
        if NEIGHBORS:
            piece = active & (index == index_before + 1)
            piece_look, piece_depth = 0.5 * (look_before + look), 0.5 * (depth_before + depth)
            length = depth - depth_before
            look_before, depth_before, index_before = look, depth, index
        density = density_of(column_of(piece_look, channel, 0), density_bias, EXPONENTIAL)
        alpha = tl.where(piece, 1.0 - tl.exp(-density * length), 0.0)
        weight = alpha * transmittance
        color_sum += weight[:, None] * piece_look
        depth_sum += weight * piece_depth
        opacity += weight
        transmittance *= 1.0 - alpha + 1e-10  # as `compositing_weights`
        steps += active.to(tl.int32)
        step += 1
        limit = tl.max(tl.where(transmittance >= min_transmittance, count, 0), axis=0)
    tl.store(sums + ray[:, None] * 5 + channel - 1, color_sum, mask=valid[:, None] & (channel > 0) & (channel < 4))
    tl.store(sums + ray * 5 + 3, depth_sum, mask=valid)
    tl.store(sums + ray * 5 + 4, opacity, mask=valid)
    if STORE:
        tl.store(walked + ray, steps, mask=valid)


# settled when the kernels are defined
INTERPRETED = not isinstance(composite_kernel, triton.JITFunction)
