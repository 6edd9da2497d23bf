# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""`out.export`: meshes and frames by suffix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
import trimesh

from lrm_hf import LRMPipelineOutput
from lrm_hf.meshing import EXPORT_FORMATS, LRMMesh


@pytest.fixture
def output() -> LRMPipelineOutput:
    """Two boxes, one twice as tall, and three frames of each."""
    meshes = []
    for height in (1.0, 2.0):
        box = trimesh.creation.box(extents=(1, 1, height))
        meshes.append(LRMMesh(box.vertices, box.faces, process=False))
    colors = [[(255, 0, 0), (0, 255, 0), (0, 0, 255)], [(90, 90, 90)] * 3]
    frames = [[PIL.Image.new("RGB", (16, 16), color) for color in row] for row in colors]
    return LRMPipelineOutput(meshes=meshes, frames=frames)


def height(path: Path) -> float:
    return float(trimesh.load(path, force="mesh").extents[1])


@pytest.mark.parametrize("suffix", [name for name in EXPORT_FORMATS if name != "usdz"])
def test_one_of_the_meshes(output: LRMPipelineOutput, tmp_path: Path, suffix: str) -> None:
    assert output.export(tmp_path / f"owl.{suffix}", index=1) == [tmp_path / f"owl.{suffix}"]
    assert max(trimesh.load(tmp_path / f"owl.{suffix}", force="mesh").extents) == pytest.approx(2)
    assert len(list(tmp_path.iterdir())) == 1


def test_all_of_them_are_numbered(output: LRMPipelineOutput, tmp_path: Path) -> None:
    assert output.export(str(tmp_path / "owl.glb")) == [tmp_path / "owl_0.glb", tmp_path / "owl_1.glb"]
    assert [height(tmp_path / f"owl_{entry}.glb") for entry in (0, 1)] == pytest.approx([1, 2])
    single = LRMPipelineOutput(meshes=output.meshes[:1])
    assert single.export(tmp_path / "alone.glb") == [tmp_path / "alone.glb"]


def test_a_directory_gets_everything(output: LRMPipelineOutput, tmp_path: Path) -> None:
    written = output.export(tmp_path)
    assert [path.name for path in written] == ["0.glb", "0.png", "1.glb", "1.png"]
    assert PIL.Image.open(tmp_path / "0.png").size == (2 * 20 + 4, 2 * 20 + 4)
    only = LRMPipelineOutput(meshes=output.meshes)
    (tmp_path / "meshes").mkdir()
    assert [path.name for path in only.export(tmp_path / "meshes", index=-1)] == ["1.glb"]


@pytest.mark.parametrize("form", ["pil", "np", "pt"])
def test_frames_as_animation(output: LRMPipelineOutput, tmp_path: Path, form: str) -> None:
    if form != "pil":
        array = np.stack([np.stack([np.asarray(frame) for frame in row]) for row in output.frames]) / np.float32(255)
        output.frames = array if form == "np" else torch.from_numpy(array).movedim(-1, 2)
    output.export(tmp_path / "turn.gif", index=0)
    with PIL.Image.open(tmp_path / "turn.gif") as opened:
        assert opened.n_frames == 3
        assert opened.convert("RGB").getpixel((4, 4)) == (255, 0, 0)
        opened.seek(2)
        assert opened.convert("RGB").getpixel((4, 4)) == (0, 0, 255)


def test_mp4_takes_two_seconds(output: LRMPipelineOutput, tmp_path: Path) -> None:
    imageio = pytest.importorskip("imageio.v2")
    output.export(tmp_path / "turn.mp4", index=0)
    with imageio.get_reader(tmp_path / "turn.mp4") as reader:
        assert reader.get_meta_data()["duration"] == pytest.approx(2, abs=0.05)
        assert len([frame.shape for frame in reader]) == 3


def test_what_is_not_there(output: LRMPipelineOutput, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither meshes nor frames"):
        LRMPipelineOutput().export(tmp_path / "owl.glb")
    with pytest.raises(ValueError, match="there are no meshes: call the pipeline with `output_type='mesh'`"):
        LRMPipelineOutput(frames=output.frames).export(tmp_path / "owl.glb")
    with pytest.raises(ValueError, match="there are no frames: call the pipeline with `num_views` of at least 1"):
        LRMPipelineOutput(meshes=output.meshes).export(tmp_path / "owl.mp4")
    with pytest.raises(ValueError, match=r"`path` must be a directory or end in one of \.glb, .*\.usdz, \.mp4"):
        output.export(tmp_path / "owl.fbx")
    with pytest.raises(IndexError, match="`index` 2 is out of range for 2 pictures"):
        output.export(tmp_path / "owl.glb", index=2)
    assert list(tmp_path.iterdir()) == []
