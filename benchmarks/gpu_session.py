# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""All that is to be run when a GPU is at hand for some minutes: correctness first, then speed.

    python -m benchmarks.gpu_session results --minutes 9 --fields base.safetensors large.safetensors

Each step is a process of its own, so that one that fails or hangs leaves the others their turn; its output goes to
`results/STEP.log` as it comes, and what a step measures to `results/STEP.json`. `results/session.json` says what ran,
for how long and how it ended. Steps that need something that is not installed or not in the repository are skipped and
say so. The exit code is 1 if a step failed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch


ROOT = Path(__file__).parent.parent
KERNEL_TESTS = ("tests/rendering/test_kernels.py", "tests/rendering/test_kernels_sampling.py")


class Step(NamedTuple):
    """One process. `share` is the part of the whole time that it may take if all that come after it are to run."""

    name: str
    command: list[str]
    needs: str  # module without which it can't run
    share: float
    files: tuple[str, ...] | None = ()  # what its command ends with; None if it needs some and none were given


def steps(results: Path, fields: Sequence[Path] = ()) -> list[Step]:
    """All steps in their order. `fields` are files that `TriplaneField.save` wrote."""
    known = tuple(str(path.resolve()) for path in fields) or None
    test = [sys.executable, "-m", "pytest", "-q", "--durations=10", "-p", "no:cacheprovider"]
    if importlib.util.find_spec("xdist") is not None:  # what takes time is the compiling of kernels
        test += ["-n", str(max(1, min(8, (os.cpu_count() or 1) // 2)))]
    module = [sys.executable, "-m"]

    def written(name: str) -> list[str]:
        return ["--json", str(results / f"{name}.json")]

    return [
        # everything of the kernels that runs in the interpreter elsewhere, and the same at full size
        Step(
            "kernels",
            [*test, "-m", "gpu or not gpu", *KERNEL_TESTS],
            "pytest",
            0.3,
        ),
        Step("gpu_tests", [*test, "-m", "gpu", *(f"--ignore={file}" for file in KERNEL_TESTS), "tests"], "pytest", 0.1),
        Step(
            "render",
            [
                *(*module, "benchmarks.render", "--device", "cuda"),
                *("--repetitions", "7", "--plain-repetitions", "3", *written("render")),
            ],
            "benchmarks.render",
            0.25,
            known,
        ),
        Step("tuning", [*module, "benchmarks.kernel_tuning", *written("tuning")], "benchmarks.kernel_tuning", 0.15),
        Step(
            "planes",
            [*module, "benchmarks.planes", "--device", "cuda", "--shape", "base", "large", *written("planes")],
            "benchmarks.planes",
            0.2,
        ),
        Step(
            "mesh",
            [*module, "benchmarks.mesh", "--device", "cuda", "--output", str(results / "mesh.json")],
            "benchmarks.mesh",
            0.1,
            known,
        ),
    ]


def run(step: Step, results: Path, seconds: float) -> dict[str, Any]:
    """Runs a step for at most `seconds`; how it went."""
    if importlib.util.find_spec(step.needs) is None:
        return {"step": step.name, "outcome": f"skipped: there is no module {step.needs!r} here"}
    if step.files is None:
        return {"step": step.name, "outcome": "skipped: it needs fields, and `--fields` named none"}
    # threads of many processes that wait for each other take minutes over what one does in seconds
    environment = {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2", **os.environ, "PYTHONUNBUFFERED": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), str(ROOT), environment.get("PYTHONPATH", "")])
    start = time.monotonic()
    with open(results / f"{step.name}.log", "w", encoding="utf-8") as log:
        try:
            code = subprocess.run(
                [*step.command, *step.files],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=seconds,
                check=False,
            ).returncode
            outcome = "passed" if code == 0 else f"failed with exit code {code}"
        except subprocess.TimeoutExpired:
            outcome = f"stopped after {seconds:.0f} s"
    return {"step": step.name, "outcome": outcome, "seconds": round(time.monotonic() - start, 1)}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_session", description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="directory for logs and JSON, made if need be")
    parser.add_argument("--minutes", type=float, default=9.0, help="for everything together (default: 9)")
    parser.add_argument(
        "--fields", nargs="+", type=Path, default=[], help="fields to render, as `TriplaneField.save` writes"
    )
    parser.add_argument("--steps", nargs="+", metavar="STEP", help="only these")
    arguments = parser.parse_args(argv)
    arguments.results = arguments.results.resolve()
    chosen = steps(arguments.results, arguments.fields)
    if arguments.steps is not None:
        unknown = set(arguments.steps) - {step.name for step in chosen}
        if unknown:
            parser.error(f"no such step: {', '.join(sorted(unknown))}; there are {', '.join(s.name for s in chosen)}")
        chosen = [step for step in chosen if step.name in arguments.steps]
    if not torch.cuda.is_available():
        parser.error("needs a CUDA device")
    arguments.results.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * arguments.minutes
    properties = torch.cuda.get_device_properties(0)
    session: dict[str, Any] = {
        "device": properties.name,
        "memory": properties.total_memory,
        "torch": torch.__version__,
        "python": sys.version.split()[0],
        "steps": [],
    }
    for index, step in enumerate(chosen):
        # what a step leaves over is for those that follow
        share = step.share / sum(later.share for later in chosen[index:])
        found = run(step, arguments.results, max(1.0, share * (end - time.monotonic())))
        session["steps"].append(found)
        print(f"{found['step']:10} {found.get('seconds', 0):6} s  {found['outcome']}", flush=True)
        log = arguments.results / f"{step.name}.log"
        if log.exists():
            print("\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-30:]), flush=True)
        (arguments.results / "session.json").write_text(json.dumps(session, indent=1))
    return int(any(not found["outcome"].startswith(("passed", "skipped")) for found in session["steps"]))


if __name__ == "__main__":
    sys.exit(main())
