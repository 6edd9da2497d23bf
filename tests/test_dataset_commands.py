# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""lrm-hf render-dataset and check-dataset: files, exit codes, resuming; reading gives back what was rendered."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
import trimesh

from lrm_hf import cli
from lrm_hf.training.data_sources import open_views
from lrm_hf.training.mesh_views import render_training_views
from lrm_hf.training.view_pool import ViewPool


SMALL = ["--size", "24", "--views", "6", "--sources", "2", "--antialias", "1"]


@pytest.fixture
def meshes(tmp_path: Path) -> Path:
    """A textured sheet on a box, a box in vertex colours, and one that is half transparent."""
    folder = tmp_path / "meshes"
    folder.mkdir()
    box = trimesh.creation.box(extents=(1, 2, 3))
    texture = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8))
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=texture, baseColorFactor=[255, 255, 255, 255])
    uv = np.random.default_rng(1).uniform(0, 1, (8, 2))
    textured = box.copy()
    textured.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    textured.export(folder / "textured.glb")
    coloured = box.copy()
    coloured.visual.vertex_colors = np.random.default_rng(2).integers(0, 255, (8, 4), dtype=np.uint8) | [0, 0, 0, 255]
    coloured.export(folder / "coloured.ply")
    glass = box.copy()
    glass.visual.vertex_colors = np.tile(np.array([[200, 50, 50, 128]], dtype=np.uint8), (8, 1))
    glass.export(folder / "glass.ply")
    return folder


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


def stamps(directory: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("shards", [0, 2])
def test_what_is_rendered_is_what_is_read(meshes: Path, tmp_path: Path, shards: int, capsys) -> None:
    out = tmp_path / "out"
    assert run("render-dataset", meshes, out, *SMALL, "--depth", *(["--shards", shards] if shards else [])) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{out}\n"
    assert printed.err == "3 objects written, 0 there before, 0 failed\n"
    if shards:
        assert sorted(path.name for path in out.iterdir()) == ["000000.tar", "000001.tar", "render.json"]
    data = open_views(out)
    assert [data.name(index) for index in range(3)] == ["coloured", "glass", "textured"]
    for index, name in enumerate(("coloured.ply", "glass.ply", "textured.glb")):
        expected = render_training_views(meshes / name, 0, size=24, antialias=1, sources=2, targets=4)
        views = data[index]
        assert torch.equal(views.rgba, expected.rgba)
        assert torch.equal(views.depth, expected.depth)
        assert torch.equal(views.cameras.cam2world, expected.cameras.cam2world)
        torch.testing.assert_close(views.cameras.intrinsics, expected.cameras.intrinsics, rtol=1e-7, atol=0)
    # the half transparent box lets half through where one sees one layer, a quarter where one sees two
    assert 128 < int(data[1].rgba[:, 3].max()) < 255
    assert len(data[2].rgba[0, :3].flatten(1).unique(dim=1).T) > 20  # a texture, not one colour
    assert run("check-dataset", out) == 0
    assert ViewPool([out]).draw(2, torch.Generator(), views=2, crop=8).images.shape == (2, 2, 3, 8, 8)


def test_a_stopped_run_goes_on(meshes: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    assert run("render-dataset", meshes, out, *SMALL, "--limit", 1, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "output": str(out),
        "written": ["coloured"],
        "present": [],
        "failed": [],
    }
    before = stamps(out)
    (meshes / "broken.glb").write_bytes(b"glTF nonsense")
    assert run("render-dataset", meshes, out, *SMALL, "--json", "--workers", 2) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["written"], report["present"]) == (["glass", "textured"], ["coloured"])
    assert [entry["object"] for entry in report["failed"]] == ["broken"]
    assert "cannot be read as a mesh" in report["failed"][0]["error"]
    assert before.items() <= stamps(out).items()
    assert not [path for path in out.iterdir() if path.name.startswith(".")]
    assert run("render-dataset", meshes, out, "--size", 32) == 2
    message = capsys.readouterr().err
    assert "was begun with other settings (size 24 there, 32 now, views 6 there, 16 now" in message


def test_shards_hold_what_could_be_rendered(meshes: Path, tmp_path: Path, capsys) -> None:
    (meshes / "broken.glb").write_bytes(b"glTF nonsense")
    out = tmp_path / "out"
    assert run("render-dataset", meshes, out, *SMALL, "--shards", 2, "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert report["written"] == ["coloured", "glass", "textured"]
    data = open_views(out / "000000.tar")
    assert [data.name(index) for index in range(len(data))] == ["coloured"]
    before = stamps(out)
    assert run("render-dataset", meshes, out, *SMALL, "--shards", 2, "--json") == 0
    assert json.loads(capsys.readouterr().out)["present"] == ["coloured", "glass", "textured"]
    assert stamps(out) == before
    trimesh.creation.box().export(meshes / "another.stl")
    (meshes / "coloured.ply").unlink()
    assert run("render-dataset", meshes, out, *SMALL, "--shards", 2) == 2
    assert "holds other objects (coloured ...)" in capsys.readouterr().err


def test_nothing_that_can_be_rendered(tmp_path: Path, capsys) -> None:
    (tmp_path / "a.glb").write_bytes(b"glTF nonsense")
    out = tmp_path / "out"
    for options in ([], ["--shards", 4]):
        assert run("render-dataset", tmp_path, out / str(len(options)), *SMALL, *options) == 2
        assert "a: " in capsys.readouterr().err
    assert run("render-dataset", tmp_path / "nowhere", out) == 2
    assert "is not a directory" in capsys.readouterr().err
    assert run("render-dataset", out, out) == 2
    assert "holds no mesh files" in capsys.readouterr().err
    assert run("render-dataset", tmp_path, out, "--views", 2) == 2
    assert "`sources` must be at most `views`, got 4 of 2" in capsys.readouterr().err


def test_check_names_faults_and_draws_them(meshes: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    run("render-dataset", meshes, out, *SMALL)
    pose = out / "glass/pose/003.npy"
    np.save(pose, np.load(pose) * 2)
    capsys.readouterr()
    assert run("check-dataset", out, "--json", "--sheet", tmp_path / "sheet.png") == 1
    result = json.loads(capsys.readouterr().out)
    assert (result["objects"], result["views"], result["ok"]) == (3, 18, False)
    assert result["warnings"] == []
    [error] = result["errors"]
    assert (error["object"], error["view"], error["check"]) == ("glass", "003", "pose")
    with PIL.Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 800 and sheet.height > 3 * 240
    assert run("check-dataset", out) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("error: glass, view 003: its pose is not a rotation: the axes have lengths 2, 2, 2")
    assert lines[1] == str(out / "check_sheet.png")
    assert (out / "check_sheet.png").is_file()
    assert run("check-dataset", out, "--no-sheet") == 1
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_check_of_meshes_and_of_what_is_no_data(meshes: Path, tmp_path: Path, capsys) -> None:
    (meshes / "broken.glb").write_bytes(b"glTF nonsense")
    assert run("check-dataset", meshes, "--no-sheet") == 1
    assert capsys.readouterr().out.startswith("error: broken: ")
    (tmp_path / "empty").mkdir()
    assert run("check-dataset", tmp_path / "empty") == 2
    assert "holds nothing; expected a directory of .npz files" in capsys.readouterr().err
    assert run("check-dataset", meshes, "--sheet", tmp_path / "nowhere/sheet.png") == 2
    assert "does not exist" in capsys.readouterr().err
