# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Which parameters get which optimiser, and how the learning rate runs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn


# odd polynomial whose iterates push singular values towards 1 (Jordan et al., 2024)
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised: Jordan et al., "Muon: An optimizer for hidden layers in neural
    networks", 2024. `torch.optim.Muon` computes the same in bfloat16, one matrix at a time, which takes some seventy
    times as long on a CPU without bfloat16 units; here matrices of one shape go together, in float32 off the GPU.

    Args:
        params: matrices only.
        lr: learning rate; scaled by `sqrt(max(1, rows / columns))`.
        momentum: of the Nesterov average.
        weight_decay: decoupled.
        steps: Newton-Schulz iterations.

    Raises:
        ValueError: for a parameter that is no matrix.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 5e-3,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
        steps: int = 5,
    ):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "steps": steps})
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.ndim != 2:
                    raise ValueError(f"`params` must be matrices, got one of shape {tuple(parameter.shape)}.")

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_shape = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape[parameter.shape, parameter.dtype, parameter.device].append(parameter)
            for (shape, dtype, _), parameters in by_shape.items():
                for parameter in parameters:
                    if not self.state[parameter]:
                        self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
                gradients = [parameter.grad for parameter in parameters]
                buffers = [self.state[parameter]["momentum_buffer"] for parameter in parameters]
                torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
                updates = torch._foreach_lerp(gradients, buffers, group["momentum"])
                orthogonal = orthogonalize(torch.stack(updates), group["steps"])
                rate = group["lr"] * math.sqrt(max(1.0, shape[0] / shape[1]))
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                changes = orthogonal.to(dtype).unbind()
                torch._foreach_add_(parameters, changes, alpha=-rate)
        return loss


def orthogonalize(matrices: Tensor, steps: int = 5) -> Tensor:
    """Nearly the nearest orthogonal matrices: `(n, rows, columns)` with singular values brought near 1."""
    a, b, c = NEWTON_SCHULZ
    x = matrices.bfloat16() if matrices.is_cuda else matrices.float()
    tall = x.shape[-2] > x.shape[-1]
    x = x.transpose(-1, -2) if tall else x
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.transpose(-1, -2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.transpose(-1, -2) if tall else x


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """Matrices of the transformer blocks; other weights; and what takes no weight decay (biases, norms, embeddings)."""
    matrices, weights, plain = [], [], []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        in_block = any(part in name for part in (".layers.", ".layer.")) and "field_mlp" not in name
        if parameter.ndim == 2 and in_block:
            matrices.append(parameter)
        elif parameter.ndim < 2 or "embed" in name or name.endswith(("bias", "cls_token")):
            plain.append(parameter)
        else:
            weights.append(parameter)
    return matrices, weights, plain


def build_optimizers(
    model: nn.Module, lr: float, muon_lr: float | None, weight_decay: float
) -> list[torch.optim.Optimizer]:
    """AdamW, and Muon for the matrices of the transformer blocks where `muon_lr` is given."""
    matrices, weights, plain = split_parameters(model)
    groups = [{"params": plain, "weight_decay": 0.0}, {"params": weights, "weight_decay": weight_decay}]
    if muon_lr is None:
        groups.append({"params": matrices, "weight_decay": weight_decay})
        return [torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95))]
    return [
        torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95)),
        Muon(matrices, lr=muon_lr, weight_decay=weight_decay),
    ]


def cosine_schedule(warmup_steps: int, max_steps: int, floor: float = 0.02) -> Callable[[int], float]:
    """Factor on the learning rate: linear warm-up, then a cosine from 1 to `floor`."""

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        progress = min(1.0, (step - warmup_steps) / max(1, max_steps - warmup_steps))
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))

    return factor
