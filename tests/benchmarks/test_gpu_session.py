# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The session's steps: that a bad one costs the others nothing, with commands that need no GPU."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.gpu_session import Step, main, run, steps


def python(code: str, needs: str = "sys") -> Step:
    return Step("step", [sys.executable, "-c", code], needs, 1.0)


def test_a_step_that_passes(tmp_path: Path) -> None:
    found = run(python("import lrm_hf, benchmarks; print('well')"), tmp_path, seconds=120)
    assert found["outcome"] == "passed"
    assert found["seconds"] > 0
    assert (tmp_path / "step.log").read_text() == "well\n"


def test_a_step_that_fails(tmp_path: Path) -> None:
    found = run(python("import sys; print('why', file=sys.stderr); sys.exit(3)"), tmp_path, seconds=120)
    assert found["outcome"] == "failed with exit code 3"
    assert (tmp_path / "step.log").read_text() == "why\n"


def test_a_step_that_hangs(tmp_path: Path) -> None:
    code = "import time; print('so far', flush=True); time.sleep(600)"
    found = run(python(code), tmp_path, seconds=3)
    assert found["outcome"] == "stopped after 3 s"
    assert (tmp_path / "step.log").read_text() in ("", "so far\n")  # a loaded machine may not have come that far


def test_a_step_that_cannot_run(tmp_path: Path) -> None:
    found = run(python("", needs="benchmarks.no_such_module"), tmp_path, seconds=120)
    assert found["outcome"] == "skipped: there is no module 'benchmarks.no_such_module' here"
    assert not (tmp_path / "step.log").exists()


def test_a_step_without_its_files(tmp_path: Path) -> None:
    step = Step("step", [sys.executable, "-c", "import sys; print(sys.argv[1:])"], "sys", 1.0, None)
    assert run(step, tmp_path, seconds=120)["outcome"] == "skipped: it needs fields, and `--fields` named none"
    assert run(step._replace(files=("a", "b")), tmp_path, seconds=120)["outcome"] == "passed"
    assert (tmp_path / "step.log").read_text() == "['a', 'b']\n"


def test_fields_go_to_rendering(tmp_path: Path) -> None:
    given = {step.name: step.files for step in steps(tmp_path, [tmp_path / "base.safetensors"])}
    assert given["render"] == (str(tmp_path / "base.safetensors"),)
    assert given["kernels"] == given["planes"] == ()
    assert {step.name: step.files for step in steps(tmp_path)}["render"] is None


def test_shares_are_of_one_whole(tmp_path: Path) -> None:
    chosen = steps(tmp_path)
    assert len({step.name for step in chosen}) == len(chosen)
    assert sum(step.share for step in chosen) <= 1.1
    assert all(0 < step.share < 1 for step in chosen)


def test_unknown_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--steps", "kernels", "lunch"])
    assert "no such step: lunch; there are kernels, " in capsys.readouterr().err
