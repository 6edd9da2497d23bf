"""Mesh files, read back by hand and by trimesh."""

from __future__ import annotations

import base64
import copy
import io
import json
import os
import pickle
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from lrm_hf.meshing import EXPORT_FORMATS, LRMMesh, export_mesh


EXTENTS = np.array([1.0, 0.6, 1.6])
COMPONENTS = {5123: np.uint16, 5125: np.uint32, 5126: np.float32}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}


@pytest.fixture
def mesh() -> LRMMesh:
    """An ellipsoid off the origin, coloured by position: red grows to the right, green backwards, blue upwards."""
    ball = trimesh.creation.icosphere(subdivisions=2, radius=0.5)
    position = ball.vertices + 0.5
    rgba = np.column_stack([np.round(255 * position), np.full(len(position), 255)]).astype(np.uint8)
    return LRMMesh(ball.vertices * EXTENTS + [0.1, 0.2, 0.3], ball.faces, vertex_colors=rgba, process=False)


def parse_glb(data: bytes) -> tuple[dict, bytes]:
    """JSON and binary chunk of a GLB, straight from the specification."""
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    json_length, json_type = struct.unpack_from("<I4s", data, 12)
    assert json_type == b"JSON"
    assert json_length % 4 == 0
    start = 20 + json_length
    binary_length, binary_type = struct.unpack_from("<I4s", data, start)
    assert binary_type == b"BIN\0"
    assert start + 8 + binary_length == len(data)
    return json.loads(data[20:start]), data[start + 8 :]


def accessor(tree: dict, binary: bytes, index: int) -> np.ndarray:
    entry = tree["accessors"][index]
    view = tree["bufferViews"][entry["bufferView"]]
    assert "byteStride" not in view
    width, dtype = WIDTHS[entry["type"]], COMPONENTS[entry["componentType"]]
    offset = view.get("byteOffset", 0) + entry.get("byteOffset", 0)
    assert offset % 4 == 0
    values = np.frombuffer(binary, dtype, count=entry["count"] * width, offset=offset).reshape(-1, width)
    assert values.nbytes <= view["byteLength"]
    return values


def attributes(tree: dict, binary: bytes) -> dict[str, np.ndarray]:
    (node,) = [node for node in tree["nodes"] if "mesh" in node]
    assert not {"matrix", "rotation", "scale", "translation"} & set(node)
    (primitive,) = tree["meshes"][node["mesh"]]["primitives"]
    assert primitive["mode"] == 4  # triangles
    result = {name: accessor(tree, binary, index) for name, index in primitive["attributes"].items()}
    return {**result, "indices": accessor(tree, binary, primitive["indices"]).reshape(-1, 3)}


def to_srgb_bytes(linear: np.ndarray) -> np.ndarray:
    """The inverse of what glTF export does, from the standard's other formula."""
    encoded = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)
    return np.round(255 * encoded).astype(np.uint8)


def reopen(data: bytes, file_type: str) -> trimesh.Trimesh:
    opened = trimesh.load(io.BytesIO(data), file_type=file_type, process=False)
    if isinstance(opened, trimesh.Scene):
        (opened,) = opened.geometry.values()
    return opened


def y_up(points: np.ndarray) -> np.ndarray:
    return np.asarray(points) @ np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]).T


# glTF


def test_glb_read_by_hand(mesh: LRMMesh) -> None:
    tree, binary = parse_glb(mesh.export(file_type="glb"))
    found = attributes(tree, binary)
    assert set(found) == {"POSITION", "NORMAL", "COLOR_0", "indices"}
    np.testing.assert_array_equal(found["POSITION"], y_up(mesh.vertices).astype(np.float32))
    np.testing.assert_array_equal(found["indices"], mesh.faces)
    np.testing.assert_allclose(found["NORMAL"], y_up(mesh.vertex_normals), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found["NORMAL"], axis=1), 1, atol=1e-6)
    assert found["COLOR_0"].dtype == np.float32
    np.testing.assert_array_equal(to_srgb_bytes(found["COLOR_0"]), mesh.visual.vertex_colors[:, :3])
    positions = tree["accessors"][tree["meshes"][0]["primitives"][0]["attributes"]["POSITION"]]
    np.testing.assert_array_equal(positions["min"], found["POSITION"].min(axis=0))
    np.testing.assert_array_equal(positions["max"], found["POSITION"].max(axis=0))
    assert tree["asset"]["version"] == "2.0"


def test_glb_has_a_material_that_shows_the_colours(mesh: LRMMesh) -> None:
    tree, _ = parse_glb(mesh.export(file_type="glb"))
    material = tree["materials"][tree["meshes"][0]["primitives"][0]["material"]]
    assert material["pbrMetallicRoughness"]["baseColorFactor"] == [1, 1, 1, 1]
    assert material["pbrMetallicRoughness"]["metallicFactor"] == 0
    assert material["pbrMetallicRoughness"]["roughnessFactor"] == pytest.approx(0.9)
    assert material["doubleSided"] is True
    assert "alphaMode" not in material  # opaque


def test_gltf_colours_are_linear_light() -> None:
    triangle = LRMMesh(np.eye(3), [[0, 1, 2]], vertex_colors=[[0, 128, 255, 255]] * 3, process=False)
    color = attributes(*parse_glb(triangle.export(file_type="glb")))["COLOR_0"]
    # 128 / 255 in display values is ((0.50196 + 0.055) / 1.055) ** 2.4 of the light
    np.testing.assert_allclose(color, [[0, 0.2158605, 1]] * 3, atol=1e-6)


def test_gltf_keeps_every_shade() -> None:
    """Linear light in 8 bit would leave 10 of the 50 darkest greys."""
    grey = np.arange(256, dtype=np.uint8)
    strip = LRMMesh(
        np.random.default_rng(0).normal(size=(256, 3)),
        np.stack([grey[:-2], grey[1:-1], grey[2:]], axis=1).astype(int),
        vertex_colors=np.column_stack([grey, grey, grey, np.full(256, 255)]),
        process=False,
    )
    color = attributes(*parse_glb(strip.export(file_type="glb")))["COLOR_0"]
    np.testing.assert_array_equal(to_srgb_bytes(color)[:, 0], grey)


def test_gltf_is_one_file_with_the_same_content(mesh: LRMMesh, tmp_path: Path) -> None:
    mesh.export(tmp_path / "owl.gltf")
    assert [path.name for path in tmp_path.iterdir()] == ["owl.gltf"]
    tree = json.loads((tmp_path / "owl.gltf").read_bytes())
    (buffer,) = tree["buffers"]
    prefix, _, text = buffer["uri"].partition(",")
    assert prefix == "data:application/octet-stream;base64"
    binary = base64.b64decode(text)
    assert len(binary) == buffer["byteLength"]
    embedded, packed = attributes(tree, binary), attributes(*parse_glb(mesh.export(file_type="glb")))
    assert embedded.keys() == packed.keys()
    for name, values in embedded.items():
        np.testing.assert_array_equal(values, packed[name])
    np.testing.assert_allclose(reopen((tmp_path / "owl.gltf").read_bytes(), "gltf").bounds, reopen_bounds(mesh))


def reopen_bounds(mesh: LRMMesh) -> np.ndarray:
    return np.array([y_up(mesh.vertices).min(axis=0), y_up(mesh.vertices).max(axis=0)]).astype(np.float32)


def test_mesh_without_colours_gets_a_grey_material(mesh: LRMMesh) -> None:
    bare = LRMMesh(mesh.vertices, mesh.faces, process=False)
    tree, binary = parse_glb(bare.export(file_type="glb"))
    assert set(attributes(tree, binary)) == {"POSITION", "NORMAL", "indices"}
    assert tree["materials"][0]["pbrMetallicRoughness"]["baseColorFactor"] == [0.8, 0.8, 0.8, 1]
    assert b"property uchar" not in bare.export(file_type="ply").partition(b"element face")[0]
    assert len(bare.export(file_type="obj").splitlines()[1].split()) == 4  # v x y z


def test_face_colours_are_exported_too(mesh: LRMMesh) -> None:
    mesh.visual = trimesh.visual.ColorVisuals(mesh, face_colors=np.tile([255, 0, 128, 255], (len(mesh.faces), 1)))
    color = attributes(*parse_glb(mesh.export(file_type="glb")))["COLOR_0"]
    np.testing.assert_allclose(color, np.tile([1, 0, 0.2158605], (len(mesh.vertices), 1)), atol=1e-6)


def test_options_reach_the_exporter(mesh: LRMMesh) -> None:
    def rename(tree: dict) -> None:
        assert "COLOR_0" in tree["meshes"][0]["primitives"][0]["attributes"]
        tree["asset"]["copyright"] = "me"

    tree, binary = parse_glb(mesh.export(file_type="glb", tree_postprocessor=rename, include_normals=False))
    assert tree["asset"]["copyright"] == "me"
    assert "NORMAL" not in attributes(tree, binary)
    assert mesh.export(file_type="ply", encoding="ascii").startswith(b"ply\nformat ascii 1.0")


# Axes


@pytest.mark.parametrize(
    ("file_type", "top", "front", "right"),
    [
        ("glb", (0, 1, 0), (0, 0, 1), (1, 0, 0)),
        ("gltf", (0, 1, 0), (0, 0, 1), (1, 0, 0)),
        ("obj", (0, 1, 0), (0, 0, 1), (1, 0, 0)),
        ("ply", (0, 0, 1), (0, -1, 0), (1, 0, 0)),
        ("stl", (0, 0, 1), (0, -1, 0), (1, 0, 0)),
    ],
)
def test_axes(file_type: str, top: tuple, front: tuple, right: tuple) -> None:
    """An arrow of tetrahedra: the largest points up (world +z), one to the picture's camera (-y), one to the right."""
    corners = np.array([[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0], [0, 0, 0.1]])
    arrow = trimesh.util.concatenate(
        [
            trimesh.convex.convex_hull(np.vstack([corners, tip]))
            for tip in ([0, 0, 0.9], [0, -0.7, 0], [0.5, 0, 0])  # up, to the camera, right
        ]
    )
    opened = reopen(LRMMesh(arrow.vertices, arrow.faces, process=False).export(file_type=file_type), file_type)
    for direction, length in ((top, 0.9), (front, 0.7), (right, 0.5)):
        reach = opened.vertices @ np.array(direction)
        assert reach.max() == pytest.approx(length)
        assert reach.min() >= -0.1 - 1e-6
    assert opened.volume == pytest.approx(arrow.volume, rel=1e-5)  # still inside in: a rotation, no reflection


# Round trips


@pytest.mark.parametrize("file_type", [name for name in EXPORT_FORMATS if name != "usdz"])
def test_round_trip_through_trimesh(mesh: LRMMesh, file_type: str, tmp_path: Path) -> None:
    before = mesh.vertices.copy(), mesh.visual.vertex_colors.copy()
    path = tmp_path / f"owl.{file_type}"
    data = mesh.export(path)
    assert path.read_bytes() == data
    opened = reopen(data, file_type)
    if file_type == "stl":  # a soup of triangles
        opened = trimesh.Trimesh(opened.vertices, opened.faces, process=True)
    assert opened.is_watertight
    assert opened.is_winding_consistent
    assert opened.volume == pytest.approx(mesh.volume, rel=1e-5)
    assert opened.euler_number == 2
    expected = mesh.vertices if file_type in ("ply", "stl") else y_up(mesh.vertices)
    if file_type == "stl":
        np.testing.assert_allclose(opened.bounds, mesh.bounds, atol=1e-6)
    else:
        np.testing.assert_allclose(opened.vertices, expected, atol=1e-6)
        np.testing.assert_array_equal(opened.faces, mesh.faces)
    if file_type in ("obj", "ply"):
        np.testing.assert_array_equal(opened.visual.vertex_colors, mesh.visual.vertex_colors)
    elif file_type != "stl":  # beside a material trimesh keeps vertex colours as an attribute, as they are in the file
        color = opened.visual.vertex_attributes["color"]
        np.testing.assert_array_equal(to_srgb_bytes(color), mesh.visual.vertex_colors[:, :3])
    np.testing.assert_array_equal(mesh.vertices, before[0])
    np.testing.assert_array_equal(mesh.visual.vertex_colors, before[1])


def test_obj_read_by_hand(mesh: LRMMesh) -> None:
    lines = [line.split() for line in mesh.export(file_type="obj").decode().splitlines() if not line.startswith("#")]
    vertices = np.array([line[1:] for line in lines if line[:1] == ["v"]], dtype=float)
    normals = np.array([line[1:] for line in lines if line[:1] == ["vn"]], dtype=float)
    faces = [line[1:] for line in lines if line[:1] == ["f"]]
    np.testing.assert_allclose(vertices[:, :3], y_up(mesh.vertices), atol=1e-7)
    np.testing.assert_allclose(vertices[:, 3:], mesh.visual.vertex_colors[:, :3] / 255, atol=1e-7)
    np.testing.assert_allclose(normals, y_up(mesh.vertex_normals), atol=1e-7)
    assert faces == [[f"{i + 1}//{i + 1}" for i in face] for face in mesh.faces]
    assert not any(line[:1] == ["mtllib"] for line in lines)


def test_ply_read_by_hand(mesh: LRMMesh) -> None:
    header, _, body = mesh.export(file_type="ply").partition(b"end_header\n")
    names = [
        line.split()[-1] for line in header.decode().partition("element face")[0].splitlines() if "property" in line
    ]
    assert names == ["x", "y", "z", "nx", "ny", "nz", "red", "green", "blue", "alpha"]
    record = np.dtype([("xyz", "<f4", 3), ("normal", "<f4", 3), ("rgba", "u1", 4)])
    vertices = np.frombuffer(body, record, count=len(mesh.vertices))
    np.testing.assert_array_equal(vertices["xyz"], mesh.vertices.astype(np.float32))
    np.testing.assert_allclose(vertices["normal"], mesh.vertex_normals, atol=1e-6)
    np.testing.assert_array_equal(vertices["rgba"], mesh.visual.vertex_colors)


def test_stl_read_by_hand(mesh: LRMMesh) -> None:
    data = mesh.export(file_type="stl")
    record = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("bytes", "<u2")])
    assert struct.unpack_from("<I", data, 80) == (len(mesh.faces),)
    triangles = np.frombuffer(data, record, offset=84)
    np.testing.assert_array_equal(triangles["corners"], mesh.triangles.astype(np.float32))
    np.testing.assert_allclose(triangles["normal"], mesh.face_normals, atol=1e-6)


def test_texture_stays_in_gltf_and_is_refused_by_obj(mesh: LRMMesh) -> None:
    uv = np.random.default_rng(0).random((len(mesh.vertices), 2))
    material = trimesh.visual.material.PBRMaterial(
        baseColorTexture=Image.new("RGB", (4, 4), (200, 40, 10)), metallicFactor=0.0
    )
    textured = LRMMesh(mesh.vertices, mesh.faces, process=False)
    textured.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    for file_type in ("glb", "gltf"):
        opened = reopen(textured.export(file_type=file_type), file_type)
        np.testing.assert_allclose(opened.vertices, y_up(mesh.vertices), atol=1e-6)
        np.testing.assert_allclose(opened.visual.uv, uv, atol=1e-6)
        assert opened.visual.material.baseColorTexture.convert("RGB").getpixel((0, 0)) == (200, 40, 10)
    with pytest.raises(ValueError, match="texture can't be one obj file"):
        textured.export(file_type="obj")


def test_plain_trimesh_is_taken_to_be_in_the_world_frame(mesh: LRMMesh) -> None:
    plain = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=mesh.visual.vertex_colors, process=False)
    assert export_mesh(plain, file_type="glb") == mesh.export(file_type="glb")


# trimesh's methods


@pytest.mark.parametrize(
    "derive",
    [
        lambda mesh: mesh.copy(),
        lambda mesh: copy.copy(mesh),
        lambda mesh: copy.deepcopy(mesh),
        lambda mesh: pickle.loads(pickle.dumps(mesh)),
        lambda mesh: mesh.submesh([np.arange(len(mesh.faces))])[0],
        lambda mesh: mesh.submesh([np.arange(len(mesh.faces))], append=True),
        lambda mesh: mesh.split()[0],
        lambda mesh: mesh + mesh.copy(),
        lambda mesh: mesh.apply_scale(1.0),
    ],
    ids=["copy", "copy.copy", "deepcopy", "pickle", "submesh", "submesh-append", "split", "add", "transform"],
)
def test_derived_meshes_keep_class_and_colours(mesh: LRMMesh, derive) -> None:
    derived = derive(mesh)
    assert type(derived) is LRMMesh
    np.testing.assert_allclose(derived.bounds, mesh.bounds)
    found = attributes(*parse_glb(derived.export(file_type="glb")))
    np.testing.assert_allclose(found["POSITION"].max(axis=0), reopen_bounds(mesh)[1])
    # colours still belong to their positions
    position = (derived.vertices - [0.1, 0.2, 0.3]) / EXTENTS + 0.5
    np.testing.assert_allclose(to_srgb_bytes(found["COLOR_0"]), 255 * position, atol=0.5 + 1e-6)


@pytest.mark.parametrize(
    "derive",
    [
        lambda mesh: mesh.subdivide(),
        lambda mesh: mesh.subdivide_to_size(0.2),
        lambda mesh: mesh.subdivide_to_size(0.2, return_index=True)[0],
        lambda mesh: mesh.subdivide_loop(1),
        lambda mesh: mesh.convex_hull,
    ],
    ids=["subdivide", "to_size", "to_size-index", "loop", "convex_hull"],
)
def test_reshaped_meshes_still_stand_upright(mesh: LRMMesh, derive) -> None:
    derived = derive(mesh)
    assert type(derived) is LRMMesh
    found = attributes(*parse_glb(derived.export(file_type="glb")))
    np.testing.assert_allclose(found["POSITION"], y_up(derived.vertices), atol=1e-6)


@pytest.mark.parametrize(
    ("needs", "derive"),
    [
        ("shapely", lambda mesh: mesh.slice_plane([0, 0, 0.1], [0, 0, 1])),
        ("fast_simplification", lambda mesh: mesh.simplify_quadric_decimation(face_count=100)),
    ],
    ids=["slice_plane", "simplify"],
)
def test_methods_with_optional_dependencies(mesh: LRMMesh, needs: str, derive) -> None:
    pytest.importorskip(needs)
    derived = derive(mesh)
    assert type(derived) is LRMMesh
    assert len(derived.faces) < len(mesh.faces)


def test_copy_is_independent(mesh: LRMMesh) -> None:
    other = mesh.copy()
    other.vertices += 1
    other.visual.vertex_colors[:] = 0
    assert mesh.vertices.min() < 0
    assert mesh.visual.vertex_colors.max() == 255


# Files


def test_suffix_decides_in_any_case_and_file_type_is_stronger(mesh: LRMMesh, tmp_path: Path) -> None:
    mesh.export(tmp_path / "owl.GLB")
    assert (tmp_path / "owl.GLB").read_bytes()[:4] == b"glTF"
    mesh.export(str(tmp_path / "owl.mesh"), file_type=".PLY")
    assert (tmp_path / "owl.mesh").read_bytes()[:4] == b"ply\n"


def test_export_to_an_open_file(mesh: LRMMesh) -> None:
    file = io.BytesIO()
    data = mesh.export(file, file_type="obj")
    assert file.getvalue() == data
    with pytest.raises(TypeError, match="text mode"):
        mesh.export(io.StringIO(), file_type="obj")
    with pytest.raises(ValueError, match="`file_type` must say the format, one of glb, gltf, obj, ply, stl"):
        mesh.export(file)


@pytest.mark.parametrize(("name", "given"), [("owl.fbx", "'.fbx'"), ("owl", "''"), ("owl.glb.bak", "'.bak'")])
def test_unknown_format_lists_the_known_ones(mesh: LRMMesh, tmp_path: Path, name: str, given: str) -> None:
    with pytest.raises(ValueError, match=f"{given} is no known mesh format; choose one of glb, gltf, obj, ply, stl"):
        mesh.export(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_wrong_types_are_named(mesh: LRMMesh) -> None:
    with pytest.raises(TypeError, match="`file_obj` must be a path.* got int"):
        mesh.export(3, file_type="glb")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="`mesh` must be a trimesh.Trimesh, got Scene"):
        export_mesh(trimesh.Scene([mesh]), file_type="glb")


def test_mesh_without_faces_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no faces"):
        LRMMesh().export(tmp_path / "nothing.glb")
    assert list(tmp_path.iterdir()) == []


def test_missing_directory_and_directory_as_target(mesh: LRMMesh, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="directory to write to does not exist.*missing"):
        mesh.export(tmp_path / "missing" / "owl.glb")
    (tmp_path / "owl.glb").mkdir()
    with pytest.raises(IsADirectoryError, match="is a directory"):
        mesh.export(tmp_path / "owl.glb")


def test_failed_write_leaves_the_old_file(mesh: LRMMesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "owl.glb"
    path.write_bytes(b"old")

    def fail(source: Path, target: Path) -> None:
        assert Path(source).parent == tmp_path  # the same file system
        assert Path(source).read_bytes()[:4] == b"glTF"
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        mesh.export(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="permission bits are POSIX")
def test_file_has_the_usual_permissions(mesh: LRMMesh, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"")
    mesh.export(tmp_path / "owl.stl")
    assert (tmp_path / "owl.stl").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_export_twice_gives_the_same_bytes(mesh: LRMMesh) -> None:
    for file_type in EXPORT_FORMATS:
        assert mesh.export(file_type=file_type) == mesh.copy().export(file_type=file_type)
