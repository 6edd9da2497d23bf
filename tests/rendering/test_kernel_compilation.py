# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The Triton kernels compile for a Hopper GPU: ahead of time, by the assembler in triton's wheel, without a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


triton = pytest.importorskip("triton", reason="triton is not installed: it has wheels for Linux only")

ROOT = Path(__file__).parent.parent.parent
ASSEMBLER = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
# kernels that do not evaluate the field
PLAIN = ("live", "spread", "importance", "resolve", "pixel", "composite backward")
SHARED_MEMORY = 227 * 1024  # that a program may take on compute capability 9.0

pytestmark = pytest.mark.skipif(not ASSEMBLER.exists(), reason=f"this build of triton brings no assembler: {ASSEMBLER}")


def compiled(directory: Path, *arguments: str) -> dict[tuple[str, str, str], dict[str, Any]]:
    """What `benchmarks.kernel_resources` found, in a process whose kernels are not for the interpreter."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    environment |= {"TRITON_CACHE_DIR": str(directory / "cache")}  # of today's kernels, not of last week's
    path = directory / "kernels.json"
    command = [sys.executable, "-m", "benchmarks.kernel_resources", "--json", str(path), *arguments]
    process = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    rows = json.loads(path.read_text())["kernels"]
    return {(row["field"], row["precision"], row["kernel"]): row for row in rows}


def check(rows: dict[tuple[str, str, str], dict[str, Any]]) -> None:
    for key, row in rows.items():
        assert 16 <= row["registers"] <= 255, key
        assert row["shared"] <= SHARED_MEMORY, key
        _, precision, kernel = key
        evaluates = not kernel.startswith(PLAIN)
        # matrix products run on tensor cores, but for plain float32's
        assert (row["wgmma"] + row["mma"] > 0) == (evaluates and precision != "fp32"), key
        # gradients of the planes are added four at a time
        assert (row["vector_atomics"] > 0) == kernel.startswith("field backward"), key


def test_compiles(tmp_path: Path) -> None:
    rows = compiled(tmp_path, "--fields", "narrow", "--precisions", "bf16")
    assert len(rows) == 17
    check(rows)


@pytest.mark.slow
def test_compiles_for_every_shape_and_precision(tmp_path: Path) -> None:
    rows = compiled(tmp_path)
    assert len(rows) == 6 * 5 * 17
    check(rows)
    for precision in ("tf32", "bf16"):
        assert rows["base", precision, "composite"]["wgmma"] > 0  # Hopper's own matrix instructions
