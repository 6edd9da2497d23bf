# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""docs/assets.md: its Python runs as printed, one block after the other, and its commands exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import PIL.Image
import pytest
import trimesh

from lrm_hf import cli


ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "docs" / "assets.md").read_text(encoding="utf-8"), flags=re.DOTALL)


def test_python_runs_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for needed in ("xatlas", "fast_simplification"):
        pytest.importorskip(needed)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    text = "".join(text for language, text in BLOCKS if language == "python")
    # the same code at coarser grids: only the waiting is cut short
    changes = {
        "pipe(": "pipe(mesh_resolution=48, height=32, width=32, num_views=2, image=",
        "1024": "128",
        "5000": "2000",
    }
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    scope: dict = {}
    exec(compile(text, "docs/assets.md", "exec"), scope)
    light = trimesh.load("barrel_light.glb", force="mesh")
    assert len(light.faces) <= 2000
    assert light.extents[1] == pytest.approx(0.9, abs=1e-5)
    assert trimesh.load("barrel.stl", force="mesh").is_watertight
    assert trimesh.load("barrel_textured.glb", force="mesh").visual.material.normalTexture.size == (128, 128)
    assert Path("barrel_textured_normal.png").exists()
    assert PIL.Image.open("path.webp").n_frames == 6
    assert PIL.Image.open("turn.gif").n_frames == 2


@pytest.mark.parametrize(
    "command", [line for language, text in BLOCKS if language == "bash" for line in text.splitlines() if line]
)
def test_commands_are_understood(command: str) -> None:
    program, *arguments = shlex.split(command)
    assert program == "lrm-hf"
    assert callable(cli.build_parser().parse_args(arguments).run)
