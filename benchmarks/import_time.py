# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What `import lrm_hf` costs beyond `from transformers import PreTrainedModel`.

    python -m benchmarks.import_time --repetitions 7 --limit 0.3

Both are measured in fresh interpreters that take turns, so that a load on the machine meets both alike. The minimum
over the repetitions is compared: other processes only ever add to a time. With `--limit` the exit code is 1 where the
difference of the minima is larger.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Sequence


BASE = "from transformers import PreTrainedModel"
PACKAGE = "from transformers import PreTrainedModel; import lrm_hf"

_TIMED = "import time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)"


def import_seconds(statement: str) -> float:
    """Seconds that `statement` takes in a fresh interpreter, without the interpreter's own start.

    Raises:
        RuntimeError: the statement failed; the message carries what the interpreter said.
    """
    command = [sys.executable, "-c", _TIMED.format(statement=statement)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        raise RuntimeError(f"{statement!r} failed:\n{process.stderr}")
    return float(process.stdout.split()[-1])


def measure(repetitions: int) -> tuple[list[float], list[float]]:
    """Seconds for `BASE` and for `PACKAGE`, `repetitions` each, after one run of each that warms the disk cache."""
    times: tuple[list[float], list[float]] = ([], [])
    for repetition in range(repetitions + 1):
        for seconds, statement in zip(times, (BASE, PACKAGE), strict=True):
            value = import_seconds(statement)
            if repetition:
                seconds.append(value)
    return times


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.import_time", description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=5, help="runs of each statement that count (default: 5)")
    parser.add_argument("--limit", type=float, help="seconds of difference above which the exit code is 1")
    arguments = parser.parse_args(argv)
    if arguments.repetitions < 1:
        parser.error(f"--repetitions must be at least 1, got {arguments.repetitions}")

    base, package = measure(arguments.repetitions)
    for statement, seconds in ((BASE, base), (PACKAGE, package)):
        print(f"{min(seconds):6.3f} s minimum, {statistics.median(seconds):6.3f} s median   {statement}")
    difference = min(package) - min(base)
    print(f"{difference:6.3f} s difference of the minima, ratio {min(package) / min(base):.3f}")
    if arguments.limit is not None and difference > arguments.limit:
        print(f"above the limit of {arguments.limit} s", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
