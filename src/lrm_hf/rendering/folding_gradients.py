# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The folded field where gradients are wanted: one step for autograd, with what the backward pass needs and no more.

Kept are the points and what goes into each activation (for ReLU what comes out of it, which tells as much). What
autograd would keep of the same arithmetic is several times that, in pieces of many sizes that leave an allocator's
memory full of holes. The gradient of the planes is summed over samples sorted by the texels that they lie between, so
that it is a sum of rows as in the forward pass and has one order.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..modeling.configuration_lrm import TriplaneFieldConfig


# points that go through the MLP at a time: their features stay in a core's cache
MLP_POINTS = 2**13


def locate(config: TriplaneFieldConfig, planes: Tensor, points: Tensor, owner: Tensor | None) -> tuple[Tensor, Tensor]:
    """Which texels of folded planes lie around points: four in each plane, those of a corner side by side.

    Args:
        planes: `(batch, 3, height + 2, width + 2, hidden)`, of which only the shape counts.
        points: `(n, 3)` in world units.
        owner: `(n,)` batch entries; none for a batch of one.

    Returns:
        rows: `(n, 12)` of `planes.flatten(0, 3)`, by corner and plane; the other corners' are those of the first three
            and `corner_offsets`. shares: `(n, 12)` of these texels, differentiable.
    """
    height, width = planes.shape[2], planes.shape[3]
    # products with small matrices of zeros and ones put numbers where they belong, quicker than indexing does; in
    # float64, whose products no setting of torch makes less than exact
    exact = torch.float32 if points.device.type == "mps" else torch.float64
    axes = tuple(tuple(pair) for pair in config.plane_axes or ())
    table = _corner_table(axes, height, width, points.device, exact)
    column, across = _texels(points, width - 2, config.radius, exact)
    if height == width:
        up, rows = across, torch.addmm(table.first, column, table.both)
    else:
        row, up = _texels(points, height - 2, config.radius, exact)
        rows = torch.addmm(torch.addmm(table.first, column, table.columns), row, table.rows)
    rows = rows.to(torch.int32 if planes[..., 0].numel() < 2**31 else torch.int64)
    if owner is not None:
        rows += (owner * (3 * height * width)).to(rows.dtype)[:, None]
    beside = torch.addmm(table.at_left, across, table.leftward)
    above = torch.addmm(table.at_top, up, table.upward)
    return rows, (above * beside).to(points.dtype)


class _CornerTable(NamedTuple):
    """What `locate` multiplies with: `(3, 12)` by axis, and what it adds to that: `(12,)`."""

    first: Tensor  # the plane's first row in the table, and the corner's offset
    columns: Tensor
    rows: Tensor
    both: Tensor  # their sum
    at_left: Tensor
    leftward: Tensor
    at_top: Tensor
    upward: Tensor


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # kept for calls that differentiate, whoever comes first
def _corner_table(
    axes: tuple[tuple[int, ...], ...], height: int, width: int, device: torch.device, dtype: torch.dtype
) -> _CornerTable:
    first, at_left, at_top = torch.zeros(3, 4, 3, dtype=dtype, device="cpu")
    columns, rows, leftward, upward = torch.zeros(4, 3, 4, 3, dtype=dtype, device="cpu")
    for corner in range(4):
        lower, right = divmod(corner, 2)
        for plane, (horizontal, vertical) in enumerate(axes):
            first[corner, plane] = (plane * height + lower) * width + right
            columns[horizontal, corner, plane] = 1
            rows[vertical, corner, plane] = width
            # the texel before a point has one minus the share of the next
            at_left[corner, plane], leftward[horizontal, corner, plane] = (0, 1) if right else (1, -1)
            at_top[corner, plane], upward[vertical, corner, plane] = (0, 1) if lower else (1, -1)
    parts = (first, columns, rows, columns + rows, at_left, leftward, at_top, upward)
    return _CornerTable(*(part.flatten(-2).to(device) for part in parts))


def corner_offsets(planes: Tensor) -> tuple[int, int, int, int]:
    return (0, 1, planes.shape[3], planes.shape[3] + 1)


def _texels(points: Tensor, size: int, radius: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Along each axis, the number of the texel before each point `(n, 3)`, the rim counting as 0, and the share of the
    next `(n, 3)`."""
    # the rim of zeros takes what lies beyond the outermost texels
    position = (points * (size / (2 * radius))).add_(size / 2 + 0.5).clamp_(0.0, size + 1.0)
    before = position.detach().floor().clamp_(max=float(size))
    return before.to(dtype), (position - before).to(dtype)


def sum_of_texels(planes: Tensor, rows: Tensor, shares: Tensor) -> Tensor:
    """Bilinear samples of the three planes, summed: `(n, hidden)`. No gradients flow."""
    table = planes.detach().reshape(-1, planes.shape[-1])
    return F.embedding_bag(rows, table, mode="sum", per_sample_weights=shares.detach())


def differentiable_outputs(
    config: TriplaneFieldConfig,
    points: Tensor,
    owner: Tensor | None,
    planes: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
) -> Tensor:
    """Raw density and colour `(n, 4)`, differentiable once by points, folded planes, weights behind the first layer,
    and all biases. Arguments as in `locate`."""
    output: Tensor = _Outputs.apply(config, points, owner, planes, *weights, *biases)
    return output


class _Outputs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, config: TriplaneFieldConfig, points: Tensor, owner: Tensor | None, planes: Tensor, *layers: Tensor
    ) -> Tensor:
        weights, biases = layers[: len(layers) // 2], layers[len(layers) // 2 :]
        count, hidden = len(points), planes.shape[-1]
        kept = [planes.new_empty(count, hidden) for _ in weights]
        output = planes.new_empty(count, 4)
        for part in _pieces(count):
            states = sum_of_texels(planes, *locate(config, planes, points[part], _part(owner, part)))
            torch.add(states, biases[0], out=kept[0][part])
            for i, (weight, bias) in enumerate(zip(weights, biases[1:], strict=True)):
                active = kept[i][part].relu_() if config.hidden_act == "relu" else F.silu(kept[i][part])
                target = kept[i + 1][part] if i + 1 < len(weights) else output[part]
                torch.addmm(bias, active, weight.t(), out=target)
        padding = config.color_padding
        output[:, 1:].sigmoid_().mul_(1 + 2 * padding).sub_(padding)
        ctx.config, ctx.layers = config, len(weights)
        ctx.save_for_backward(points, owner, planes, output, *weights, *kept)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        points, owner, planes, output, *rest = ctx.saved_tensors
        config, layers = ctx.config, ctx.layers
        weights, kept = rest[:layers], rest[layers:]
        of_points, of_planes = ctx.needs_input_grad[1], ctx.needs_input_grad[3]
        of_weights = [torch.zeros_like(weight) for weight in weights]
        of_biases = [weight.new_zeros(weight.shape[1]) for weight in weights] + [planes.new_zeros(4)]
        of_first = planes.new_empty(len(points), planes.shape[-1]) if of_points or of_planes else None
        padding = config.color_padding
        for part in _pieces(len(points)):
            outer = gradient[part].clone()
            colors = (output[part, 1:] + padding) / (1 + 2 * padding)
            outer[:, 1:].mul_((1 + 2 * padding) * colors * (1 - colors))
            of_biases[-1] += outer.sum(dim=0)
            for i in reversed(range(layers)):
                states = kept[i][part]
                of_weights[i].addmm_(outer.t(), states if config.hidden_act == "relu" else F.silu(states))
                outer = outer @ weights[i]
                if config.hidden_act == "relu":
                    torch.ops.aten.threshold_backward.grad_input(outer, states, 0, grad_input=outer)
                else:
                    torch.ops.aten.silu_backward.grad_input(outer, states, grad_input=outer)
                of_biases[i] += outer.sum(dim=0)
            if of_first is not None:
                of_first[part] = outer
        gradients_of_input: list[Tensor | None] = [None, None]
        if of_first is not None:
            if of_points:
                gradients_of_input[0] = _gradient_of_points(config, points, owner, planes, of_first)
            if of_planes:
                gradients_of_input[1] = _gradient_of_planes(config, points, owner, planes, of_first)
        return None, gradients_of_input[0], None, gradients_of_input[1], *of_weights, *of_biases


def _gradient_of_planes(
    config: TriplaneFieldConfig, points: Tensor, owner: Tensor | None, planes: Tensor, gradient: Tensor
) -> Tensor:
    """From that of the sums of texels `(n, hidden)`."""
    rows, shares = locate(config, planes, points, owner)
    table_rows = planes[..., 0].numel()
    place, order = rows[:, :3].t().flatten().sort(stable=True)
    starts = torch.searchsorted(place, torch.arange(table_rows, dtype=place.dtype, device=place.device))
    point = torch.arange(len(points), device=place.device).repeat(3)[order].to(place.dtype)
    sums = planes.new_zeros(table_rows, planes.shape[-1])
    for corner, offset in enumerate(corner_offsets(planes)):
        of_corner = F.embedding_bag(
            point,
            gradient,
            starts.to(place.dtype),
            mode="sum",
            per_sample_weights=shares.detach()[:, 3 * corner : 3 * corner + 3].t().flatten()[order],
        )
        # texels that the offset would carry off the table are the first of no point
        sums[offset:] += of_corner[: table_rows - offset]
    return sums.reshape(planes.shape)


def _gradient_of_points(
    config: TriplaneFieldConfig, points: Tensor, owner: Tensor | None, planes: Tensor, gradient: Tensor
) -> Tensor:
    table = planes.detach().reshape(-1, planes.shape[-1])
    found = torch.empty_like(points)
    for part in _pieces(len(points)):
        with torch.enable_grad():
            moved = points[part].detach().requires_grad_()
            rows, shares = locate(config, planes, moved, _part(owner, part))
        of_shares = torch.stack([(table[row.long()] * gradient[part]).sum(dim=1) for row in rows.unbind(1)], dim=1)
        (found[part],) = torch.autograd.grad(shares, moved, of_shares)
    return found


def _pieces(count: int) -> list[slice]:
    return [slice(start, start + MLP_POINTS) for start in range(0, count, MLP_POINTS)]


def _part(owner: Tensor | None, part: slice) -> Tensor | None:
    return None if owner is None else owner[part]
