# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""docs/training_data.md: its snippets and commands run as printed, in order, and its links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import trimesh

from lrm_hf import cli


TEXT = (Path(__file__).parents[1] / "docs/training_data.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(python|bash)\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The commands, then the snippets one after the other in one scope, as a reader would type them."""
    directory = tmp_path_factory.mktemp("docs")
    (directory / "my-meshes").mkdir()
    trimesh.creation.box(extents=(1, 2, 3)).export(directory / "my-meshes/box.glb")
    trimesh.creation.icosphere(subdivisions=2).export(directory / "my-meshes/ball.ply")
    scope: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        for language, text in BLOCKS:
            if language == "bash":
                for line in text.strip().splitlines():
                    program, *words = shlex.split(line)
                    assert program == "lrm-hf"
                    assert cli.main(words) == 0, line
        for language, text in BLOCKS:
            if language == "python":
                exec(compile(text, "docs/training_data.md", "exec"), scope)
    return directory, scope


def test_snippets_and_commands_run(finished):
    directory, scope = finished
    assert (directory / "my-objects/check_sheet.png").is_file()
    assert len(scope["data"]) == 2 and scope["views"].rgba.shape == (8, 4, 128, 128)
    assert scope["some"].rgba.shape == (2, 4, 128, 128)
    assert scope["batch"].pixel_values.shape == (4, 3, 64, 64)
    assert scope["batch"].images.shape == (4, 2, 3, 24, 24)
    assert float(scope["batch"].surface_weight.sum()) > 0, "--depth was given"


def test_the_shard_of_the_last_snippet_is_the_same_data(finished):
    import torch

    from lrm_hf.training.data_sources import open_views

    directory, _ = finished
    shard, data = open_views(directory / "shard-000000.tar"), open_views(directory / "my-objects")
    for index in range(2):
        assert shard.name(index) == data.name(index)
        for name in ("rgba", "depth"):
            assert torch.equal(getattr(shard[index], name), getattr(data[index], name))


def test_links_lead_to_headings():
    headings = {
        re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower()).replace(" ", "-")
        for line in TEXT.splitlines()
        if line.startswith("#")
    }
    targets = re.findall(r"\]\(#([^)]+)\)", TEXT)
    assert len(targets) == 5 and set(targets) <= headings
