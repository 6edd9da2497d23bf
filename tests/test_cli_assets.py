# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""lrm-hf render and lrm-hf mesh: what they write is what the library makes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
import trimesh
from diffusers.utils import logging as diffusers_logging
from tiny_models import pictures, tiny_pipeline
from transformers.utils import logging as transformers_logging

from lrm_hf import LRMPipeline, TriplaneField, cli, orbit_cameras
from lrm_hf.camera_paths import interpolate_cameras
from lrm_hf.cameras import Cameras
from lrm_hf.commands.render import parse_keyframes
from lrm_hf.views import channel_picture, render_channels


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("cli_assets") / "model"
    pipe = tiny_pipeline()
    pipe.model.config.field_config.density_threshold = 0.5
    pipe.save_pretrained(directory)
    return str(directory)


@pytest.fixture(scope="module")
def field(model: str) -> TriplaneField:
    pipe = LRMPipeline.from_pretrained(model)
    return pipe(pictures(1)[0], output_type="field").field


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: TriplaneField) -> Path:
    """The working directory, with a picture and its field in it."""
    pictures(1)[0].save(tmp_path / "disc.png")
    field.save(tmp_path / "saved.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def _libraries_talk_as_before() -> object:
    before = [(module, module.get_verbosity()) for module in (diffusers_logging, transformers_logging)]
    yield
    for module, verbosity in before:
        module.set_verbosity(verbosity)
        module.enable_progress_bar()


def run(verb: str, *arguments: str) -> int:
    return cli.main([verb, *arguments, "-o", "out", "--device", "cpu"])


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


class TestRender:
    def test_pictures_are_the_librarys(self, model: str, work: Path, field: TriplaneField, capsys) -> None:
        options = ["--model", model, "--views", "2", "--size", "16", "--elevation", "10", "--azimuth", "30"]
        assert run("render", "disc.png", *options, "--channels", "rgb", "rgba", "depth", "normals", "opacity") == 0
        names = [f"disc_{name}_00{n}.png" for name in ("rgb", "rgba", "depth", "normals", "opacity") for n in (0, 1)]
        assert capsys.readouterr().out.split() == [str(Path("out", name)) for name in names]
        assert files(work / "out") == sorted(names)
        config = LRMPipeline.from_pretrained(model).model.config
        cameras = orbit_cameras(
            2, 10.0, config.source_camera_distance, config.source_camera_focal, config.source_camera_azimuth + 30.0
        )
        made = render_channels(field, cameras, 16, 16)
        for channel, values in made.items():
            for view in range(2):
                written = PIL.Image.open(work / "out" / f"disc_{channel}_00{view}.png")
                expected = channel_picture(channel, values[0, view])
                assert written.mode == expected.mode
                np.testing.assert_array_equal(np.asarray(written), np.asarray(expected))

    def test_arrays_and_cameras(self, work: Path, field: TriplaneField) -> None:
        """A saved field, without any model, along keyframes."""
        path = ["--keyframes", "0,20;90,40,3", "--views", "3", "--distance", "2", "--focal", "0.8"]
        options = ["--as", "npz", "--size", "16", "--background", "black", "--channels", "depth", "rgb"]
        assert run("render", "saved.safetensors", *path, *options) == 0
        ends = [orbit_cameras(1, 20.0, 2.0, 0.8), orbit_cameras(1, 40.0, 3.0, 0.8, azimuth_start=90.0)]
        keyframes = Cameras(*(torch.cat([getattr(end, name) for end in ends]) for name in ("cam2world", "intrinsics")))
        cameras = interpolate_cameras(keyframes, 3)
        made = render_channels(field, cameras, 16, 16, background=0.0)
        with np.load(work / "out" / "saved_views.npz") as arrays:
            assert sorted(arrays) == ["cam2world", "depth", "intrinsics", "rgb"]
            np.testing.assert_allclose(arrays["cam2world"], cameras.cam2world, atol=1e-6)
            np.testing.assert_allclose(arrays["intrinsics"], cameras.intrinsics, atol=1e-6)
            np.testing.assert_allclose(arrays["rgb"], made["rgb"][0], atol=1e-5)

    def test_videos_and_sheets(self, work: Path) -> None:
        imageio = pytest.importorskip("imageio.v2")
        kinds = ["mp4", "gif", "webp", "sheet"]
        options = ["--views", "4", "--size", "16", "--fps", "10", "--channels", "rgb", "depth"]
        assert run("render", "saved.safetensors", "--as", *kinds, *options) == 0
        for channel in ("rgb", "depth"):
            with imageio.get_reader(work / f"out/saved_{channel}.mp4") as reader:
                meta = reader.get_meta_data()
                assert (meta["fps"], meta["codec"]) == (10, "h264")
                assert [frame.shape for frame in reader] == [(16, 16, 3)] * 4
            for kind in ("gif", "webp"):
                with PIL.Image.open(work / f"out/saved_{channel}.{kind}") as opened:
                    opened.load()
                    assert (opened.size, opened.info["duration"], opened.n_frames) == ((16, 16), 100, 4)
            assert PIL.Image.open(work / f"out/saved_{channel}_sheet.png").size == (2 * 20 + 4,) * 2
        assert len(files(work / "out")) == 8

    def test_cameras_from_a_file(self, work: Path, field: TriplaneField) -> None:
        entries = [{"position": [0, -2, 0.5]}, {"position": [2, 0, 0.5], "focal": 1.0}]
        (work / "path.json").write_text(json.dumps({"cameras": entries}))
        assert run("render", "saved.safetensors", "--cameras", "path.json", "--as", "npz", "--size", "16") == 0
        with np.load(work / "out" / "saved_views.npz") as arrays:
            np.testing.assert_allclose(arrays["cam2world"][:, :3, 3], [[0, -2, 0.5], [2, 0, 0.5]], atol=1e-6)
            np.testing.assert_allclose(arrays["intrinsics"][:, 0, 0], [0.75, 1.0])

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--keyframes", "0,20"], "--keyframes: give two or more"),
            (["--keyframes", "0,20;x"], "'x' is not AZIMUTH,ELEVATION"),
            (["--keyframes", "0,20;0,91"], "'0,91' is not AZIMUTH,ELEVATION"),
            (["--keyframes", "0,20;9,9", "--cameras", "path.json"], "give one of --keyframes and --cameras"),
            (["--cameras", "path.json"], "path.json"),
        ],
    )
    def test_bad_paths_stop_before_anything_is_made(self, work: Path, options: list[str], message: str, capsys) -> None:
        assert run("render", "saved.safetensors", *options) == 2
        assert message in capsys.readouterr().err
        assert not (work / "out").exists()

    def test_keyframes_by_hand(self) -> None:
        assert parse_keyframes("-10,20; 30,40,2.5") == [(-10.0, 20.0), (30.0, 40.0, 2.5)]


class TestMesh:
    def test_every_step_and_format(self, model: str, work: Path, capsys) -> None:
        for needed in ("xatlas", "pxr", "fast_simplification"):
            pytest.importorskip(needed)
        formats = ["glb", "gltf", "obj", "ply", "stl", "usdz"]
        steps = ["--largest-component", "--smooth", "2", "--faces", "200", "--watertight", "--texture", "64"]
        placed = ["--normal-map", "--ground", "--height", "0.5"]
        options = ["--model", model, "--resolution", "24", *steps, *placed]
        assert run("mesh", "disc.png", *options, "--format", *formats, "--json") == 0
        report = json.loads(capsys.readouterr().out)
        (done,) = report["done"]
        assert report["failed"] == []
        assert done["files"] == [str(Path("out", f"disc.{name}")) for name in formats]
        beside = ["disc.mtl", "disc_color.png", "disc_normal.png"]
        assert files(work / "out") == sorted([*(f"disc.{name}" for name in formats), *beside])
        names = ["largest_component", "smooth", "simplify", "make_watertight", "bake_texture", "ground", "rescale"]
        assert [step["step"] for step in done["mesh"]["steps"]] == names
        assert done["mesh"]["texture"] == 64
        opened = trimesh.load(work / "out" / "disc.glb", force="mesh", process=False)
        assert len(opened.faces) == done["mesh"]["faces"] <= 210
        assert opened.bounds[0, 1] == pytest.approx(0, abs=1e-7)  # y up
        assert opened.extents[1] == pytest.approx(0.5, abs=1e-6)
        assert opened.visual.material.baseColorTexture.size == (64, 64)
        assert opened.visual.material.normalTexture.size == (64, 64)
        printable = trimesh.load(work / "out" / "disc.stl", force="mesh")
        assert printable.is_watertight

    def test_plain_is_the_pipelines_mesh(self, model: str, work: Path, field: TriplaneField, capsys) -> None:
        assert run("mesh", "disc.png", "--model", model, "--resolution", "20", "--format", "ply") == 0
        assert capsys.readouterr().out.split() == [str(Path("out/disc.ply"))]
        mesh = LRMPipeline.from_pretrained(model).extract_mesh(field, 20)[0]
        written = trimesh.load(work / "out/disc.ply", process=False)
        np.testing.assert_allclose(written.vertices, mesh.vertices, atol=1e-6)
        np.testing.assert_array_equal(written.visual.vertex_colors, mesh.visual.vertex_colors)

    def test_saved_fields_need_no_model(self, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*args: object, **kwargs: object) -> None:
            raise AssertionError("a model was loaded")

        monkeypatch.setattr(LRMPipeline, "from_pretrained", refuse)
        assert run("mesh", "saved.safetensors", "--resolution", "16", "--threshold", "0.5") == 0
        assert files(work / "out") == ["saved.glb"]

    def test_failures_in_json(self, work: Path, field: TriplaneField, capsys) -> None:
        (work / "bad.safetensors").write_bytes(b"nothing")
        both = TriplaneField(field.planes.repeat(2, 1, 1, 1, 1), field.weights, field.biases, field.config)
        both.save(work / "two.safetensors")
        options = ["--resolution", "16", "--threshold", "0.5", "--json"]
        assert run("mesh", "bad.safetensors", "two.safetensors", "saved.safetensors", *options) == 1
        printed = capsys.readouterr()
        report = json.loads(printed.out)
        assert [entry["picture"] for entry in report["done"]] == ["saved.safetensors"]
        assert [entry["picture"] for entry in report["failed"]] == ["bad.safetensors", "two.safetensors"]
        assert "can't be read as safetensors" in report["failed"][0]["error"]
        assert "holds 2 fields" in report["failed"][1]["error"]
        assert "2 of 3 pictures failed" in printed.err

    def test_a_picture_beside_its_texture_is_not_replaced(self, model: str, work: Path) -> None:
        pytest.importorskip("xatlas")
        (work / "out").mkdir()
        (work / "disc.png").rename(work / "out" / "disc.png")
        pictures(1)[0].save(work / "out" / "disc_color.png")
        before = {name: (work / "out" / name).read_bytes() for name in ("disc.png", "disc_color.png")}
        options = ["--model", model, "--resolution", "16", "--texture", "64", "--format", "obj"]
        assert run("mesh", "out/disc.png", "out/disc_color.png", *options) == 0
        assert {name: (work / "out" / name).read_bytes() for name in before} == before
        assert (work / "out" / "disc_2.obj").exists()

    def test_a_normal_map_without_a_texture(self, work: Path, capsys) -> None:
        assert run("mesh", "saved.safetensors", "--normal-map") == 2
        assert "give --texture PX as well" in capsys.readouterr().err


def test_generate_takes_the_same_options(model: str, work: Path, capsys) -> None:
    pytest.importorskip("xatlas")
    sizes = ["--resolution", "20", "--views", "2", "--view-size", "16"]
    steps = ["--largest-component", "--faces", "1500", "--texture", "64", "--format", "gltf", "--json"]
    assert run("generate", "disc.png", "--model", model, *sizes, *steps) == 0
    (done,) = json.loads(capsys.readouterr().out)["done"]
    assert done["files"] == [str(Path("out/disc_views.png")), str(Path("out/disc.gltf"))]
    assert done["mesh"]["faces"] <= 1500
    assert files(work / "out") == ["disc.gltf", "disc_views.png"]
