# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Tensors in, kernel launches, tensors out: what lies between `kernels.py` and the Triton kernels themselves, which are
imported inside the functions that launch them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..modeling.field import TriplaneField
from .folding import fold, kept_with


# operands of matrix products; sums are float32 always. tf32x3 makes up for tf32's short mantissa by three products
PRECISIONS = {"fp32": "ieee", "tf32": "tf32", "tf32x3": "tf32x3", "bf16": "ieee"}
# raw density of a sample that is not looked at: no activation leaves anything of it
EMPTY = -1e9
# bytes of partial sums for the gradients of the MLP
PARTIAL_BYTES = 2**26
# programs of the field's backward kernel per multiprocessor
PROGRAMS_PER_PROCESSOR = 4
# rays per program in the interpreter, where a step costs the same for any number of them
INTERPRETED_BLOCK = 64


def interpreted() -> bool:
    """Whether the kernels run in Triton's interpreter. Imports triton."""
    from . import kernels_forward

    return kernels_forward.INTERPRETED


# Rays, points or samples per program, and warps, by the padded width of the MLP. Chosen so that the machine code keeps
# its values in registers (`python -m benchmarks.kernel_resources`); `python -m benchmarks.kernel_tuning` times others.
# Without tensor cores each thread holds whole rows of the operands, and a block has to be smaller.
FORWARD_BLOCKS = {16: (128, 4), 32: (128, 4), 64: (64, 8), 128: (64, 8)}
BACKWARD_BLOCKS = {16: (128, 4), 32: (64, 4), 64: (64, 8), 128: (64, 8)}
DEEP_BLOCKS = {16: (64, 4), 32: (64, 8), 64: (32, 8), 128: (16, 8)}  # backward, where many values are kept
SCALAR_BLOCKS = {16: (64, 4), 32: (32, 4), 64: (16, 4), 128: (16, 16)}  # forward: few rays wait for the longest one
SCALAR_BACKWARD_BLOCKS = {16: (64, 4), 32: (32, 4), 64: (32, 8), 128: (16, 16)}


def forward_block(options: dict[str, Any]) -> tuple[int, int]:
    """Rays or points per program and warps of the kernels that evaluate the field, by the field's launch options."""
    if interpreted():
        return INTERPRETED_BLOCK, 4
    return (SCALAR_BLOCKS if _is_scalar(options) else FORWARD_BLOCKS)[options["HIDDEN"]]


def backward_block(options: dict[str, Any]) -> tuple[int, int]:
    """Samples per program and warps of the field's backward kernel."""
    if interpreted():
        return INTERPRETED_BLOCK, 4
    crowded = options["LAYERS"] > 3 or options["PRECISION"] == "tf32x3"
    blocks = DEEP_BLOCKS if crowded else BACKWARD_BLOCKS
    return (SCALAR_BACKWARD_BLOCKS if _is_scalar(options) else blocks)[options["HIDDEN"]]


def _is_scalar(options: dict[str, Any]) -> bool:
    return options["PRECISION"] == "ieee" and not options["BF16"]


def ray_block() -> tuple[int, int]:
    """Rays per program and warps of the kernels that do not evaluate the field."""
    return (INTERPRETED_BLOCK, 4) if interpreted() else (128, 4)


def plane_code(axes: list[list[int]]) -> int:
    """`plane_axes` of a field's config as one number: four bits a plane, two of them its width's axis."""
    return sum((u + 4 * v) * 16**plane for plane, (u, v) in enumerate(axes))


@dataclass(frozen=True, eq=False)
class FieldLaunch:
    """A field as the kernels take it. Its tensors carry gradients to the field's own.

    Attributes:
        table: `(batch * 3 * (height + 2) * (width + 2), hidden)` planes times the first layer, channels last, and a rim
            of zeros.
        weights: `(layers, hidden, hidden)` of the layers between the first and the last, inputs first; one of zeros
            that nothing reads where there are none.
        biases: `(layers + 1, hidden)`.
        out_weight, out_bias: `(hidden, 16)` and `(16,)`, of which four columns count.
        options: of all kernels that evaluate the field.
        rule: of the compositing kernels.
        numbers: density bias and colour padding.
    """

    table: Tensor
    weights: Tensor
    biases: Tensor
    out_weight: Tensor
    out_bias: Tensor
    height: int
    width: int
    inverse_radius: float
    options: dict[str, Any]
    rule: dict[str, bool]
    numbers: tuple[float, float]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self.table, self.weights, self.biases, self.out_weight, self.out_bias

    @classmethod
    def of(cls, field: TriplaneField, precision: str) -> FieldLaunch:
        """Where no gradients are wanted it is kept with the field until planes, weights, biases or config change."""
        tensors = (field.planes, *field.weights, *field.biases)
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
            return cls._made(field, precision)
        return kept_with(field, f"_launch_{precision}", tensors, lambda: cls._made(field, precision)._without_grad())

    @classmethod
    def _made(cls, field: TriplaneField, precision: str) -> FieldLaunch:
        config = field.config
        hidden = max(16, 1 << (config.hidden_size - 1).bit_length())
        pad = hidden - config.hidden_size
        with torch.autocast(field.device.type, enabled=False):
            middle = [F.pad(weight.t(), (0, pad, 0, pad)) for weight in field.weights[1:-1]]
            return cls(
                table=_folded_planes(field, hidden, torch.bfloat16 if precision == "bf16" else torch.float32),
                weights=torch.stack(middle) if middle else field.planes.new_zeros(1, hidden, hidden),
                biases=torch.stack([F.pad(bias, (0, pad)) for bias in field.biases[:-1]]),
                out_weight=F.pad(field.weights[-1].t(), (0, 12, 0, pad)),
                out_bias=F.pad(field.biases[-1], (0, 12)),
                height=field.planes.shape[-2],
                width=field.planes.shape[-1],
                inverse_radius=1.0 / config.radius,
                options={
                    "HIDDEN": hidden,
                    "LAYERS": len(middle),
                    "SILU": config.hidden_act == "silu",
                    "BF16": precision == "bf16",
                    "PRECISION": "rounded" if precision == "bf16" and interpreted() else PRECISIONS[precision],
                    "PLANE_AXES": plane_code(config.plane_axes or []),  # never empty once the config is made
                },
                rule={
                    "EXPONENTIAL": config.density_activation == "exp",
                    "NEIGHBORS": config.sampling == "importance",
                },
                numbers=(float(config.density_bias), float(config.color_padding)),
            )

    def _without_grad(self) -> FieldLaunch:
        table, weights, biases, out_weight, out_bias = _operands(self, self.tensors)
        return replace(self, table=table, weights=weights, biases=biases, out_weight=out_weight, out_bias=out_bias)


def _folded_planes(field: TriplaneField, hidden: int, dtype: torch.dtype) -> Tensor:
    """The table of `FieldLaunch`. Where no gradients are wanted it is of `dtype`, and kept with the field until planes
    or weights change; else it is float32."""
    folded = fold(field).planes

    def table() -> Tensor:
        return F.pad(folded, (0, hidden - folded.shape[-1])).reshape(-1, hidden).contiguous()

    if folded.requires_grad:
        return table()
    if hidden == folded.shape[-1] and dtype == folded.dtype:
        return folded.reshape(-1, hidden)
    name = f"_folded_{hidden}_{dtype}".replace("torch.", "")
    return kept_with(field, name, (field.planes, field.weights[0]), lambda: table().to(dtype))


class Rays:
    """What the kernels need to know of `(batch, n)` rays besides depths."""

    def __init__(self, origins: Tensor, directions: Tensor, hit: Tensor, occupancy: Tensor | None):
        self.origins, self.directions = origins.contiguous(), directions.contiguous()  # [batch, n, 3]
        self.hit = hit.contiguous().view(torch.uint8)
        self.occupancy = None if occupancy is None else occupancy.contiguous().view(torch.uint8)
        # what is not there stands in as an argument that is not touched
        self.cells = self.hit if self.occupancy is None else self.occupancy


def strides_of(values: Tensor) -> tuple[int, int]:
    """Across rays and along them, of `(batch, n, samples)` whose rays follow each other evenly."""
    return values.stride(1), values.stride(2)


def raw_density(launch: FieldLaunch, rays: Rays, depths: Tensor, live: Tensor, counts: Tensor, raw: Tensor) -> None:
    """Writes the density before its activation into `raw` `(batch, n, samples)` at those depths that are to be looked
    at, a list as `kernels_sampling_launch.py` has them. All have the same strides. Without gradients."""
    from .kernels_forward import raw_density_kernel

    block, warps = forward_block(launch.options)
    raw_density_kernel[(blocks_of(counts.numel(), block),)](
        *_operands(launch, launch.tensors), rays.origins.detach(), rays.directions.detach(), depths, live, counts, raw,
        counts.numel(), depths.shape[1], *strides_of(depths), launch.height, launch.width, launch.inverse_radius,
        **launch.options, **program_of(block, warps),
    )  # fmt: skip


def evaluate_points(launch: FieldLaunch, points: Tensor) -> Tensor:
    """Raw density and colour `(batch, n, 4)` at points `(batch, n, 3)`. Without gradients."""
    from .kernels_forward import points_kernel

    points = points.detach().contiguous()
    outputs = points.new_empty(*points.shape[:2], 4)
    total = points.shape[0] * points.shape[1]
    block, warps = forward_block(launch.options)
    if total:
        points_kernel[(blocks_of(total, block),)](
            *_operands(launch, launch.tensors), points, outputs, total, points.shape[1], launch.height, launch.width,
            launch.inverse_radius, **launch.options, **program_of(block, warps),
        )  # fmt: skip
    return outputs


def composite(
    launch: FieldLaunch,
    rays: Rays,
    depths: Tensor,
    lengths: Tensor,
    listed: tuple[Tensor, Tensor],
    min_transmittance: float,
) -> Tensor:
    """Sums along rays `(batch, n, 5)`: of the weights times colour, depth and one.

    Args:
        depths: `(batch, n, samples)`, ascending.
        lengths: `(batch, n, 1)` length of each sample's piece of ray, where samples are not averaged with neighbours.
        listed: the samples to look at, as `kernels_sampling_launch.py` has them.
        min_transmittance: a ray ends below it.
    """
    return _Composite.apply(
        launch, *listed, min_transmittance, *launch.tensors, rays.origins, rays.directions, depths, lengths
    )


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, launch: FieldLaunch, live: Tensor, counts: Tensor, min_transmittance: float, *tensors: Tensor
    ) -> Tensor:
        from .kernels_forward import composite_kernel

        field, (origins, directions, depths, lengths) = _operands(launch, tensors[:5]), tensors[5:]
        batch, count, samples = depths.shape
        keep = any(ctx.needs_input_grad)
        lengths = lengths.contiguous()
        if keep or depths.stride() != live.stride():  # the backward pass takes them ray by ray
            depths, live = depths.contiguous(), live.contiguous()
        sums = origins.new_empty(batch, count, 5)
        walked = torch.empty_like(counts)
        # four numbers per sample are kept for the backward pass; what is as wide as the MLP is computed again
        outputs = origins.new_empty(batch, count, samples, 4) if keep else sums
        block, warps = forward_block(launch.options)
        composite_kernel[(blocks_of(batch * count, block),)](
            *field, origins, directions, depths, lengths, live, counts, sums, walked, outputs, batch * count, count,
            samples, *strides_of(depths), launch.height, launch.width, launch.inverse_radius, *launch.numbers,
            min_transmittance,
            STORE=keep, **launch.rule, **launch.options, **program_of(block, warps),
        )  # fmt: skip
        if keep:
            ctx.save_for_backward(*field, origins, directions, depths, lengths, live, walked, sums, outputs)
            # of the launch only what holds no tensors, which would keep the graph alive
            ctx.sizes = launch.height, launch.width, launch.inverse_radius
            ctx.options, ctx.rule, ctx.numbers = launch.options, launch.rule, launch.numbers
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_sums: Tensor) -> tuple[Tensor | None, ...]:
        from .kernels_backward import composite_backward_kernel, field_backward_kernel

        table, weights, biases, out_weight, out_bias, *rest = ctx.saved_tensors
        origins, directions, depths, lengths, live, walked, sums, outputs = rest
        planes, mlp, cameras = (
            any(ctx.needs_input_grad[4:5]),
            any(ctx.needs_input_grad[5:9]),
            any(ctx.needs_input_grad[9:]),
        )
        batch, count, samples = depths.shape
        total = batch * count
        grad_outputs = torch.zeros_like(outputs)
        # what no gradient is wanted for stands in as an argument that is not touched
        grad_depths = torch.zeros_like(depths) if cameras else sums
        grad_lengths = torch.zeros_like(lengths) if cameras else sums
        block, warps = ray_block()
        composite_backward_kernel[(blocks_of(total, block),)](
            outputs, depths, lengths, live, walked, sums, grad_sums.contiguous(), grad_outputs, grad_depths,
            grad_lengths, total, samples, *ctx.numbers,
            DEPTHS=cameras, **ctx.rule, **program_of(block, warps),
        )  # fmt: skip

        chosen = (grad_outputs != 0).any(dim=-1).flatten().nonzero()[:, 0]
        grad_table = torch.zeros(table.shape if planes else (1,), device=table.device)
        grad_points = torch.zeros((*depths.shape, 3) if cameras else (1,), device=table.device)
        hidden, layers = ctx.options["HIDDEN"], ctx.options["LAYERS"]
        sizes = (layers * hidden * hidden, (layers + 1) * hidden, hidden * 16)
        block, warps = backward_block(ctx.options)
        blocks = blocks_of(len(chosen), block)
        programs = min(blocks, _programs(table.device, sum(sizes) * 4))
        grad_mlp = torch.zeros((programs, sum(sizes)) if mlp else (1, 1), device=table.device)
        if programs:
            field_backward_kernel[(programs,)](
                table, weights, biases, out_weight, origins, directions, depths, chosen, grad_outputs, grad_table,
                grad_mlp, grad_points, len(chosen), count, samples, *ctx.sizes, **ctx.options,
                PLANES=planes, MLP=mlp, POINTS=cameras, **program_of(block, warps),
            )  # fmt: skip

        grads: list[Tensor | None] = [None] * 9
        if planes:
            grads[0] = grad_table
        if mlp:
            grad_weights, grad_biases, grad_out_weight = grad_mlp.sum(dim=0).split(sizes)
            # where there is no layer in between, `weights` holds one that nothing reads
            grads[1] = grad_weights.reshape(weights.shape) if layers else torch.zeros_like(weights)
            grads[2], grads[3] = grad_biases.reshape(biases.shape), grad_out_weight.reshape(out_weight.shape)
            grads[4] = F.pad(grad_outputs.sum(dim=(0, 1, 2)), (0, 12))
        if cameras:
            grads[5] = grad_points.sum(dim=2)
            grads[6] = (grad_points * depths[..., None]).sum(dim=2)
            grads[7] = grad_depths + (grad_points * directions[..., None, :]).sum(dim=-1)
            grads[8] = None if ctx.rule["NEIGHBORS"] else grad_lengths
        return None, None, None, None, *grads


def _operands(launch: FieldLaunch, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Table and MLP without gradients, and as bfloat16 what enters matrix products or is gathered, where asked for."""
    table, weights, biases, out_weight, out_bias = (
        (tensor.detach() if tensor.requires_grad else tensor).contiguous() for tensor in tensors
    )
    if launch.options["BF16"]:
        table, weights, out_weight = table.bfloat16(), weights.bfloat16(), out_weight.bfloat16()
    return table, weights, biases, out_weight, out_bias


def _programs(device: torch.device, bytes_each: int) -> int:
    """Programs of the field's backward kernel, each of which has sums of its own."""
    if device.type != "cuda":
        return 3
    processors = torch.cuda.get_device_properties(device).multi_processor_count
    return max(1, min(PROGRAMS_PER_PROCESSOR * processors, PARTIAL_BYTES // bytes_each))


def program_of(block: int, warps: int) -> dict[str, int]:
    # pipelined loads (more than one stage) of the weights would fill the shared memory many times over
    return {"BLOCK": block, "num_warps": warps, "num_stages": 1}


def blocks_of(total: int, block: int) -> int:
    return (total + block - 1) // block
