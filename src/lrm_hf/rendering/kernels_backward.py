# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Triton: gradients of `kernels_forward.composite_kernel`. Importing this imports triton.

In two kernels. The first goes along the rays again and turns the gradient of a ray's sums into gradients of the four
numbers that the field gave at each sample; these four are all that the forward pass keeps per sample. The second runs
the field once more at each sample that has a gradient, keeping nothing, and carries it on to the weights and the folded
planes. Gradients of weights are summed per program in a fixed order, and are the same from run to run on one machine;
those of the planes are summed by atomics, and differ in their last digits.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .kernels_forward import (
    activate,
    axis_of,
    color_of,
    column_of,
    density_of,
    first_layer,
    product,
    texel_rows,
    vector_of,
)


@triton.jit
def density_slope(raw, density_bias, EXPONENTIAL: tl.constexpr):
    """Derivative of `density_of`."""
    shifted = raw + density_bias
    if EXPONENTIAL:
        return tl.where(shifted <= 80.0, tl.exp(tl.minimum(shifted, 80.0)), 0.0)
    else:
        return 1.0 / (1.0 + tl.exp(-shifted))


@triton.jit
def color_slope(raw, color_padding):
    """Derivative of `color_of`."""
    share = 1.0 / (1.0 + tl.exp(-raw))
    return (1.0 + 2.0 * color_padding) * share * (1.0 - share)


@triton.jit
def composite_backward_kernel(
    outputs,  # [rays, samples, 4] as kept by the forward pass
    depths,  # [rays, samples]
    lengths,  # [rays], where NEIGHBORS is false
    live,  # [rays, samples] int16
    walked,  # [rays] int32
    sums,  # [rays, 5]
    grad_sums,  # [rays, 5]
    grad_outputs,  # out [rays, samples, 4], zero before
    grad_depths,  # out [rays, samples], zero before, through what a piece's length and depth are; where DEPTHS
    grad_lengths,  # out [rays]; where DEPTHS and not NEIGHBORS
    total,
    samples,
    density_bias,
    color_padding,
    EXPONENTIAL: tl.constexpr,
    NEIGHBORS: tl.constexpr,
    DEPTHS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The sums are linear in the weights w, so that the loss is sum(w v) with v from the gradient. What a weight
    further back loses to a piece's density is what is left of that sum behind the piece."""
    ray = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    valid = ray < total
    count = tl.load(walked + ray, mask=valid, other=0)
    channel = tl.arange(0, 4)[None, :]
    colors = valid[:, None] & (channel > 0)
    grad_color = tl.load(grad_sums + ray[:, None] * 5 + channel - 1, mask=colors, other=0.0)
    color_sum = tl.load(sums + ray[:, None] * 5 + channel - 1, mask=colors, other=0.0)
    grad_depth = tl.load(grad_sums + ray * 5 + 3, mask=valid, other=0.0)
    grad_opacity = tl.load(grad_sums + ray * 5 + 4, mask=valid, other=0.0)
    behind = tl.sum(grad_color * color_sum, axis=1)
    behind += grad_depth * tl.load(sums + ray * 5 + 3, mask=valid, other=0.0)
    behind += grad_opacity * tl.load(sums + ray * 5 + 4, mask=valid, other=0.0)

    zero = tl.zeros((BLOCK,), dtype=tl.float32)
    transmittance = zero + 1.0
    depth_before, length, length_grad = zero, zero, zero
    look_before = tl.zeros((BLOCK, 4), dtype=tl.float32)
    slope_before = look_before
    # what the sample before has from the piece in front of it
    half, depth_half = look_before, zero
    index_before = tl.zeros((BLOCK,), dtype=tl.int32) - 2
    place_before = ray * samples
    if not NEIGHBORS:
        length = tl.load(lengths + ray, mask=valid, other=0.0)
    for step in range(tl.max(count, axis=0)):
        active = step < count
        index = tl.load(live + ray * samples + step, mask=active, other=0).to(tl.int32)
        place = ray * samples + index
        depth = tl.load(depths + place, mask=active, other=0.0)
        raw = tl.load(outputs + place[:, None] * 4 + channel, mask=active[:, None], other=0.0)
        look = tl.where(channel == 0, raw, color_of(raw, color_padding))
        slope = tl.where(channel == 0, 1.0, color_slope(raw, color_padding))
        piece, piece_look, piece_depth = active, look, depth
        if NEIGHBORS:
            piece = active & (index == index_before + 1)
            piece_look, piece_depth = 0.5 * (look_before + look), 0.5 * (depth_before + depth)
            length = depth - depth_before
        piece_raw = column_of(piece_look, channel, 0)
        density = density_of(piece_raw, density_bias, EXPONENTIAL)
        clear = tl.where(piece, tl.exp(-density * length), 1.0)
        alpha = 1.0 - clear
        weight = alpha * transmittance
        value = tl.sum(grad_color * piece_look, axis=1) + grad_depth * piece_depth + grad_opacity
        behind -= weight * value
        passed = 1.0 - alpha + 1e-10  # as `compositing_weights`
        # by density times length
        grad_optical = tl.where(piece, clear * (transmittance * value - behind / passed), 0.0)
        transmittance *= passed
        grad_raw = grad_optical * tl.where(piece, length, 0.0) * density_slope(piece_raw, density_bias, EXPONENTIAL)
        grad_look = tl.where(channel == 0, grad_raw[:, None], weight[:, None] * grad_color)
        grad_length = grad_optical * tl.where(piece, density, 0.0)
        grad_piece_depth = weight * grad_depth
        if NEIGHBORS:
            first = active & (step > 0)
            both = (half + 0.5 * grad_look) * slope_before
            tl.store(grad_outputs + place_before[:, None] * 4 + channel, both, mask=first[:, None])
            half = tl.where(active[:, None], 0.5 * grad_look, half)
            if DEPTHS:
                both = depth_half + 0.5 * grad_piece_depth - grad_length
                tl.store(grad_depths + place_before, both, mask=first)
                depth_half = tl.where(active, 0.5 * grad_piece_depth + grad_length, depth_half)
            look_before, depth_before, index_before = look, depth, index
            slope_before = tl.where(active[:, None], slope, slope_before)
            place_before = tl.where(active, place, place_before)
        else:
            tl.store(grad_outputs + place[:, None] * 4 + channel, grad_look * slope, mask=active[:, None])
            if DEPTHS:
                tl.store(grad_depths + place, grad_piece_depth, mask=active)
                length_grad += grad_length
    if NEIGHBORS:
        last = count > 0
        tl.store(grad_outputs + place_before[:, None] * 4 + channel, half * slope_before, mask=last[:, None])
        if DEPTHS:
            tl.store(grad_depths + place_before, depth_half, mask=last)
    elif DEPTHS:
        tl.store(grad_lengths + ray, length_grad, mask=valid)


@triton.jit
def activation_slope(hidden, SILU: tl.constexpr):
    """Derivative of `activate`."""
    if SILU:
        share = 1.0 / (1.0 + tl.exp(-hidden))
        return share * (1.0 + hidden * (1.0 - share))
    else:
        return tl.where(hidden > 0.0, 1.0, 0.0)


@triton.jit
def onto_axis(grad_u, grad_v, AXES: tl.constexpr, AXIS: tl.constexpr):
    """What a world axis gets from a plane's two."""
    if AXES % 4 == AXIS:
        return grad_u
    elif AXES // 4 % 4 == AXIS:
        return grad_v
    else:
        return grad_u * 0.0


@triton.jit
def planes_backward(
    table,
    grad_table,
    owner,
    x,
    y,
    z,
    grad_hidden,
    mask,
    height,
    width,
    HIDDEN: tl.constexpr,
    PLANE_AXES: tl.constexpr,
    PLANES: tl.constexpr,
    POINTS: tl.constexpr,
):
    """Adds the gradient of the folded planes to `grad_table`; returns that of the box coordinates x, y, z."""
    columns = tl.arange(0, HIDDEN)
    grad_x, grad_y, grad_z = x * 0.0, x * 0.0, x * 0.0
    mask = mask[:, None]
    for plane in tl.static_range(3):
        u = axis_of(x, y, z, (PLANE_AXES // 16**plane) % 4)
        v = axis_of(x, y, z, (PLANE_AXES // 16**plane // 4) % 4)
        row, across, down = texel_rows(owner, u, v, height, width, plane)
        corner = row[:, None] * HIDDEN + columns[None, :]
        below = corner + (width + 2) * HIDDEN
        if PLANES:
            left, right = (1.0 - across)[:, None] * grad_hidden, across[:, None] * grad_hidden
            upper, lower = 1.0 - down[:, None], down[:, None]
            tl.atomic_add(grad_table + corner, upper * left, mask=mask, sem="relaxed")
            tl.atomic_add(grad_table + corner + HIDDEN, upper * right, mask=mask, sem="relaxed")
            tl.atomic_add(grad_table + below, lower * left, mask=mask, sem="relaxed")
            tl.atomic_add(grad_table + below + HIDDEN, lower * right, mask=mask, sem="relaxed")
        if POINTS:
            upper_left = tl.sum(tl.load(table + corner, mask=mask, other=0.0).to(tl.float32) * grad_hidden, axis=1)
            upper_right = tl.load(table + corner + HIDDEN, mask=mask, other=0.0).to(tl.float32)
            upper_right = tl.sum(upper_right * grad_hidden, axis=1)
            lower_left = tl.sum(tl.load(table + below, mask=mask, other=0.0).to(tl.float32) * grad_hidden, axis=1)
            lower_right = tl.load(table + below + HIDDEN, mask=mask, other=0.0).to(tl.float32)
            lower_right = tl.sum(lower_right * grad_hidden, axis=1)
            grad_u = (1.0 - down) * (upper_right - upper_left) + down * (lower_right - lower_left)
            grad_v = (1.0 - across) * (lower_left - upper_left) + across * (lower_right - upper_right)
        if POINTS:
            # beyond the reach of the outermost texels all is zero
            reach_u, reach_v = 1.0 + 1.0 / width, 1.0 + 1.0 / height
            near = (tl.abs(u) < reach_u) & (tl.abs(v) < reach_v)
            grad_u = tl.where(near, grad_u * (width * 0.5), 0.0)
            grad_v = tl.where(near, grad_v * (height * 0.5), 0.0)
            grad_x += onto_axis(grad_u, grad_v, PLANE_AXES // 16**plane, 0)
            grad_y += onto_axis(grad_u, grad_v, PLANE_AXES // 16**plane, 1)
            grad_z += onto_axis(grad_u, grad_v, PLANE_AXES // 16**plane, 2)
    return grad_x, grad_y, grad_z


@triton.jit
def field_backward_kernel(
    table,
    weights,
    biases,
    out_weight,
    origins,
    directions,
    depths,
    chosen,  # [count] int32: samples with a gradient, as indices into rays x samples
    grad_outputs,  # [rays, samples, 4]
    grad_table,  # out, zero before, as `table` in float32; where PLANES
    grad_mlp,  # out [programs, LAYERS * HIDDEN^2 + (LAYERS + 1) * HIDDEN + HIDDEN * 16], zero before; where MLP
    grad_points,  # out [rays, samples, 3], zero before: by the world position; where POINTS
    count,
    rays_per_object,
    samples,
    height,
    width,
    inverse_radius,
    HIDDEN: tl.constexpr,
    LAYERS: tl.constexpr,
    SILU: tl.constexpr,
    BF16: tl.constexpr,
    PRECISION: tl.constexpr,
    PLANE_AXES: tl.constexpr,
    PLANES: tl.constexpr,
    MLP: tl.constexpr,
    POINTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    columns = tl.arange(0, HIDDEN)
    channel = tl.arange(0, 16)[None, :]
    square = columns[:, None] * HIDDEN + columns[None, :]
    transposed = columns[None, :] * HIDDEN + columns[:, None]
    grad_weights = grad_mlp + tl.program_id(0).to(tl.int64) * (
        LAYERS * HIDDEN * HIDDEN + (LAYERS + 1) * HIDDEN + HIDDEN * 16
    )
    grad_biases = grad_weights + LAYERS * HIDDEN * HIDDEN
    grad_out_weight = grad_biases + (LAYERS + 1) * HIDDEN
    for block in range(tl.program_id(0), tl.cdiv(count, BLOCK), tl.num_programs(0)):
        entry = block * BLOCK + tl.arange(0, BLOCK)
        mask = entry < count
        place = tl.load(chosen + entry, mask=mask, other=0).to(tl.int64)
        ray = place // samples
        depth = tl.load(depths + place, mask=mask, other=0.0)
        ox, oy, oz = vector_of(origins, ray, inverse_radius, mask)
        dx, dy, dz = vector_of(directions, ray, inverse_radius, mask)
        x, y, z = ox + depth * dx, oy + depth * dy, oz + depth * dz
        owner = (ray // rays_per_object).to(tl.int32)
        hidden = first_layer(table, biases, owner, x, y, z, mask, height, width, HIDDEN, PLANE_AXES)
        layers = (hidden,)
        for layer in tl.static_range(LAYERS):
            weight = tl.load(weights + layer * HIDDEN * HIDDEN + square)
            bias = tl.load(biases + (layer + 1) * HIDDEN + columns)
            hidden = product(activate(hidden, SILU), weight, BF16, PRECISION) + bias[None, :]
            layers = layers + (hidden,)  # type: ignore[assignment]

        grad = tl.load(
            grad_outputs + place[:, None] * 4 + channel, mask=mask[:, None] & (channel < 4), other=0.0
        )  # [BLOCK, 16]
        if MLP:
            # adds to a place that is this program's own, in the order of its blocks
            grad_weight = product(tl.trans(activate(hidden, SILU)), grad, BF16, PRECISION)
            tl.atomic_add(grad_out_weight + columns[:, None] * 16 + channel, grad_weight, sem="relaxed")
        weight = tl.load(out_weight + columns[None, :] * 16 + tl.arange(0, 16)[:, None])
        grad = product(grad, weight, BF16, PRECISION) * activation_slope(hidden, SILU)
        for layer in tl.static_range(LAYERS - 1, -1, -1):
            hidden = layers[layer]
            if MLP:
                grad_weight = product(tl.trans(activate(hidden, SILU)), grad, BF16, PRECISION)
                tl.atomic_add(grad_weights + layer * HIDDEN * HIDDEN + square, grad_weight, sem="relaxed")
                tl.atomic_add(grad_biases + (layer + 1) * HIDDEN + columns, tl.sum(grad, axis=0), sem="relaxed")
            weight = tl.load(weights + layer * HIDDEN * HIDDEN + transposed)
            grad = product(grad, weight, BF16, PRECISION) * activation_slope(hidden, SILU)
        if MLP:
            tl.atomic_add(grad_biases + columns, tl.sum(grad, axis=0), sem="relaxed")
        grad_x, grad_y, grad_z = planes_backward(
            table, grad_table, owner, x, y, z, grad, mask, height, width, HIDDEN, PLANE_AXES, PLANES, POINTS
        )  # fmt: skip
        if POINTS:
            tl.store(grad_points + place * 3, grad_x * inverse_radius, mask=mask)
            tl.store(grad_points + place * 3 + 1, grad_y * inverse_radius, mask=mask)
            tl.store(grad_points + place * 3 + 2, grad_z * inverse_radius, mask=mask)
