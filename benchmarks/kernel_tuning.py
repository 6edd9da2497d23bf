# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Times block sizes of the Triton kernels on the GPU at hand, next to those that the package launches with.

    python -m benchmarks.kernel_tuning --fields base triposr --precisions fp32 tf32 bf16 --json tuning.json

A random field of each shape is rendered with and without gradients, every sample of it evaluated. Candidates take turns
and the minimum over the repetitions counts. A faster candidate belongs in the tables of `rendering/kernels_launch.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lrm_hf.cameras import camera_rays, orbit_cameras
from lrm_hf.files import replacing
from lrm_hf.modeling.configuration_lrm import TriplaneFieldConfig
from lrm_hf.modeling.field import FieldMLP, TriplaneField
from lrm_hf.rendering import kernels, kernels_launch
from lrm_hf.rendering.sampling import ray_box_intersection


FIELDS: dict[str, dict[str, Any]] = {
    "base": {"channels": 48, "hidden_size": 64, "num_hidden_layers": 3, "num_samples": 96},
    "large": {"channels": 80, "hidden_size": 64, "num_hidden_layers": 3, "num_samples": 128},
    "triposr": {
        "channels": 40,
        "hidden_size": 64,
        "num_hidden_layers": 9,
        "hidden_act": "silu",
        "density_activation": "exp",
        "sampling": "uniform",
        "step_length": "normalized",
        "num_samples": 128,
        "plane_axes": [[0, 1], [0, 2], [1, 2]],
    },
    "narrow": {"channels": 32, "hidden_size": 16, "num_hidden_layers": 2, "num_samples": 96},
    "small": {"channels": 32, "hidden_size": 32, "num_hidden_layers": 2, "num_samples": 96},
    "wide": {"channels": 48, "hidden_size": 128, "num_hidden_layers": 4, "num_samples": 96},
}
BLOCKS = (16, 32, 64, 128)
WARPS = (2, 4, 8)


def random_field(options: dict[str, Any], size: int = 64) -> TriplaneField:
    """A field whose rays are neither empty nor opaque at once."""
    config = TriplaneFieldConfig(**options)
    generator = torch.Generator().manual_seed(0)
    mlp = FieldMLP(config).requires_grad_(False)
    for layer in mlp.layers:
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * (2 / layer.in_features) ** 0.5)
        layer.bias.zero_()
    planes = torch.randn(1, 3, config.channels, size, size, generator=generator)
    return TriplaneField(planes, *mlp.parameters_in_float32(), config).to("cuda")


def rays_of(field: TriplaneField, side: int) -> tuple[Tensor, ...]:
    """One view as `kernels.render_rays` takes it, in squares of 8 x 8 pixels."""
    cameras = orbit_cameras(num_views=1, elevation=20.0).to("cuda")
    origins, directions = camera_rays(cameras, side, side)
    origins, directions = (
        part.reshape(side // 8, 8, side // 8, 8, 3).transpose(1, 2).reshape(1, -1, 3).contiguous()
        for part in (origins, directions)
    )
    near, far, hit = ray_box_intersection(origins, directions, field.config.radius)
    return origins, directions, near, far, hit, torch.ones_like(origins)


@contextmanager
def blocks(name: str, block: tuple[int, int] | None) -> Iterator[None]:
    """Launches with another block size; None is the package's own."""
    known = getattr(kernels_launch, name)
    if block is not None:
        setattr(kernels_launch, name, lambda options: block)
    try:
        yield
    finally:
        setattr(kernels_launch, name, known)


def milliseconds(function: Callable[[], object]) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    function()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def tune(name: str, precision: str, side: int, repetitions: int) -> Iterator[dict[str, Any]]:
    """Times of every candidate, for the forward and for the forward and backward pass."""
    field = random_field(FIELDS[name])
    rays, samples = rays_of(field, side), field.config.num_samples
    training = replace(
        field,
        planes=field.planes.clone().requires_grad_(),
        weights=tuple(weight.clone().requires_grad_() for weight in field.weights),
    )

    def forward() -> object:
        with torch.no_grad():
            return kernels.render_rays(field, samples, *rays, precision=precision)

    def both() -> object:
        color, _, _ = kernels.render_rays(training, samples, *rays, precision=precision)
        return torch.autograd.grad(color.sum(), (training.planes, *training.weights))

    for kind, function in (("forward_block", forward), ("backward_block", both)):
        candidates: list[tuple[int, int] | None] = [None, *((block, warps) for block in BLOCKS for warps in WARPS)]
        times: dict[tuple[int, int] | None, float] = {}
        errors: dict[tuple[int, int] | None, str] = {}
        for repetition in range(repetitions + 1):
            for candidate in candidates:
                if candidate in errors:
                    continue
                try:
                    with blocks(kind, candidate):
                        elapsed = milliseconds(function)
                except Exception as error:  # too large for the GPU, or for the compiler: a result like any other
                    errors[candidate] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
                    continue
                if repetition:  # the first one compiles
                    times[candidate] = min(elapsed, times.get(candidate, elapsed))
        for candidate in candidates:
            yield {
                "field": name,
                "precision": precision,
                "kernel": kind.removesuffix("_block"),
                "block": candidate and candidate[0],
                "warps": candidate and candidate[1],
                "milliseconds": times.get(candidate),
                "error": errors.get(candidate),
            }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernel_tuning", description=__doc__.splitlines()[0])
    parser.add_argument("--fields", nargs="+", choices=FIELDS, default=["base", "triposr"])
    parser.add_argument("--precisions", nargs="+", choices=kernels_launch.PRECISIONS, default=["fp32", "tf32", "bf16"])
    parser.add_argument("--side", type=int, default=256, help="pixels along a side, a multiple of 8 (default: 256)")
    parser.add_argument("--repetitions", type=int, default=5, help="runs of each candidate that count (default: 5)")
    parser.add_argument("--json", type=Path, help="also writes the times there")
    arguments = parser.parse_args(argv)
    if arguments.side < 8 or arguments.side % 8:
        parser.error(f"--side must be a multiple of 8, got {arguments.side}")
    if not torch.cuda.is_available() or kernels_launch.interpreted():
        parser.error("needs a CUDA device, and no TRITON_INTERPRET in the environment")
    rows = []
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    for name in arguments.fields:
        for precision in arguments.precisions:
            for row in tune(name, precision, arguments.side, arguments.repetitions):
                rows.append(row)
                size = "as launched" if row["block"] is None else f"{row['block']:4} x {row['warps']}"
                time = row["error"] or f"{row['milliseconds']:9.3f} ms"
                print(f"{name:10} {precision:7} {row['kernel']:9} {size:12} {time}", flush=True)
            if arguments.json is not None:  # what is known so far survives the end of a machine's time
                found = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "times": rows}
                with replacing(arguments.json) as temporary:
                    Path(temporary).write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
