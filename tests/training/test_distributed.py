# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Two processes on the CPU make the gradients of one with twice the batch; and the configurations that ship load."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from distributed_client import batch_of, descent, joined, model_and_objective
from safetensors.torch import load_file

import lrm_hf
from lrm_hf.training.procedural import render_pool


TESTS = Path(__file__).parents[1]
CONFIGS = TESTS.parent / "examples" / "accelerate"


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pool")
    render_pool(directory, 4, size=32, sources=1, targets=2)
    return directory


def run_twice(arguments: list[str], **settings: str) -> None:
    """Runs a script in two processes under torchrun."""
    source = Path(lrm_hf.__file__).parents[1]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (source, TESTS, TESTS / "training"))),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",  # with two, of which one waits for a busy core, a step takes seconds
        "ACCELERATE_USE_CPU": "true",
        **settings,
    }
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *arguments]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert run.returncode == 0, run.stderr


def assert_same_gradients(found: dict[str, torch.Tensor], pool: Path) -> torch.nn.Module:
    """Returns the model with the gradients of one process with twice the batch."""
    model, objective = model_and_objective()
    loss, _ = objective(model, joined([batch_of(pool, 0), batch_of(pool, 1)]))
    loss.backward()
    expected = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert len(expected) > 50
    assert set(expected) <= set(found)
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in expected.items():
        # float32 sums in another order; the biases of keys have no gradient but rounding, hence the model's largest
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-6 * largest, msg=name)
    return model


def test_ddp_has_the_gradients_of_twice_the_batch(pool: Path, tmp_path: Path) -> None:
    run_twice([str(TESTS / "training" / "distributed_client.py"), "ddp", str(pool), str(tmp_path / "ddp.safetensors")])
    assert_same_gradients(load_file(tmp_path / "ddp.safetensors"), pool)


def test_fsdp2_has_the_gradients_of_twice_the_batch_and_steps(pool: Path, tmp_path: Path) -> None:
    file = tmp_path / "fsdp2.safetensors"
    run_twice([str(TESTS / "training" / "distributed_client.py"), "fsdp2", str(pool), str(file)])
    found = load_file(file)
    model = assert_same_gradients(found, pool)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                parameter.copy_(descent(parameter, parameter.grad))
                # a decay of 0 leaves the last weights; the step's rounding is that of the gradients
                torch.testing.assert_close(found[f"average.{name}"], parameter.detach(), rtol=1e-5, atol=1e-5)
        batch = batch_of(pool, 0)
        field = model.encode(batch.pixel_values[:1], batch.source_cameras[:1])
        view = lrm_hf.render(field, lrm_hf.orbit_cameras(1), 8, 8).images
    torch.testing.assert_close(found["view"], view, rtol=0, atol=1e-3)  # exponentials carry the weights' rounding on


def config_names() -> list[str]:
    return sorted(path.name for path in CONFIGS.glob("*.yaml"))


def test_configurations_ship() -> None:
    assert config_names() == ["cpu.yaml", "ddp.yaml", "deepspeed_zero2.yaml", "fsdp2.yaml"]


@pytest.mark.parametrize("name", config_names())
def test_accelerate_takes_the_configuration(name: str) -> None:
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import launch_command_parser

    config = load_config_from_file(str(CONFIGS / name))  # refuses keys that it does not know
    kinds = {"cpu": "MULTI_CPU", "ddp": "MULTI_GPU", "deepspeed_zero2": "DEEPSPEED", "fsdp2": "FSDP"}
    assert config.distributed_type == kinds[Path(name).stem]
    assert config.use_cpu == (name == "cpu.yaml") and config.num_processes == (2 if config.use_cpu else 8)
    options = set(vars(launch_command_parser().parse_args(["script.py"])))
    nested = {**config.fsdp_config, **config.deepspeed_config}
    assert set(nested) <= options, "each of these is a flag of `accelerate launch` too"


def test_fsdp_wraps_the_blocks_and_leaves_the_fields_mlp_to_the_root() -> None:
    import yaml

    settings = yaml.safe_load((CONFIGS / "fsdp2.yaml").read_text())["fsdp_config"]
    wrapped = settings["fsdp_transformer_layer_cls_to_wrap"].split(",")
    model, _ = model_and_objective()
    names = {type(module).__name__ for module in model.modules()}
    assert set(wrapped) <= names and "FieldMLP" in names - set(wrapped)
