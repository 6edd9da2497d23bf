# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""One pipeline, two architectures: the same calls, the same outputs, the same files. Nothing below asks which of the
two it has, but for the one test that says what they differ in."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
import trimesh
from diffusers import DiffusionPipeline
from tiny_models import (
    IMAGE_SIZE,
    pictures,
    surface_threshold,
    tiny_config,
    tiny_model,
    tiny_triposr,
    tiny_triposr_config,
)
from transformers import ViTConfig

from lrm_hf import LRMImageProcessor, LRMPipeline, LRMPreTrainedModel, TriplaneField, camera_rays, orbit_cameras, render
from lrm_hf.modeling import original_tables
from lrm_hf.modeling.original_checkpoints import original_image_processor


GOLDENS = Path(__file__).parent.parent / "goldens"
SMALL = {"height": 12, "width": 10, "num_views": 2}
# of the two small checkpoints in their authors' layouts
ORIGINALS = {"lrm": GOLDENS / "openlrm_v10", "triposr": GOLDENS / "triposr"}
DINO = ViTConfig(hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=192)


def make(architecture: str) -> LRMPipeline:
    """A pipeline with what its authors do to pictures."""
    model: LRMPreTrainedModel
    if architecture == "lrm":
        model = tiny_model(tiny_config(position_interpolation="legacy"))
        processor = original_image_processor("openlrm_v10", model.config)
    else:
        model = tiny_triposr()
        processor = original_image_processor("triposr", model.config)
    pipe = LRMPipeline(model, processor)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module", params=["lrm", "triposr"])
def pipe(request: pytest.FixtureRequest) -> LRMPipeline:
    return make(request.param)


def test_a_call_gives_everything(pipe: LRMPipeline) -> None:
    fields = pipe(pictures(2), output_type="field").field
    out = pipe(pictures(2), mesh_threshold=surface_threshold(fields), mesh_resolution=24, **SMALL)
    assert list(out) == ["meshes", "frames", "depth", "opacity", "images", "field"]
    assert [[frame.size for frame in views] for views in out.frames] == [[(10, 12)] * 2] * 2
    assert all(isinstance(frame, PIL.Image.Image) for views in out.frames for frame in views)
    assert out.depth.shape == out.opacity.shape == (2, 2, 12, 10, 1)
    assert [image.size for image in out.images] == [(IMAGE_SIZE, IMAGE_SIZE)] * 2
    assert isinstance(out.field, TriplaneField)
    assert out.field.planes.shape == (2, 3, 8, 8, 8)
    assert float((out.field.planes[0] - out.field.planes[1]).abs().max()) > 1e-2, "two pictures, two objects"
    for mesh in out.meshes:
        assert mesh.is_watertight
        assert float(np.abs(mesh.vertices).max()) <= out.field.config.radius * 1.001
        assert mesh.visual.vertex_colors.shape == (len(mesh.vertices), 4)
        opened = trimesh.load(io.BytesIO(mesh.export(file_type="glb")), file_type="glb", force="mesh")
        assert len(opened.faces) == len(mesh.faces)
        # y is up in a glTF file, z in ours
        np.testing.assert_allclose(opened.bounds[:, 1], mesh.bounds[:, 2], atol=1e-5)


@pytest.mark.parametrize("output_type", ["pil", "np", "pt"])
def test_frames_in_every_form(pipe: LRMPipeline, output_type: str) -> None:
    frames = pipe(pictures(1), output_type=output_type, **SMALL).frames
    pixels = pipe(pictures(1), output_type="pt", **SMALL).frames[0].permute(0, 2, 3, 1).numpy()
    if output_type == "pil":
        np.testing.assert_allclose(np.stack([np.asarray(view) for view in frames[0]]) / 255, pixels, atol=0.5 / 255)
    elif output_type == "np":
        np.testing.assert_array_equal(frames[0], pixels)
    else:
        np.testing.assert_array_equal(frames[0].permute(0, 2, 3, 1).numpy(), pixels)


def test_the_same_call_gives_the_same_bytes(pipe: LRMPipeline) -> None:
    first, second = (pipe(pictures(1), output_type="pt", **SMALL) for _ in range(2))
    assert torch.equal(first.field.planes, second.field.planes)
    assert torch.equal(first.frames, second.frames)


def test_the_orbit_begins_at_the_source_camera(pipe: LRMPipeline) -> None:
    """Wherever that is: the first view at the source camera's elevation is what that camera sees."""
    out = pipe(pictures(1), output_type="pt", num_views=1, elevation=0.0, height=12, width=12)
    expected = render(out.field, pipe.model.source_cameras(1), 12, 12).images
    torch.testing.assert_close(out.frames, expected.clamp(0, 1), atol=1e-5, rtol=0)


def test_render_and_extract_mesh_of_a_field_that_a_call_gave(pipe: LRMPipeline) -> None:
    field = pipe(pictures(1), output_type="field").field
    views = pipe.render(field, cameras=orbit_cameras(3), height=8, width=8, output_type="pt")
    assert views.frames.shape == (1, 3, 3, 8, 8)
    (mesh,) = pipe.extract_mesh(field, mesh_resolution=16, mesh_threshold=surface_threshold(field))
    assert len(mesh.faces) > 20


def test_saved_and_loaded(pipe: LRMPipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path)
    expected = pipe(pictures(1), output_type="pt", **SMALL)
    through_diffusers = DiffusionPipeline.from_pretrained(
        tmp_path, custom_pipeline=str(tmp_path), trust_remote_code=True
    )
    for loaded in (LRMPipeline.from_pretrained(tmp_path), through_diffusers):
        assert type(loaded) is LRMPipeline
        assert type(loaded.model) is type(pipe.model)
        loaded.set_progress_bar_config(disable=True)
        assert torch.equal(loaded(pictures(1), output_type="pt", **SMALL).frames, expected.frames)
    name = type(pipe.model).__name__
    assert json.loads((tmp_path / "model_index.json").read_text())["model"] == ["lrm_hf", name]


def test_a_model_saved_alone(pipe: LRMPipeline, tmp_path: Path) -> None:
    pipe.model.save_pretrained(tmp_path)
    pipe.image_processor.save_pretrained(tmp_path)
    loaded = LRMPipeline.from_pretrained(tmp_path)
    assert type(loaded.model) is type(pipe.model)
    expected = pipe(pictures(1), output_type="field").field
    assert torch.equal(loaded(pictures(1), output_type="field").field.planes, expected.planes)


@pytest.mark.parametrize("architecture", ORIGINALS)
def test_original_layouts(architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory as its authors published it, the same in a Hub's cache, and what `lrm-hf convert` makes of it."""
    from lrm_hf import cli

    source = ORIGINALS[architecture]
    pipe = LRMPipeline.from_pretrained(source, encoder_config=DINO)
    assert pipe.model.config.model_type == architecture
    expected = pipe(pictures(2), output_type="field").field

    repository = tmp_path / "cache" / "models--someone--original"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    shutil.copytree(source, repository / "snapshots" / ("0" * 40))
    cached = LRMPipeline.from_pretrained("someone/original", cache_dir=tmp_path / "cache", encoder_config=DINO)
    # the published encoder's name stands for the small one here: the command takes no other
    monkeypatch.setitem(original_tables.ENCODERS, "facebook/dino-vitb16", DINO.to_diff_dict())
    assert cli.main(["convert", str(source), str(tmp_path / "ours")]) == 0
    assert not [path.name for path in (tmp_path / "ours").rglob("*") if path.suffix in (".ckpt", ".pth")]
    for other in (cached, LRMPipeline.from_pretrained(tmp_path / "ours")):
        assert type(other.model) is type(pipe.model)
        torch.testing.assert_close(
            other(pictures(2), output_type="field").field.planes, expected.planes, atol=1e-5, rtol=0
        )
        assert other.image_processor.to_dict() == pipe.image_processor.to_dict()


def test_what_differs_are_numbers() -> None:
    """Source camera, radius, surface density, background: settings, read from the configs."""
    first, second = make("lrm"), make("triposr")
    for name in ("source_camera_distance", "source_camera_azimuth", "source_camera_focal"):
        assert getattr(first.model.config, name) != getattr(second.model.config, name)
    fields = [pipe.model.config.field_config for pipe in (first, second)]
    assert [field.radius for field in fields] == [1.0, 0.87]
    assert [field.density_threshold for field in fields] == [3.0, 25.0]
    assert [pipe.image_processor.background for pipe in (first, second)] == [1.0, 0.5]
    _, directions = camera_rays(second.model.source_cameras(1), 1, 1)
    assert directions.flatten().tolist() == pytest.approx([-1, 0, 0], abs=1e-6), "TripoSR's objects face +x"


def test_documentation_of_triposr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its examples run, with the small checkpoint in place of the published one and at a coarser grid."""
    text = (GOLDENS.parents[1] / "docs" / "triposr.md").read_text(encoding="utf-8")
    code = "".join(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL))
    code = code.replace("stabilityai/TripoSR", str(ORIGINALS["triposr"]))
    code = code.replace("pipe(", "pipe(mesh_resolution=32, height=16, width=16, image=")
    monkeypatch.setitem(original_tables.ENCODERS, "facebook/dino-vitb16", DINO.to_diff_dict())
    (tmp_path / "examples").symlink_to(GOLDENS.parents[1] / "examples")
    monkeypatch.chdir(tmp_path)
    scope: dict = {}
    exec(compile(code, "docs/triposr.md", "exec"), scope)
    assert (tmp_path / "barrel.png").stat().st_size > 100
    assert len(scope["out"].frames[0]) == 4


def test_exported_meshes_face_the_viewer() -> None:
    """The side that the source camera saw becomes +z in glTF: -y of OpenLRM's frame, +x of TripoSR's."""
    for kind in ("lrm", "triposr"):
        pipe = make(kind)
        field = pipe(pictures(1), output_type="field").field
        (mesh,) = pipe.extract_mesh(field, mesh_resolution=24, mesh_threshold=surface_threshold(field))
        data = mesh.export(file_type="glb")
        (read,) = trimesh.load(io.BytesIO(data), file_type="glb", process=False).geometry.values()
        x, y, z = mesh.vertices.T
        expected = np.stack([x, z, -y] if kind == "lrm" else [y, z, x], axis=-1)
        np.testing.assert_allclose(read.vertices, expected, atol=1e-6)
        assert "viewer_azimuth" not in read.metadata


def test_models_can_be_swapped_in_a_pipeline() -> None:
    processor = LRMImageProcessor(size=IMAGE_SIZE)
    for model in (tiny_model(tiny_config()), tiny_triposr(), tiny_triposr(image_size=16)):
        out = LRMPipeline(model, processor)(pictures(1), output_type="pt", **SMALL)
        assert out.frames.shape == (1, 2, 3, 12, 10)
    assert tiny_triposr_config().image_size == IMAGE_SIZE
