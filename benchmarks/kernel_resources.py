# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Compiles the Triton kernels ahead of time, without a GPU, and prints what they take of one.

    python -m benchmarks.kernel_resources --capability 90 --fields base triposr --precisions fp32 bf16

Registers per thread, stack in bytes per thread (spilled registers live there) and shared memory in bytes per program
are what the assembler left in the machine code, for the block sizes that the package launches with. Needs triton, and
no `TRITON_INTERPRET` in the environment.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


# padded width of the MLP, layers between its first and last, SiLU, exponential density, averaging of neighbours
FIELDS: dict[str, tuple[int, int, bool, bool, bool]] = {
    "base": (64, 2, False, False, True),  # OpenLRM's, of all three sizes
    "triposr": (64, 8, True, True, False),
    "narrow": (16, 0, False, True, False),
    "small": (32, 2, True, False, True),
    "wide": (128, 2, False, False, True),
    "wide_deep": (128, 9, True, True, False),
}
PRECISIONS = ("fp32", "tf32x3", "tf32", "bf16")
AXES = [[0, 1], [0, 2], [2, 1]]
POINTERS = {
    **dict.fromkeys(("hit", "hits", "packed_hits", "looks", "occupancy"), "*u8"),
    **dict.fromkeys(("counts", "walked", "places"), "*i32"),
    "live": "*i16",
    "chosen": "*i64",
}
OPERANDS = ("table", "weights", "out_weight")
INTEGERS = (
    *("total", "count", "rays_per_object", "points_per_object", "pixels_per_object", "pixels", "samples", "half"),
    *("across", "along", "cells", "height", "width"),
)
NUMBERS = (
    *("inverse_radius", "density_bias", "color_padding", "min_transmittance", "empty"),
    *("full_height", "full_width", "radius", "min_length"),
)


def variants(field: str, precision: str) -> Iterator[tuple[str, Any, dict[str, Any], int]]:
    """Name, kernel, compile-time values and warps of every kernel of a field, as the package launches them."""
    from lrm_hf.rendering import kernels_backward, kernels_forward, kernels_pixels, kernels_sampling
    from lrm_hf.rendering.kernels_launch import PRECISIONS, backward_block, forward_block, plane_code, ray_block

    hidden, layers, silu, exponential, neighbors = FIELDS[field]
    rule = {"EXPONENTIAL": exponential, "NEIGHBORS": neighbors}
    options = {
        "HIDDEN": hidden,
        "LAYERS": layers,
        "SILU": silu,
        "BF16": precision == "bf16",
        "PRECISION": PRECISIONS[precision],
        "PLANE_AXES": plane_code(AXES),
    }
    block, warps = ray_block()
    common = {"OCCUPANCY": True, "BLOCK": block}
    yield "live samples", kernels_sampling.live_samples_kernel, {"INSIDE_ONLY": neighbors, **common}, warps
    for noise in (False, True):
        values = {"NEIGHBORS": neighbors, "JITTER": noise, **common}
        yield f"spread samples{', noise' * noise}", kernels_sampling.spread_samples_kernel, values, warps
        values = {"EXPONENTIAL": exponential, "JITTER": noise, **common}
        yield f"importance samples{', noise' * noise}", kernels_sampling.importance_samples_kernel, values, warps
    for pack in (False, True):
        values = {"ANCHORS": True, "LOOKS": True, "PACK": pack, "BLOCK": block}
        yield f"pixel rays{', packed' * pack}", kernels_pixels.pixel_rays_kernel, values, warps
    yield "pixel values", kernels_pixels.pixel_values_kernel, {"BLOCK": block}, warps
    yield "resolve", kernels_sampling.resolve_kernel, {"NEIGHBORS": neighbors, "BLOCK": block}, warps
    for depths in (False, True):
        values = {**rule, "DEPTHS": depths, "BLOCK": block}
        yield f"composite backward{', cameras' * depths}", kernels_backward.composite_backward_kernel, values, warps
    block, warps = forward_block(options)
    yield "points", kernels_forward.points_kernel, {**options, "BLOCK": block}, warps
    yield "raw density", kernels_forward.raw_density_kernel, {**options, "across": 1, "BLOCK": block}, warps
    for store in (False, True):
        # ray by ray for the backward pass, else sample by sample
        values = {**options, **rule, "along" if store else "across": 1, "STORE": store, "BLOCK": block}
        yield f"composite{', training' * store}", kernels_forward.composite_kernel, values, warps
    block, warps = backward_block(options)
    for points in (False, True):
        values = {**options, "PLANES": True, "MLP": True, "POINTS": points, "BLOCK": block}
        yield f"field backward{', cameras' * points}", kernels_backward.field_backward_kernel, values, warps


def resources(kernel: Any, values: dict[str, Any], warps: int, capability: int, **extra: Any) -> dict[str, Any]:
    """Compiles a kernel; what its machine code takes."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    if not isinstance(kernel, triton.JITFunction):
        raise RuntimeError("kernels can't be compiled where TRITON_INTERPRET was set when they were imported")
    operand = "*bf16" if values.get("BF16") else "*fp32"
    signature = {}
    for name in kernel.arg_names:
        if name in values:
            signature[name] = "constexpr"
        elif name in INTEGERS:
            signature[name] = "i32"
        elif name in NUMBERS:
            signature[name] = "fp32"
        else:
            signature[name] = POINTERS.get(name, operand if name in OPERANDS else "*fp32")
    # torch's allocations are aligned
    aligned = {
        (i,): [["tt.divisibility", 16]] for i, name in enumerate(kernel.arg_names) if signature[name].startswith("*")
    }
    source = ASTSource(fn=kernel, signature=signature, constexprs=values, attrs=aligned)
    compiled = triton.compile(
        source, target=GPUTarget("cuda", capability, 32), options={"num_warps": warps, "num_stages": 1, **extra}
    )
    ptx = compiled.asm["ptx"]
    instructions = {
        name: len(re.findall(pattern, ptx))
        for name, pattern in {
            "wgmma": r"wgmma\.mma_async",
            "mma": r"(?<!g)mma\.sync",
            "fma": r"\bfma\.rn",
            "vector_atomics": r"\b(?:red|atom)\.\S*\.v[24]\.f32",
            "atomics": r"\b(?:red|atom)\.\S*f32",
        }.items()
    }
    return {**_usage(compiled.asm["cubin"]), "shared": compiled.metadata.shared, "warps": warps, **instructions}


def _usage(cubin: bytes) -> dict[str, int]:
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "kernel.cubin"
        path.write_bytes(cubin)
        text = subprocess.run([tool, "-res-usage", path], capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", text)
    if found is None:
        raise RuntimeError(f"cuobjdump said nothing of registers: {text!r}")
    return {"registers": int(found[1]), "stack": int(found[2])}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernel_resources", description=__doc__.splitlines()[0])
    parser.add_argument("--capability", type=int, default=90, help="compute capability times ten (default: 90)")
    parser.add_argument("--fields", nargs="+", choices=FIELDS, default=list(FIELDS), help="default: all")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS), help="default: all")
    parser.add_argument("--json", type=Path, help="also writes the table there")
    arguments = parser.parse_args(argv)
    rows = []
    print(f"{'field':10} {'precision':9} {'kernel':28} registers stack shared warps wgmma  mma   fma atomics (vector)")
    for field in arguments.fields:
        for precision in arguments.precisions:
            for name, kernel, values, warps in variants(field, precision):
                found = resources(kernel, values, warps, arguments.capability)
                rows.append({"field": field, "precision": precision, "kernel": name, "block": values["BLOCK"], **found})
                print(
                    f"{field:10} {precision:9} {name:28} {found['registers']:9} {found['stack']:5} "
                    f"{found['shared']:6} {warps:5} {found['wgmma']:5} {found['mma']:4} {found['fma']:5} "
                    f"{found['atomics']:7} ({found['vector_atomics']})",
                    flush=True,
                )
    if arguments.json is not None:
        from lrm_hf.files import replacing

        with replacing(arguments.json) as temporary:
            Path(temporary).write_text(json.dumps({"capability": arguments.capability, "kernels": rows}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
