# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Furniture libraries unpacked, on one made here."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from lrm_hf.training import furniture_library
from lrm_hf.training.furniture_library import read_catalogue
from lrm_hf.training.mesh_objects import load_object


CATALOGUE = r"""# a comment
id=Test#Models
license=CC BY 3.0

id#1=Test#box
name#1=Caf\u00e9\ table
model#1=/test/box/box.obj
doorOrWindow#1=false
creator#1=Somebody

id#2=Test#turned
name#2=Turned
model#2=/test/turned/turned.obj
modelRotation#2=1 0 0 0 0 1 0 -1 0
creator#2=Somebody else

id#3=Test#door
model#3=/test/door/door.obj
doorOrWindow#3=true

id#10=Test#plate
model#10=/test/plate/plate.obj

id#11=Test#switch-1
model#11=/test/switch-1/switch-1.obj
"""


@pytest.fixture
def library(tmp_path) -> Path:
    """A box of 2 x 2 x 1 with a red texture, half transparent; the same lying on its back; others to be left out."""
    folder = tmp_path / "source" / "test"
    for name, extents in (
        ("box", (2, 2, 1)),
        ("turned", (2, 2, 1)),
        ("door", (1, 2, 1)),
        ("plate", (1, 1, 0.01)),
        ("switch-1", (1, 1, 1)),
    ):
        (folder / name).mkdir(parents=True)
        mesh = trimesh.creation.box(extents=extents)
        picture = Image.new("RGB", (512, 300), (255, 0, 0))
        material = trimesh.visual.material.SimpleMaterial(image=picture, diffuse=(255, 255, 255, 255))
        mesh.visual = trimesh.visual.TextureVisuals(uv=np.zeros((len(mesh.vertices), 2)) + 0.5, material=material)
        mesh.apply_translation((5, 0, 0))
        mesh.export(folder / name / f"{name}.obj", mtl_name=f"{name}.mtl")
        description = folder / name / f"{name}.mtl"
        description.write_text(description.read_text() + "\nd 0.5\n")
    path = tmp_path / "Test.sh3f"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(furniture_library.CATALOGUE, CATALOGUE)
        for file in (tmp_path / "source").rglob("*.*"):
            archive.write(file, file.relative_to(tmp_path / "source"))
    return path


def run(*arguments: object) -> int:
    return furniture_library.main([str(argument) for argument in arguments])


def test_the_catalogue_is_read_with_its_escapes(library):
    with zipfile.ZipFile(library) as archive:
        entries = read_catalogue(archive)
    assert [entry.stem for entry in entries] == ["box", "turned", "door", "plate", "switch-1"]
    assert entries[0].name == "Café table"
    assert [entry.opening for entry in entries] == [False, False, True, False, False]
    assert {entry.licence for entry in entries} == {"CC BY 3.0"}


def test_objects_are_turned_normalised_opaque_and_attributed(library, tmp_path):
    output = tmp_path / "out"
    assert run(library, output, "--leave-out", "switch-*") == 0
    assert sorted(path.name for path in output.iterdir()) == ["ATTRIBUTION.tsv", "box.glb", "turned.glb"]
    rows = [line.split("\t") for line in (output / "ATTRIBUTION.tsv").read_text(encoding="utf-8").splitlines()]
    assert rows == [
        ["object", "name", "creator", "library", "licence"],
        ["box", "Café table", "Somebody", "Test", "CC BY 3.0"],
        ["turned", "Turned", "Somebody else", "Test", "CC BY 3.0"],
    ]
    # y up and z towards the viewer in the files: x, depth and height are 2, 1, 2, and half the diagonal was 1.5
    box = load_object(output / "box.glb", normalize=False)
    assert box.bounds[1] == pytest.approx(np.array([2, 1, 2]) / 3, abs=1e-6)
    assert box.bounds[0] == pytest.approx(np.array([-2, -1, -2]) / 3, abs=1e-6)
    assert box.colours.min() == 1 and [texture.shape[:2] for texture in box.textures] == [(150, 256)]
    assert box.textures[0][0, 0].tolist() == [1, 0, 0, 1]
    # the rotation takes y to -z and z to y
    turned = load_object(output / "turned.glb", normalize=False)
    assert turned.bounds[1] == pytest.approx(np.array([2, 2, 1]) / 3, abs=1e-6)


def test_what_other_folders_hold_is_left_out(library, tmp_path):
    assert run(library, tmp_path / "first", "--leave-out", "switch-*", "turned") == 0
    assert run(library, tmp_path / "second", "--without", tmp_path / "first", "--thinnest", 0) == 0
    assert sorted(path.stem for path in (tmp_path / "second").glob("*.glb")) == ["plate", "switch-1", "turned"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda archive: archive.unlink(), "not a zip archive"),
        (lambda archive: archive.write_bytes(b"no"), "not a zip archive"),
        (lambda archive: zipfile.ZipFile(archive, "w").close(), "it holds no PluginFurnitureCatalog.properties"),
        (lambda archive: _only(archive, "model#1=/a/b.obj\n"), "which the library does not hold"),
        (lambda archive: _only(archive, "model#1=/a/b.obj\nmodelRotation#1=1 0\n"), "must have 9 numbers, got 2"),
    ],
)
def test_libraries_that_are_none_are_refused(library, tmp_path, capsys, change, message):
    change(library)
    with pytest.raises(SystemExit) as error:
        run(library, tmp_path / "out")
    assert error.value.code == 2
    assert message in capsys.readouterr().err


def _only(path: Path, catalogue: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(furniture_library.CATALOGUE, catalogue)


def test_bad_arguments_are_refused(library, tmp_path, capsys):
    for arguments, message in (
        (["--thinnest", 2], "--thinnest must lie in [0, 1], got 2.0"),
        (["--without", tmp_path / "nowhere"], "is not a folder"),
    ):
        with pytest.raises(SystemExit) as error:
            run(library, tmp_path / "out", *arguments)
        assert error.value.code == 2
        assert message in capsys.readouterr().err
