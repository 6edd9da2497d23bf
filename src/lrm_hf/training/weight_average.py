# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The exponential average of a model's weights, which is what one keeps of a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of what is trained, in float32 or wider.

    The memory grows with the number of updates: the factor on the old average is `min(decay, (1 + n) / (10 + n))` after
    `n` updates, so that the initial weights are soon forgotten. Sharded parameters (FSDP2) have sharded averages.

    Args:
        model: whose trainable parameters are averaged, from their present values on.
        decay: in [0, 1); 0: the average is the last value.

    Raises:
        ValueError: if `decay` is out of range, or the model has nothing to train.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"`decay` must be in [0, 1), got {decay}.")
        self.decay, self.updates = decay, 0
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not self.parameters:
            raise ValueError("`model` has no parameter that requires a gradient.")
        self.averages = {name: _copy(p) for name, p in self.parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the present weights."""
        factor = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        kinds: dict[Any, tuple[list[Tensor], list[Tensor]]] = defaultdict(lambda: ([], []))
        for name, parameter in self.parameters.items():
            average = self.averages[name]
            averages, present = kinds[type(average), average.device, average.dtype]
            averages.append(average)
            present.append(parameter.detach().to(average.dtype))
        for averages, present in kinds.values():  # few launches on a GPU
            torch._foreach_lerp_(averages, present, factor)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block the model has the averaged weights; afterwards its own again, to the bit."""
        with torch.no_grad():
            own = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
            for name, parameter in self.parameters.items():
                parameter.copy_(self.averages[name])
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    parameter.copy_(own[name])

    def state_dict(self) -> dict[str, Any]:
        """Whole tensors, also where the parameters are sharded; every process must call it then."""
        return {"updates": self.updates, "averages": {name: _whole(value) for name, value in self.averages.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """
        Raises:
            ValueError: if the names differ; they are listed.
        """
        differing = sorted(set(state["averages"]) ^ set(self.averages))
        if differing:
            raise ValueError(f"`state` is of another model: {', '.join(differing[:5])} on one side only.")
        self.updates = state["updates"]
        for name, average in self.averages.items():
            average.copy_(_like(state["averages"][name].to(average.device), average))


def _copy(parameter: Tensor) -> Tensor:
    value = parameter.detach().clone()
    return value if value.dtype in (torch.float32, torch.float64) else value.float()


def _whole(value: Tensor) -> Tensor:
    return value.full_tensor() if hasattr(value, "full_tensor") else value


def _like(value: Tensor, example: Tensor) -> Tensor:
    """`value` sharded as `example` is."""
    if not hasattr(example, "full_tensor"):
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(example, DTensor):
        raise TypeError(f"`example` must be a tensor or DTensor, got {type(example).__name__}.")
    return distribute_tensor(value, example.device_mesh, example.placements)
