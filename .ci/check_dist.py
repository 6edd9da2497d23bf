# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Checks a built wheel and sdist: `python .ci/check_dist.py dist`. Exits 1 with a list of what is wrong."""

from __future__ import annotations

import email
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from email.message import Message
from pathlib import Path


# The model may take 25 MB of it.
MAX_WHEEL_BYTES = 30_000_000
EXTRAS = {"train", "evaluation", "lpips", "background", "app", "serve", "completion", "texture", "usd", "batch", "dev"}
REQUIRED_IN_SDIST = ("LICENSE", "README.md", "CHANGELOG.md", "setup.cfg", "pyproject.toml")

# Run from the unpacked wheel: the files that a user gets, not those of the checkout.
SMOKE_TEST = """
import pathlib, sys, lrm_hf
assert pathlib.Path(lrm_hf.__file__).is_relative_to(sys.argv[1]), lrm_hf.__file__
model = lrm_hf.LRMPipeline.from_pretrained(lrm_hf.bundled_model()).model
print(f"{lrm_hf.__version__}: bundled model with {model.num_parameters():,} parameters")
"""


def only(directory: Path, pattern: str) -> Path:
    """The one file in `directory` that matches `pattern`."""
    found = sorted(directory.glob(pattern))
    if len(found) != 1:
        raise SystemExit(f"{directory}: expected one {pattern}, found {[path.name for path in found]}")
    return found[0]


def metadata_problems(metadata: Message) -> list[str]:
    """What an index would refuse, or show wrongly."""
    problems = [f"metadata has no {field}" for field in ("Name", "Version", "Summary") if not metadata.get(field)]
    if "Apache-2.0" not in (metadata.get("License-Expression") or metadata.get("License") or ""):
        problems.append("metadata does not name the licence Apache-2.0")
    if metadata.get("Requires-Python") != ">=3.11":
        problems.append(f"Requires-Python is {metadata.get('Requires-Python')}, expected >=3.11")
    if metadata.get("Description-Content-Type", "").split(";")[0] != "text/markdown" or not metadata.get_payload():
        problems.append("the README is not the long description, in markdown")
    if set(metadata.get_all("Provides-Extra", [])) != EXTRAS:
        problems.append(f"extras are {metadata.get_all('Provides-Extra', [])}, expected {sorted(EXTRAS)}")
    return problems


def wheel_problems(path: Path, expected: set[str]) -> list[str]:
    """`expected`: the package's files in the checkout, as paths below `src`."""
    problems = []
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
        info = next(name.split("/")[0] for name in names if name.endswith(".dist-info/METADATA"))
        problems += metadata_problems(email.message_from_bytes(wheel.read(f"{info}/METADATA")))
        if "lrm-hf = lrm_hf.cli:main" not in wheel.read(f"{info}/entry_points.txt").decode():
            problems.append("the entry point lrm-hf = lrm_hf.cli:main is missing")
        problems += [f"wheel lacks {name}" for name in sorted(expected) if name not in names]
        problems += [f"wheel lacks {info}/licenses/LICENSE"] * (f"{info}/licenses/LICENSE" not in names)
        problems += [f"wheel carries {name}" for name in names if not name.startswith(("lrm_hf/", f"{info}/"))]
        if path.stat().st_size > MAX_WHEEL_BYTES:
            problems.append(f"wheel has {path.stat().st_size:,} bytes, at most {MAX_WHEEL_BYTES:,} expected")
        if not problems:
            with tempfile.TemporaryDirectory() as directory:
                wheel.extractall(directory)
                command = [sys.executable, "-c", SMOKE_TEST, os.path.realpath(directory)]
                environment = os.environ | {"PYTHONPATH": os.path.realpath(directory), "HF_HUB_OFFLINE": "1"}
                if subprocess.run(command, cwd=directory, env=environment, check=False).returncode:
                    problems.append("the bundled model does not load from the wheel")
    return problems


def sdist_problems(path: Path, expected: set[str]) -> list[str]:
    with tarfile.open(path) as sdist:
        names = {name.split("/", 1)[1] for name in sdist.getnames() if "/" in name}
    required = (*REQUIRED_IN_SDIST, *(f"src/{name}" for name in sorted(expected)))
    return [f"sdist lacks {name}" for name in required if name not in names]


def main() -> int:
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else "dist")
    source = Path(__file__).resolve().parent.parent / "src"
    files = [path for path in (source / "lrm_hf").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    expected = {path.relative_to(source).as_posix() for path in files}
    wheel, sdist = only(directory, "*.whl"), only(directory, "*.tar.gz")
    problems = wheel_problems(wheel, expected) + sdist_problems(sdist, expected)
    if not any(name.startswith("lrm_hf/bundled/") and name.endswith(".safetensors") for name in expected):
        problems.append("src/lrm_hf/bundled holds no weights")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    if not problems:
        print(f"{wheel.name}: {wheel.stat().st_size:,} bytes; {sdist.name}: {sdist.stat().st_size:,} bytes; complete")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
