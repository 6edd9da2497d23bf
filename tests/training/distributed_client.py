# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What test_distributed.py runs in two processes under torchrun.

Arguments: "ddp" or "fsdp2", a directory with a pool of views, and the file to write to: gradients by name, and under
FSDP2 what a step made of the weights.
"""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tiny_models import tiny_config, tiny_model

from lrm_hf import Cameras, LRMModel, orbit_cameras, render
from lrm_hf.training.objective import LossWeights, Objective
from lrm_hf.training.view_pool import TrainingBatch, ViewPool
from lrm_hf.training.weight_average import WeightAverage


# means over the batch only: those of `surface` and `depth` are over what is visible in it, which differs by process
WEIGHTS = LossWeights(surface=0.0, occupancy=0.5, opacity=0.7, entropy=0.2, variation=0.1)


def batch_of(pool: Path, process: int) -> TrainingBatch:
    return ViewPool([pool]).draw(2, torch.Generator().manual_seed(process), crop=12, points=32)


def joined(batches: list[TrainingBatch]) -> TrainingBatch:
    def join(values: list[Any]) -> Any:
        if isinstance(values[0], torch.Tensor):
            return torch.cat(values)
        if isinstance(values[0], Cameras):
            return Cameras(
                torch.cat([value.cam2world for value in values]), torch.cat([value.intrinsics for value in values])
            )
        return values[0]

    names = [field.name for field in fields(TrainingBatch)]
    return TrainingBatch(**{name: join([getattr(batch, name) for batch in batches]) for name in names})


def model_and_objective() -> tuple[LRMModel, Objective]:
    # in evaluation mode samples are where they are, not drawn
    return tiny_model(tiny_config(source_camera_elevation=20.0)), Objective(WEIGHTS, num_samples=8)


def descent(parameter: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """A plain step: Adam's would make much of gradients that are rounding."""
    return parameter - 0.01 * gradient


def ddp(pool: Path) -> dict[str, torch.Tensor]:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    if accelerator.num_processes != 2 or accelerator.state.backend != "gloo":
        raise RuntimeError(f"expected two processes with gloo, got {accelerator.state}")
    model, objective = model_and_objective()
    model = accelerator.prepare(model)
    loss, _ = objective(model, batch_of(pool, accelerator.process_index))
    accelerator.backward(loss)
    return {name: p.grad for name, p in accelerator.unwrap_model(model).named_parameters() if p.grad is not None}


def fsdp2(pool: Path) -> dict[str, torch.Tensor]:
    """As accelerate applies it with examples/accelerate/fsdp2.yaml, which it does on GPUs only."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    torch.distributed.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (2,))
    model, objective = model_and_objective()
    for module in model.modules():
        if type(module).__name__ == "LRMBlock":
            fully_shard(module, mesh=mesh, reshard_after_forward=True)
    fully_shard(model, mesh=mesh)
    register_fsdp_forward_method(model, "encode")
    average = WeightAverage(model, decay=0.0)
    batch = batch_of(pool, torch.distributed.get_rank())
    loss, _ = objective(model, batch)
    loss.backward()
    result = {name: p.grad.full_tensor() for name, p in model.named_parameters() if p.grad is not None}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    optimizer.step()
    average.update()
    state = average.state_dict()
    average.load_state_dict(state)
    result |= {f"average.{name}": value for name, value in state["averages"].items()}
    with average.in_place(), torch.no_grad():
        field = model.encode(batch.pixel_values[:1], batch.source_cameras[:1])
        result["view"] = render(field, orbit_cameras(1), 8, 8).images
    return result


if __name__ == "__main__":
    torch.set_num_threads(1)
    found = {"ddp": ddp, "fsdp2": fsdp2}[sys.argv[1]](Path(sys.argv[2]))
    if torch.distributed.get_rank() == 0:
        save_file({name: value.contiguous() for name, value in found.items()}, sys.argv[3])
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
