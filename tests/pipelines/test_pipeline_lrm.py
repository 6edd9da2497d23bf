# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""LRMPipeline: what a call returns, that it agrees with its parts, and that loading and saving change nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import diffusers
import numpy as np
import PIL.Image
import pytest
import torch
from diffusers.pipelines.pipeline_loading_utils import LOADABLE_CLASSES
from tiny_models import (
    IMAGE_SIZE,
    TINY_ENCODER,
    pictures,
    surface_threshold,
    tiny_config,
    tiny_pipeline,
    write_openlrm,
)
from transformers import CONFIG_MAPPING

import lrm_hf
from lrm_hf import Cameras, LRMImageProcessor, LRMModel, LRMPipeline, LRMPipelineOutput, TriplaneField, orbit_cameras
from lrm_hf.meshing import density_grid


SMALL = {"height": 12, "width": 10, "num_views": 2}


@pytest.fixture(scope="module")
def pipe() -> LRMPipeline:
    return tiny_pipeline()


@pytest.fixture(scope="module")
def saved(pipe: LRMPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pipeline") / "tiny"
    pipe.save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def two(pipe: LRMPipeline) -> LRMPipelineOutput:
    return pipe(pictures(2), output_type="pt", **SMALL)


@pytest.fixture(scope="module")
def threshold(two: LRMPipelineOutput) -> float:
    return surface_threshold(two.field)


class TestCall:
    def test_mesh_comes_with_frames(self, pipe: LRMPipeline, threshold: float) -> None:
        out = pipe(pictures(1)[0], mesh_threshold=threshold, mesh_resolution=24, **SMALL)
        (mesh,) = out.meshes
        assert mesh.is_watertight
        assert mesh.visual.vertex_colors.shape == (len(mesh.vertices), 4)
        ((first, second),) = out.frames
        assert isinstance(first, PIL.Image.Image)
        assert first.size == second.size == (10, 12)
        assert out.depth.shape == out.opacity.shape == (1, 2, 12, 10, 1)
        assert [image.size for image in out.images] == [(IMAGE_SIZE, IMAGE_SIZE)]
        assert isinstance(out.field, TriplaneField)
        assert len(out.field) == 1

    def test_no_views_makes_meshes_alone(self, pipe: LRMPipeline, threshold: float) -> None:
        out = pipe(pictures(2), mesh_threshold=threshold, mesh_resolution=16, num_views=0)
        assert len(out.meshes) == 2
        assert out.frames is out.depth is out.opacity is None
        assert list(out) == ["meshes", "images", "field"]

    def test_field_alone(self, pipe: LRMPipeline) -> None:
        out = pipe(pictures(2), output_type="field")
        assert list(out) == ["images", "field"]
        assert out.field.planes.shape == (2, 3, 8, 8, 8)
        assert out.field.planes.dtype == torch.float32
        assert not out.field.planes.requires_grad
        assert not any(weight.requires_grad for weight in out.field.weights)

    def test_output_types_are_the_same_numbers(self, pipe: LRMPipeline, two: LRMPipelineOutput) -> None:
        arrays = pipe(pictures(2), output_type="np", **SMALL)
        pils = pipe(pictures(2), output_type="pil", **SMALL)
        assert two.frames.shape == (2, 2, 3, 12, 10)
        assert two.depth.shape == two.opacity.shape == (2, 2, 1, 12, 10)
        assert arrays.frames.shape == (2, 2, 12, 10, 3)
        assert arrays.frames.dtype == np.float32
        np.testing.assert_array_equal(arrays.frames, two.frames.permute(0, 1, 3, 4, 2).numpy())
        for name in ("depth", "opacity"):
            tensor = getattr(two, name)
            np.testing.assert_array_equal(getattr(arrays, name), tensor[:, :, 0, ..., None].numpy())
            np.testing.assert_array_equal(getattr(pils, name), getattr(arrays, name))
        assert [len(views) for views in pils.frames] == [2, 2]
        pixels = np.stack([[np.asarray(view) for view in views] for views in pils.frames])
        np.testing.assert_array_equal(pixels, np.round(arrays.frames * 255).astype(np.uint8))
        assert pils.meshes is arrays.meshes is two.meshes is None

    def test_agrees_with_its_parts(self, pipe: LRMPipeline, two: LRMPipelineOutput, threshold: float) -> None:
        """Processor, model, renderer and mesher called by hand."""
        pixel_values = pipe.image_processor(pictures(2), return_tensors="pt").pixel_values
        with torch.no_grad():
            field = pipe.model.eval().encode(pixel_values)
            cameras = orbit_cameras(2, elevation=20.0)  # the model's source camera is at 0 degrees
            views = lrm_hf.render(field, cameras, 12, 10)
        assert torch.equal(two.field.planes, field.planes)
        assert torch.equal(two.frames, views.images.clamp(0, 1))
        assert torch.equal(two.depth, views.depth)
        assert torch.equal(two.opacity, views.opacity)
        for image, pixels in zip(two.images, pixel_values, strict=True):
            np.testing.assert_allclose(np.asarray(image) / 255, pixels.permute(1, 2, 0), atol=0.5 / 255 + 1e-6)
        ours = pipe.extract_mesh(two.field, 20, threshold)
        theirs = lrm_hf.extract_mesh(field, 20, threshold)
        for mesh, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(mesh.vertices, other.vertices)

    def test_batch_of_three_equals_three_singles(self, pipe: LRMPipeline) -> None:
        images = pictures(3)
        batch = pipe(images, output_type="pt", **SMALL)
        # values of the planes go up to 5: larger batches are summed in another order
        for index, image in enumerate(images):
            single = pipe(image, output_type="pt", **SMALL)
            torch.testing.assert_close(batch.field.planes[index], single.field.planes[0], atol=1e-5, rtol=0)
            torch.testing.assert_close(batch.frames[index], single.frames[0], atol=1e-5, rtol=0)
            torch.testing.assert_close(batch.opacity[index], single.opacity[0], atol=1e-5, rtol=0)
        assert (batch.frames[0] - batch.frames[1]).abs().max() > 0.05, "different pictures, different fields"

    def test_same_call_gives_the_same_bytes(self, pipe: LRMPipeline, two: LRMPipelineOutput) -> None:
        again = pipe(pictures(2), output_type="pt", **SMALL)
        assert torch.equal(again.field.planes, two.field.planes)
        assert torch.equal(again.frames, two.frames)
        assert torch.equal(again.depth, two.depth)

    def test_training_mode_does_not_show(self, two: LRMPipelineOutput) -> None:
        pipe = tiny_pipeline(attention_dropout=0.5)
        pipe.model.train()
        assert torch.equal(pipe(pictures(2), output_type="field").field.planes, two.field.planes)

    def test_generator_draws_noise_and_repeats(self, pipe: LRMPipeline, two: LRMPipelineOutput) -> None:
        def noisy(seed: int) -> torch.Tensor:
            return pipe.render(
                two.field, generator=torch.Generator().manual_seed(seed), output_type="pt", **SMALL
            ).frames

        assert torch.equal(noisy(0), noisy(0))
        assert not torch.equal(noisy(0), noisy(1))
        assert not torch.equal(noisy(0), two.frames)
        called = pipe(pictures(2), output_type="pt", generator=torch.Generator().manual_seed(0), **SMALL)
        assert torch.equal(called.frames, noisy(0))

    def test_chunk_size_changes_nothing(self, pipe: LRMPipeline, two: LRMPipelineOutput, threshold: float) -> None:
        chunked = pipe(pictures(2), output_type="pt", chunk_size=999, **SMALL)
        torch.testing.assert_close(chunked.frames, two.frames, atol=1e-6, rtol=0)
        whole, parts = (pipe.extract_mesh(two.field, 16, threshold, chunk_size=size)[1] for size in (None, 999))
        np.testing.assert_allclose(parts.vertices, whole.vertices, atol=1e-6)

    def test_return_dict_false(self, pipe: LRMPipeline) -> None:
        frames, depth, opacity, images, field = pipe(pictures(1), output_type="np", return_dict=False, **SMALL)
        assert frames.shape[-1] == 3
        assert depth.shape == opacity.shape == (1, 2, 12, 10, 1)
        assert len(images) == len(field) == 1

    def test_output_can_be_indexed_like_any_of_diffusers(self, two: LRMPipelineOutput) -> None:
        assert two[0] is two["frames"] is two.frames
        assert two.to_tuple()[-1] is two.field

    def test_all_kinds_of_pictures(self, pipe: LRMPipeline, tmp_path: Path) -> None:
        image = pictures(1)[0]
        image.save(tmp_path / "disc.png")
        array = np.asarray(image)
        tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
        out = pipe([image, str(tmp_path / "disc.png"), tmp_path / "disc.png", array, tensor], output_type="field")
        for planes in out.field.planes[1:]:
            torch.testing.assert_close(planes, out.field.planes[0], atol=1e-5, rtol=0)

    def test_processor_settings_for_one_call(self, pipe: LRMPipeline) -> None:
        image = pictures(1)[0]
        plain = pipe(image, output_type="field")
        small = pipe(image, output_type="field", foreground_ratio=0.5)
        width = [
            np.ptp(np.nonzero((np.asarray(out.images[0]) < 250).any(axis=(0, 2)))[0]) + 1 for out in (plain, small)
        ]
        assert width[0] == pytest.approx(0.85 * IMAGE_SIZE, abs=2)
        assert width[1] == pytest.approx(0.5 * IMAGE_SIZE, abs=2)
        assert not torch.equal(plain.field.planes, small.field.planes)
        assert pipe.image_processor.foreground_ratio == 0.85

    def test_images_of_a_call_that_normalizes(self, pipe: LRMPipeline) -> None:
        image = pictures(1)[0]
        plain = pipe(image, output_type="field")
        normalized = pipe(image, output_type="field", do_normalize=True, image_mean=0.5, image_std=0.25)
        np.testing.assert_allclose(np.asarray(normalized.images[0]), np.asarray(plain.images[0]), atol=1)
        assert not torch.equal(plain.field.planes, normalized.field.planes)


class TestCameras:
    def test_default_orbit_is_that_of_the_source_camera(self) -> None:
        pipe = tiny_pipeline(source_camera_elevation=35.0, source_camera_distance=1.7, source_camera_focal=0.9)
        out = pipe(pictures(1), output_type="pt", **SMALL)
        cameras = orbit_cameras(2, elevation=35.0, distance=1.7, focal=0.9)
        expected = lrm_hf.render(out.field, cameras, 12, 10)
        assert torch.equal(out.depth, expected.depth)
        source = Cameras.canonical(distance=1.7, focal=0.9, elevation=35.0)
        torch.testing.assert_close(cameras[0].cam2world, source.cam2world)

    def test_elevation(self, pipe: LRMPipeline, two: LRMPipelineOutput) -> None:
        out = pipe.render(two.field, elevation=-30, output_type="pt", **SMALL)
        expected = lrm_hf.render(two.field, orbit_cameras(2, elevation=-30.0), 12, 10)
        assert torch.equal(out.depth, expected.depth)
        level = pipe.render(two.field, elevation=0, output_type="pt", **SMALL)
        assert torch.equal(level.depth, lrm_hf.render(two.field, orbit_cameras(2, elevation=0.0), 12, 10).depth)

    def test_cameras_of_the_caller(self, pipe: LRMPipeline) -> None:
        per_picture = Cameras(
            torch.stack([orbit_cameras(3, elevation=10.0).cam2world, orbit_cameras(3, elevation=50.0).cam2world]),
            orbit_cameras(3).intrinsics,
        )
        out = pipe(pictures(2), output_type="pt", cameras=per_picture, height=9, width=9)
        assert out.frames.shape == (2, 3, 3, 9, 9)
        second = lrm_hf.render(out.field[1], orbit_cameras(3, elevation=50.0), 9, 9)
        torch.testing.assert_close(out.frames[1], second.images[0].clamp(0, 1), atol=1e-6, rtol=0)

    def test_source_cameras(self, pipe: LRMPipeline) -> None:
        cameras = Cameras.canonical(elevation=25.0)
        out = pipe(pictures(2), output_type="field", source_cameras=cameras)
        as_vectors = pipe(pictures(2), output_type="field", source_cameras=cameras.to_source_vector().expand(2, 16))
        default = pipe(pictures(2), output_type="field")
        assert torch.equal(out.field.planes, as_vectors.field.planes)
        assert (out.field.planes - default.field.planes).abs().max() > 0.01

    def test_background(self, pipe: LRMPipeline) -> None:
        red = pipe(pictures(1), output_type="pt", background=(1.0, 0.0, 0.0), **SMALL)
        black = pipe.render(red.field, background=0.0, output_type="pt", **SMALL)
        expected = black.frames.clone()
        expected[:, :, 0] += 1 - red.opacity[:, :, 0]
        torch.testing.assert_close(red.frames, expected.clamp(0, 1), atol=2e-3, rtol=0)  # colours leave [0, 1] by 1e-3


class TestReuse:
    def test_render_does_not_run_the_model(
        self, pipe: LRMPipeline, two: LRMPipelineOutput, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pipe.model, "forward", None)
        again = pipe.render(two.field, output_type="pt", **SMALL)
        assert torch.equal(again.frames, two.frames)
        assert list(again) == ["frames", "depth", "opacity", "field"]
        assert again.field is two.field

    def test_render_of_one_of_a_batch(self, pipe: LRMPipeline, two: LRMPipelineOutput) -> None:
        ((first, _),) = pipe.render(two.field[1], **SMALL).frames
        expected = np.round(two.frames[1, 0].permute(1, 2, 0).numpy() * 255)
        np.testing.assert_allclose(np.asarray(first), expected, atol=1)

    def test_frames_fit_export_to_video(self, pipe: LRMPipeline, two: LRMPipelineOutput, tmp_path: Path) -> None:
        imageio = pytest.importorskip("imageio.v2")
        frames = pipe.render(two.field[0], num_views=3, height=32, width=32).frames[0]
        path = diffusers.utils.export_to_video(frames, str(tmp_path / "turn.mp4"), fps=5)
        assert sum(1 for _ in imageio.get_reader(path)) == 3

    def test_largest_component(self, pipe: LRMPipeline, two: LRMPipelineOutput) -> None:
        density = density_grid(two.field[0], 24)
        peaks = float(density.flatten().quantile(0.99))
        whole = pipe.extract_mesh(two.field[0], 24, peaks)[0]
        largest = pipe.extract_mesh(two.field[0], 24, peaks, largest_component=True)[0]
        assert whole.body_count > 1
        assert largest.body_count == 1
        assert 0 < largest.volume < whole.volume


class TestBoundedSavings:
    """Frames leave out what can't be seen, unless they are to be exact."""

    def test_close_to_exact(self, pipe: LRMPipeline, two: LRMPipelineOutput) -> None:
        quick, exact = (pipe.render(two.field, exact=flag, output_type="pt", **SMALL) for flag in (False, True))
        expected = lrm_hf.render(two.field, orbit_cameras(2), 12, 10, exact=True)
        assert torch.equal(exact.opacity, expected.opacity)
        assert not torch.equal(quick.opacity, exact.opacity)
        assert float((quick.frames - exact.frames).abs().max()) <= 4 / 255  # what `lrm_hf.render` promises

    def test_a_batch_is_treated_as_single_pictures_are(self, pipe: LRMPipeline) -> None:
        batch = pipe(pictures(2), output_type="pt", **SMALL)
        for index, image in enumerate(pictures(2)):
            single = pipe(image, output_type="pt", **SMALL)
            torch.testing.assert_close(batch.frames[index], single.frames[0], atol=1e-5, rtol=0)


class TestProgress:
    def test_shown_unless_switched_off(self, two: LRMPipelineOutput, capsys: pytest.CaptureFixture[str]) -> None:
        pipe = tiny_pipeline()
        for config, shown in (({}, True), ({"disable": True}, False), ({"disable": None}, False)):
            pipe.set_progress_bar_config(**config)
            pipe.render(two.field, chunk_size=500, **SMALL)
            assert ("Rendering" in capsys.readouterr().err) == shown, config

    def test_quick_work_shows_none(
        self, two: LRMPipelineOutput, threshold: float, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pipe = tiny_pipeline()
        pipe.set_progress_bar_config()
        pipe.render(two.field, **SMALL)
        pipe.extract_mesh(two.field, 16, threshold)
        assert capsys.readouterr().err == ""

    def test_long_meshing_shows_it(
        self,
        two: LRMPipelineOutput,
        threshold: float,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr("lrm_hf.pipelines.pipeline_lrm.PROGRESS_POINTS", 16**3)
        pipe = tiny_pipeline()
        pipe.set_progress_bar_config()
        pipe.extract_mesh(two.field, 16, threshold)
        assert "density" in capsys.readouterr().err


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"output_type": "latent"}, ValueError, r"`output_type` must be one of 'mesh', .*got 'latent'"),
            ({"num_views": 0, "output_type": "pil"}, ValueError, "`num_views` must be at least 1, got 0"),
            ({"num_views": 2.0}, TypeError, "`num_views` must be an integer, got float"),
            ({"elevation": "high"}, TypeError, "`elevation` must be a number of degrees, got str"),
            ({"elevation": 91.0}, ValueError, r"`elevation` must lie in \[-90, 90\] degrees, got 91"),
            ({"cameras": torch.eye(4)}, TypeError, "`cameras` must be Cameras, got Tensor"),
            ({"cameras": orbit_cameras(6).reshape(2, 3), "output_type": "np"}, ValueError, "`cameras` of shape"),
            ({"source_cameras": orbit_cameras(3)}, ValueError, "`source_cameras`"),
            ({"height": 0, "output_type": "np"}, ValueError, "`height` must be at least 1"),
            ({"background": torch.zeros(5), "output_type": "np"}, ValueError, "`background`"),
            ({"mesh_resolution": 8}, ValueError, "`mesh_resolution` must be from 16 to 1024, got 8"),
            ({"mesh_resolution": 32.0}, TypeError, "`mesh_resolution` must be an integer"),
            ({"mesh_threshold": -1.0}, ValueError, "`mesh_threshold` must be a positive, finite density, got -1"),
            ({"mesh_threshold": "3"}, TypeError, "`mesh_threshold` must be a number, got str"),
            ({"generator": 7}, TypeError, "`generator` must be a torch.Generator, got int"),
            ({"foreground_ratio": 2.0}, ValueError, "foreground_ratio: 2.0"),
            ({"frame_size": 64}, TypeError, r"unknown argument 'frame_size'.*foreground_ratio"),
            ({"return_tensors": "np"}, TypeError, "unknown argument 'return_tensors'"),
            (
                {"mesh_threshold": 1e6, "num_views": 0, "mesh_resolution": 16},
                ValueError,
                "surface is empty: density ranges",
            ),
        ],
    )
    def test_message_names_the_argument(
        self, pipe: LRMPipeline, arguments: dict, error: type[Exception], message: str
    ) -> None:
        with pytest.raises(error, match=message):
            pipe(pictures(1), **arguments)

    def test_settings_are_checked_before_the_model_runs(
        self, pipe: LRMPipeline, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pipe.model, "forward", None)
        for arguments in ({"output_type": "x"}, {"mesh_resolution": 8}, {"num_views": -1}, {"mesh_threshold": 0.0}):
            with pytest.raises(ValueError, match=next(iter(arguments))):
                pipe(pictures(1), **arguments)

    def test_pictures_are_named(self, pipe: LRMPipeline, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="images: the list is empty"):
            pipe([])
        with pytest.raises(FileNotFoundError, match=r"images\[1\]: no file at"):
            pipe([pictures(1)[0], str(tmp_path / "absent.png")])
        with pytest.raises(TypeError, match="images: int; expected a PIL image"):
            pipe(3)

    def test_render_and_extract_mesh(self, pipe: LRMPipeline, two: LRMPipelineOutput) -> None:
        with pytest.raises(TypeError, match="`field` must be a TriplaneField, got Tensor"):
            pipe.render(two.field.planes)
        with pytest.raises(TypeError, match="`field` must be a TriplaneField, got LRMPipelineOutput"):
            pipe.extract_mesh(two)
        with pytest.raises(ValueError, match="`output_type` must be one of 'pil', 'np', 'pt', got 'mesh'"):
            pipe.render(two.field, output_type="mesh")
        with pytest.raises(ValueError, match="`chunk_size` must be at least 1, got 0"):
            pipe.extract_mesh(two.field, chunk_size=0)


class TestSaveAndLoad:
    def test_files(self, saved: Path) -> None:
        files = {str(path.relative_to(saved)) for path in saved.rglob("*") if path.is_file()}
        assert files == {
            "README.md",
            "image_processor/preprocessor_config.json",
            "model/config.json",
            "model/model.safetensors",
            "model/modeling_lrm.py",
            "model_index.json",
            "pipeline.py",
        }
        index = json.loads((saved / "model_index.json").read_text())
        assert index["_class_name"] == "LRMPipeline"
        assert index["model"] == ["lrm_hf", "LRMModel"]
        assert index["image_processor"] == ["lrm_hf", "LRMImageProcessor"]
        card = (saved / "README.md").read_text()
        assert "library_name: lrm_hf" in card
        assert "pipeline_tag: image-to-3d" in card

    def test_round_trip_is_bit_identical(self, pipe: LRMPipeline, saved: Path, threshold: float) -> None:
        loaded = LRMPipeline.from_pretrained(saved)
        loaded.set_progress_bar_config(disable=True)
        assert not loaded.model.training
        assert loaded.image_processor.to_dict() == pipe.image_processor.to_dict()
        arguments = {"mesh_threshold": threshold, "mesh_resolution": 20, **SMALL}
        before, after = pipe(pictures(2), **arguments), loaded(pictures(2), **arguments)
        assert torch.equal(before.field.planes, after.field.planes)
        np.testing.assert_array_equal(np.asarray(before.frames[1][1]), np.asarray(after.frames[1][1]))
        np.testing.assert_array_equal(before.depth, after.depth)
        for mesh, other in zip(before.meshes, after.meshes, strict=True):
            np.testing.assert_array_equal(mesh.vertices, other.vertices)
            np.testing.assert_array_equal(mesh.faces, other.faces)
            np.testing.assert_array_equal(mesh.visual.vertex_colors, other.visual.vertex_colors)

    def test_diffusion_pipeline_in_a_program_that_does_not_know_us(self, saved: Path) -> None:
        code = (
            "import sys; from diffusers import DiffusionPipeline; assert 'lrm_hf' not in sys.modules;"
            f"pipe = DiffusionPipeline.from_pretrained({str(saved)!r}, custom_pipeline={str(saved)!r},"
            " trust_remote_code=True); print(type(pipe).__module__, type(pipe.model).__name__)"
        )
        env = {**os.environ, "PYTHONPATH": str(Path(lrm_hf.__file__).parent.parent)}
        process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=env)
        assert process.returncode == 0, process.stderr
        assert process.stdout.split() == ["lrm_hf.pipelines.pipeline_lrm", "LRMModel"]

    def test_importing_the_pipeline_registers_the_library(self) -> None:
        """diffusers' table is no public interface: this is the alarm for when it moves."""
        methods = ["save_pretrained", "from_pretrained"]
        assert LOADABLE_CLASSES["lrm_hf"] == {"PreTrainedModel": methods, "ImageProcessingMixin": methods}
        assert LOADABLE_CLASSES["transformers"]["PreTrainedModel"] == methods
        for base in LOADABLE_CLASSES["lrm_hf"]:
            assert isinstance(getattr(lrm_hf, base), type)

    def test_dtype(self, saved: Path, two: LRMPipelineOutput, tmp_path: Path) -> None:
        half = LRMPipeline.from_pretrained(saved, dtype=torch.float16)
        half.set_progress_bar_config(disable=True)
        assert half.model.dtype == torch.float16
        out = half(pictures(2), output_type="pt", **SMALL)
        assert out.frames.dtype == out.field.planes.dtype == torch.float32
        torch.testing.assert_close(out.frames, two.frames, atol=0.02, rtol=0)  # 11 bits, over some layers
        assert not torch.equal(out.frames, two.frames)
        assert LRMPipeline.from_pretrained(saved, dtype="bfloat16").model.dtype == torch.bfloat16
        assert LRMPipeline.from_pretrained(saved, dtype={"model": torch.float16}).model.dtype == torch.float16

        half.save_pretrained(tmp_path, variant="fp16")
        assert (tmp_path / "model" / "model.fp16.safetensors").is_file()
        assert LRMPipeline.from_pretrained(tmp_path, variant="fp16").model.dtype == torch.float32
        assert LRMPipeline.from_pretrained(tmp_path, variant="fp16", dtype="auto").model.dtype == torch.float16
        with pytest.raises(ValueError, match="`dtype` must be a floating point type .*got 'float61'"):
            LRMPipeline.from_pretrained(saved, dtype="float61")

    def test_to_casts_and_moves(self, saved: Path, two: LRMPipelineOutput) -> None:
        pipe = LRMPipeline.from_pretrained(saved).to(torch.float16)
        pipe.set_progress_bar_config(disable=True)
        assert pipe.model.dtype == torch.float16
        frames = pipe(pictures(2), output_type="pt", **SMALL).frames
        torch.testing.assert_close(frames, two.frames, atol=0.02, rtol=0)
        assert pipe.to("cpu", torch.float32).model.dtype == torch.float32
        assert pipe.device == torch.device("cpu")

    def test_device_map_and_component_override(self, saved: Path, pipe: LRMPipeline, two: LRMPipelineOutput) -> None:
        processor = LRMImageProcessor(size=IMAGE_SIZE, foreground_ratio=0.6)
        loaded = LRMPipeline.from_pretrained(saved, device_map="cpu", image_processor=processor)
        assert loaded.image_processor is processor
        out = loaded(pictures(2), output_type="field", foreground_ratio=0.85)
        assert torch.equal(out.field.planes, two.field.planes)
        other = LRMPipeline.from_pretrained(saved, model=pipe.model)
        assert other.model is pipe.model

    def test_model_cpu_offload(self, saved: Path, two: LRMPipelineOutput) -> None:
        """On the CPU for want of another device: hooks are set and reset, and nothing bypasses them."""
        pipe = LRMPipeline.from_pretrained(saved)
        pipe.enable_model_cpu_offload(device="cpu")
        calls = []
        hook = pipe.model._hf_hook
        before = hook.pre_forward
        hook.pre_forward = lambda *args, **kwargs: calls.append(1) or before(*args, **kwargs)
        for _ in range(2):
            assert torch.equal(pipe(pictures(2), output_type="field").field.planes, two.field.planes)
        assert calls == [1], "the first call went through the hook, and then set fresh ones"
        assert pipe.model._hf_hook is not hook

    def test_sharded(self, pipe: LRMPipeline, two: LRMPipelineOutput, tmp_path: Path) -> None:
        pipe.save_pretrained(tmp_path, max_shard_size="100KB")
        assert len(list((tmp_path / "model").glob("model-*-of-*.safetensors"))) > 1
        loaded = LRMPipeline.from_pretrained(tmp_path)
        assert torch.equal(loaded(pictures(2), output_type="field").field.planes, two.field.planes)

    def test_save_keeps_a_model_card_and_refuses_pickles(self, pipe: LRMPipeline, tmp_path: Path) -> None:
        (tmp_path / "README.md").write_text("mine")
        pipe.save_pretrained(tmp_path)
        assert (tmp_path / "README.md").read_text() == "mine"
        with pytest.raises(ValueError, match="`safe_serialization` must be True"):
            pipe.save_pretrained(tmp_path, safe_serialization=False)
        with pytest.raises(TypeError, match="'repo_id' without `push_to_hub=True`"):
            pipe.save_pretrained(tmp_path, repo_id="me/x")


class TestOtherLayouts:
    def test_a_saved_model_alone(
        self, pipe: LRMPipeline, two: LRMPipelineOutput, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        pipe.model.save_pretrained(tmp_path)
        loaded = LRMPipeline.from_pretrained(tmp_path)
        assert loaded.image_processor.size == {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
        assert torch.equal(loaded(pictures(2), output_type="field").field.planes, two.field.planes)

        LRMImageProcessor(size=IMAGE_SIZE, foreground_ratio=0.7).save_pretrained(tmp_path)
        loaded = LRMPipeline.from_pretrained(tmp_path, dtype=torch.float16, device_map="cpu")
        assert loaded.image_processor.foreground_ratio == 0.7
        assert loaded.model.dtype == torch.float16
        with pytest.raises(TypeError, match=r"got max_memory, which does not apply .* it holds no saved pipeline"):
            LRMPipeline.from_pretrained(tmp_path, max_memory={})

    def test_an_original_checkpoint(self, tmp_path: Path) -> None:
        original = write_openlrm(tmp_path)
        encoder = dict(TINY_ENCODER)
        pipe = LRMPipeline.from_pretrained(
            str(tmp_path), encoder_config=CONFIG_MAPPING[encoder.pop("model_type")](**encoder)
        )
        assert type(pipe.model) is LRMModel
        assert not pipe.image_processor.do_recenter
        out = pipe(pictures(1), output_type="field")
        pixel_values = pipe.image_processor(pictures(1), return_tensors="pt").pixel_values
        # products are summed in another order where weights lie otherwise in memory; values go up to 5
        with torch.no_grad():
            torch.testing.assert_close(out.field.planes, original.encode(pixel_values).planes, atol=1e-5, rtol=0)

        pipe.save_pretrained(tmp_path / "ours")
        again = LRMPipeline.from_pretrained(tmp_path / "ours")(pictures(1), output_type="field")
        torch.testing.assert_close(again.field.planes, out.field.planes, atol=1e-5, rtol=0)

    def test_nothing_to_load(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="There is no directory '/no/such/place'"):
            LRMPipeline.from_pretrained("/no/such/place")
        with pytest.raises(OSError, match="There is no directory './nowhere'"):
            LRMPipeline.from_pretrained("./nowhere")
        with pytest.raises(OSError, match="not the name of a Hub repository either"):
            LRMPipeline.from_pretrained("no such name!")
        with pytest.raises(OSError, match="no model_index.json .* and no config.json"):
            LRMPipeline.from_pretrained(tmp_path)
        (tmp_path / "config.json").write_text('{"model_type": "bert"}')
        with pytest.raises(OSError, match="a config.json of model type 'bert'"):
            LRMPipeline.from_pretrained(tmp_path)
        (tmp_path / "config.json").write_text("{")
        with pytest.raises(OSError, match="config.json of .* is not valid JSON"):
            LRMPipeline.from_pretrained(tmp_path)
        (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline", "model": ["a", "b"]}')
        with pytest.raises(ValueError, match="is a FluxPipeline, not an LRMPipeline: .* no image_processor"):
            LRMPipeline.from_pretrained(tmp_path)

    def test_home_directory(self, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(saved.parent))
        assert LRMPipeline.from_pretrained("~/tiny").model.config.hidden_size == tiny_config().hidden_size

    def test_the_bundled_model(self) -> None:
        pipe = LRMPipeline.from_pretrained(lrm_hf.bundled_model())
        pipe.set_progress_bar_config(disable=True)
        assert pipe.model.dtype == torch.float32
        out = pipe(pictures(1), height=24, width=24, num_views=2, mesh_resolution=32)
        assert len(out.meshes[0].faces) > 20
        assert 0.02 < out.opacity[0, 0].mean() < 0.95
