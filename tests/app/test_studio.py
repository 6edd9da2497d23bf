# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The work behind page and endpoint: the pipeline's own numbers, settings, adapters, and what is refused."""

from __future__ import annotations

import zipfile
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
import trimesh
from app_parts import save_model, small_studio
from peft import get_peft_model
from tiny_models import pictures

import lrm_hf
from lrm_hf import LRMPipeline
from lrm_hf.app.limits import Limits
from lrm_hf.app.studio import MeshSettings, PictureSettings, Studio, file_stem, parse_adapters


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_model(tmp_path_factory.mktemp("studio") / "model")


@pytest.fixture(scope="module")
def studio(model: str) -> Studio:
    return small_studio(model)


@pytest.fixture(scope="module")
def adapter(model: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """One that changes something."""
    directory = tmp_path_factory.mktemp("adapters") / "mine"
    wrapped = get_peft_model(LRMPipeline.from_pretrained(model).model, lrm_hf.lora_config("decoder", rank=2))
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(1))
    wrapped.save_pretrained(directory)
    return str(directory)


def test_same_numbers_as_the_pipeline(model: str, studio: Studio) -> None:
    picture = pictures(1)[0]
    pipe = LRMPipeline.from_pretrained(model)
    out = pipe(picture, mesh_resolution=32, num_views=0, foreground_ratio=0.7)
    made = studio.make(picture, settings=PictureSettings(foreground_ratio=0.7))
    assert torch.equal(made.field.planes, out.field.planes)
    mesh = studio.mesh(made, MeshSettings(resolution=32))
    np.testing.assert_array_equal(mesh.vertices, out.meshes[0].vertices)
    np.testing.assert_array_equal(np.asarray(made.seen), np.asarray(out.images[0]))
    assert set(made.seconds) == {"load", "cut out", "reconstruct", "mesh"}


def test_cut_out_follows_the_settings(studio: Studio) -> None:
    picture = pictures(1)[0]  # a disc, cut out
    white = np.asarray(studio.see(picture))
    black = np.asarray(studio.see(picture, settings=PictureSettings(background="black")))
    assert white[0, 0].tolist() == [255, 255, 255] and black[0, 0].tolist() == [0, 0, 0]
    shares = []
    for ratio in (0.5, 1.0):
        seen = np.asarray(studio.see(picture, settings=PictureSettings(ratio, "black")))
        shares.append((seen.max(axis=2) > 0).any(axis=0).mean())
    # the disc's width over that of the frame of 32 pixels; antialiasing adds up to a pixel on either side
    assert shares[0] == pytest.approx(0.5, abs=2 / 32) and shares[1] == 1.0


def test_each_step_of_the_mesh(studio: Studio) -> None:
    made = studio.make(pictures(1)[0])
    plain = studio.mesh(made, MeshSettings(resolution=32))
    small = studio.mesh(made, MeshSettings(resolution=32, target_faces=5000))
    assert len(plain.faces) > 5000 >= len(small.faces)
    small = studio.mesh(
        made, MeshSettings(resolution=32, target_faces=5000, largest_component=True, watertight=True, ground=True)
    )
    assert small.is_watertight
    assert small.bounds[0, 2] == pytest.approx(0, abs=1e-9)
    assert [step["step"] for step in small.metadata["steps"]] == [
        "largest_component",
        "simplify",
        "make_watertight",
        "ground",
    ]
    assert len(studio.mesh(made, MeshSettings(resolution=16)).faces) < len(plain.faces)


def test_every_format_is_a_file_that_opens(studio: Studio) -> None:
    made = studio.make(pictures(1)[0], "my_thing")
    with pytest.raises(ValueError, match="my_thing has no mesh yet"):
        studio.write(made, "glb")
    mesh = studio.mesh(made, MeshSettings(resolution=16, target_faces=3000))
    for suffix in ("glb", "obj", "ply", "stl"):
        path = studio.write(made, suffix)
        assert path == made.directory / f"my_thing.{suffix}"
        assert len(trimesh.load(path, force="mesh").faces) == len(mesh.faces)


def test_textured_obj_comes_as_a_zip(studio: Studio) -> None:
    made = studio.make(pictures(1)[0], "my_thing")
    mesh = studio.mesh(made, MeshSettings(resolution=16, target_faces=3000, texture=64))
    assert mesh.visual.kind == "texture"
    with zipfile.ZipFile(studio.write(made, "obj")) as archive:
        names = set(archive.namelist())
        assert {"my_thing.obj", "my_thing.mtl", "my_thing_color.png"} <= names
        text = archive.read("my_thing.obj").decode()
    assert text.count("\nf ") == len(mesh.faces)
    assert "\nvt " in text


def test_turntable_is_a_whole_turn(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lrm_hf.app.studio.TURNTABLE_FRAMES", 6)
    monkeypatch.setattr("lrm_hf.app.studio.TURNTABLE_SIZE", 32)
    made = studio.make(pictures(1)[0])
    frames = imageio.imread(studio.turntable(made))
    assert frames.shape == (6, 32, 32, 3)
    assert np.abs(frames[0].astype(int) - frames[3]).max() > 30  # front and back differ


def test_adapters_apply_to_their_object_alone(studio: Studio, adapter: str) -> None:
    picture = pictures(1)[0]
    plain = studio.make(picture).field.planes
    full = studio.make(picture, adapters=[(adapter, 1.0)]).field.planes
    half = studio.make(picture, adapters=[(adapter, 0.5)]).field.planes
    assert torch.equal(studio.make(picture).field.planes, plain)  # nothing is left of them
    assert 0 < (half - plain).norm() < (full - plain).norm()
    with pytest.raises(OSError, match="no directory"):
        studio.make(picture, adapters=[(adapter, 1.0), ("./nowhere", 1.0)])
    assert torch.equal(studio.make(picture).field.planes, plain)


def test_strangers_choose_among_what_is_listed(model: str, adapter: str, tmp_path: Path) -> None:
    other = save_model(tmp_path / "other", seed=1)
    studio = small_studio(model, any_model=False, adapters=[adapter])
    assert studio.load("") is studio.load(model)
    with pytest.raises(ValueError, match="`model` must be one of"):
        studio.load(other)
    with pytest.raises(ValueError, match="`model` must be one of"):
        studio.see(pictures(1)[0], other)
    studio.make(pictures(1)[0], adapters=[(adapter, 1.0)])
    with pytest.raises(ValueError, match="adapters that may be asked for"):
        studio.make(pictures(1)[0], adapters=[(str(tmp_path), 1.0)])


def test_models_in_memory_are_bounded(model: str, tmp_path: Path) -> None:
    other = save_model(tmp_path / "other", seed=1)
    studio = Studio([model, other], keep_models=1)
    first = studio.load()
    assert studio.load(model) is first
    studio.load(other)
    assert studio.load(model) is not first
    both = Studio([model, other], keep_models=2)
    first = both.load()
    both.load(other)
    assert both.load() is first


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resolution": 65}, "`resolution` must be from 16 to 64, got 65"),
        ({"resolution": 32.0}, "`resolution` must be a whole number"),
        ({"threshold": float("nan")}, "`threshold`"),
        ({"target_faces": 99}, "`target_faces` must be from 100"),
        ({"texture": 4096, "target_faces": 500}, "`texture` must be from 64 to 2048"),
        ({"texture": 512}, "`texture` needs `target_faces` of at most 100,000"),
        ({"smooth": 101}, "`smooth`"),
    ],
)
def test_settings_out_of_range(settings: dict, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        MeshSettings(**{"resolution": 32, **settings}).check(Limits(resolution=64))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"foreground_ratio": 1.01}, "`foreground_ratio` must be from 0.1 to 1"),
        ({"foreground_ratio": True}, "`foreground_ratio` must be a number"),
        ({"background": "pink"}, "`background` must be one of model, white, grey, black, got 'pink'"),
        ({"cut_out": "magic"}, "`cut_out` must be one of"),
    ],
)
def test_picture_settings_out_of_range(settings: dict, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        PictureSettings(**settings)


def test_adapters_from_text() -> None:
    text = "me/style 0.8\n\n  ./my folder  \n./my folder -2\nme/nan\n"
    assert parse_adapters(text) == [("me/style", 0.8), ("./my folder", 1.0), ("./my folder", -2.0), ("me/nan", 1.0)]
    for wrong in ("0.8", "me/style inf", "me/style nan"):
        with pytest.raises(ValueError, match="expected an adapter and a factor"):
            parse_adapters(wrong)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("/tmp/My Owl (1).PNG", "My_Owl__1"),
        ("../../etc/passwd", "passwd"),
        ("....", "object"),
        ("Eule_ä.jpg", "Eule_ä"),
    ],
)
def test_stems(name: str, stem: str) -> None:
    assert file_stem(name) == stem
