# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Every kind of file, opened by a library that did not write it: pygltflib, Khronos' validator, usd-core, trimesh.

Khronos' validator is an npm package (`npm install gltf-validator`): the environment variable `LRM_HF_NODE_MODULES`
names the folder `node_modules` that it is in.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import trimesh
from analytic_fields import ShapeField
from PIL import Image

import lrm_hf
from lrm_hf.meshing import LRMMesh, bake_texture
from lrm_hf.meshing.texture import base_color_image, sample_bilinear


NODE_MODULES = Path(os.environ.get("LRM_HF_NODE_MODULES") or "nowhere")
KINDS = ("bare", "colour", "texture", "normal map", "moved")
VALIDATE = """
const fs = require('fs'), validator = require('gltf-validator');
validator.validateBytes(new Uint8Array(fs.readFileSync(process.argv[1])), {maxIssues: 100})
  .then(report => console.log(JSON.stringify(report)));
"""


def y_up(points: np.ndarray) -> np.ndarray:
    return np.asarray(points) @ np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]).T


@pytest.fixture(scope="module")
def meshes() -> dict[str, LRMMesh]:
    """A tall ellipsoid off the middle, in each way that a mesh can look."""
    pytest.importorskip("xatlas")
    field = ShapeField(lambda points: points.norm(dim=-1) - 0.5)  # colour: where a point is in the box
    plain = trimesh.creation.icosphere(subdivisions=3, radius=1.0)
    vertices = plain.vertices * [0.4, 0.3, 0.7] + [0.1, -0.2, 0.1]
    rgba = np.column_stack([np.round((vertices / 2 + 0.5) * 255), np.full(len(vertices), 255)]).astype(np.uint8)
    colored = LRMMesh(vertices, plain.faces, vertex_colors=rgba, process=False)
    light = colored.simplify(300)
    moved = bake_texture(light, field, resolution=128).ground().rescale(height=0.35)
    moved.metadata["viewer_azimuth"] = 90.0
    return {
        "bare": LRMMesh(vertices, plain.faces, process=False),
        "colour": colored,
        "texture": bake_texture(light, field, resolution=128),
        "normal map": bake_texture(light, field, resolution=128, normal_map=colored),
        "moved": moved,
    }


def as_exported(mesh: LRMMesh) -> np.ndarray:
    """Corners `(m, 3, 3)` in the frame of glTF and USD."""
    corners = mesh.triangles
    if mesh.metadata.get("viewer_azimuth"):  # a viewer on the +x side: turned clockwise to -y
        corners = np.stack([corners[..., 1], -corners[..., 0], corners[..., 2]], axis=-1)
    return y_up(corners)


def linear(srgb: np.ndarray) -> np.ndarray:
    return np.where(srgb > 0.04045, ((srgb + 0.055) / 1.055) ** 2.4, srgb / 12.92)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", ["glb", "gltf"])
def test_khronos_validator(meshes: dict[str, LRMMesh], kind: str, suffix: str, tmp_path: Path) -> None:
    if not (NODE_MODULES / "gltf-validator").is_dir() or shutil.which("node") is None:
        pytest.skip("node with Khronos' gltf-validator is not here (LRM_HF_NODE_MODULES)")
    path = tmp_path / f"owl.{suffix}"
    mesh = meshes[kind]
    mesh.export(path)
    environment = os.environ | {"NODE_PATH": str(NODE_MODULES)}
    run = subprocess.run(
        ["node", "-e", VALIDATE, str(path)], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    report = json.loads(run.stdout)
    assert report["issues"]["messages"] == []  # no errors, warnings, infos or hints
    info = report["info"]
    assert info["generator"] == f"lrm_hf {lrm_hf.__version__}"
    assert info["totalTriangleCount"] == len(mesh.faces)
    assert info["totalVertexCount"] == len(mesh.vertices)
    assert info["materialCount"] == 1
    assert info["hasTextures"] == (mesh.visual.kind == "texture")
    pictures = [resource["image"] for resource in info["resources"] if "image" in resource]
    assert [(picture["width"], picture["height"]) for picture in pictures] == [(128, 128)] * {
        "texture": 1,
        "moved": 1,
        "normal map": 2,
    }.get(kind, 0)


class TestPygltflib:
    def load(self, mesh: LRMMesh, tmp_path: Path, suffix: str = "glb"):
        pygltflib = pytest.importorskip("pygltflib")
        from pygltflib.validator import summary, validate

        path = tmp_path / f"owl.{suffix}"
        mesh.export(path)
        file = pygltflib.GLTF2().load(str(path))
        validate(file)
        assert summary(file) is None
        return file

    def array(self, file, index: int) -> np.ndarray:
        accessor = file.accessors[index]
        view = file.bufferViews[accessor.bufferView]
        dtype = {5126: np.float32, 5125: np.uint32, 5123: np.uint16}[accessor.componentType]
        width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}[accessor.type]
        data = file.binary_blob()[view.byteOffset + accessor.byteOffset :]
        return np.frombuffer(data, dtype, accessor.count * width).reshape(-1, width)

    @pytest.mark.parametrize("kind", KINDS)
    def test_shape(self, meshes: dict[str, LRMMesh], kind: str, tmp_path: Path) -> None:
        mesh = meshes[kind]
        file = self.load(mesh, tmp_path)
        (primitive,) = file.meshes[0].primitives
        position = self.array(file, primitive.attributes.POSITION)
        faces = self.array(file, primitive.indices).reshape(-1, 3)
        assert len(faces) == len(mesh.faces)
        # float32 of numbers below 1
        np.testing.assert_allclose(position[faces], as_exported(mesh), atol=1e-7)
        normal = self.array(file, primitive.attributes.NORMAL)
        across = np.cross(*(position[faces][:, corner] - position[faces][:, 0] for corner in (1, 2)))
        assert (np.einsum("mx,mcx->mc", across, normal[faces]) > 0).all()  # outwards, as the faces are

    def test_names_and_reports(self, meshes: dict[str, LRMMesh], tmp_path: Path) -> None:
        file = self.load(meshes["normal map"], tmp_path)
        (node,), (mesh,), (material,) = file.nodes, file.meshes, file.materials
        assert (node.name, mesh.name, material.name) == ("owl", "owl_mesh", "surface")
        assert [image.name for image in file.images] == ["owl_color", "owl_normal"]
        assert file.scenes[file.scene].nodes == [0]
        assert (node.translation, node.rotation, node.scale, node.matrix) == (None, None, None, None)
        assert mesh.extras == {"steps": meshes["normal map"].metadata["steps"]}
        assert file.asset.generator == f"lrm_hf {lrm_hf.__version__}"
        named = meshes["bare"].copy()
        named.metadata["name"] = "Eule"
        assert self.load(named, tmp_path).nodes[0].name == "Eule"

    def test_colours(self, meshes: dict[str, LRMMesh], tmp_path: Path) -> None:
        file = self.load(meshes["colour"], tmp_path)
        color = self.array(file, file.meshes[0].primitives[0].attributes.COLOR_0)
        expected = linear(meshes["colour"].visual.vertex_colors[:, :3] / 255)
        np.testing.assert_allclose(color, expected, atol=1e-6)  # float32

    @pytest.mark.parametrize("kind", ["texture", "normal map", "moved"])
    def test_texture_shows_what_the_mesh_has(self, meshes: dict[str, LRMMesh], kind: str, tmp_path: Path) -> None:
        mesh = meshes[kind]
        file = self.load(mesh, tmp_path)
        material = file.materials[0]
        assert material.pbrMetallicRoughness.metallicFactor == 0
        assert material.pbrMetallicRoughness.roughnessFactor == pytest.approx(0.9)
        assert material.doubleSided
        texture = file.textures[material.pbrMetallicRoughness.baseColorTexture.index]
        sampler = file.samplers[texture.sampler]
        assert (sampler.wrapS, sampler.wrapT) == (33071, 33071)  # clamped: charts go up to the border
        view = file.bufferViews[file.images[texture.source].bufferView]
        data = file.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]
        image = np.asarray(Image.open(io.BytesIO(data)))
        np.testing.assert_array_equal(image, np.asarray(base_color_image(mesh)))
        primitive = file.meshes[0].primitives[0]
        uv = self.array(file, primitive.attributes.TEXCOORD_0)  # v from the top
        np.testing.assert_allclose(uv, np.asarray(mesh.visual.uv) * [1, -1] + [0, 1], atol=1e-6)
        assert (primitive.attributes.TANGENT is not None) == (kind == "normal map")
        if kind == "normal map":
            tangent = self.array(file, primitive.attributes.TANGENT)
            normal = self.array(file, primitive.attributes.NORMAL)
            np.testing.assert_allclose(np.linalg.norm(tangent[:, :3], axis=1), 1, atol=1e-6)
            np.testing.assert_allclose((tangent[:, :3] * normal).sum(axis=1), 0, atol=1e-6)
            assert set(tangent[:, 3]) <= {-1.0, 1.0}

    def test_gltf_is_the_same(self, meshes: dict[str, LRMMesh], tmp_path: Path) -> None:
        packed = self.load(meshes["texture"], tmp_path, "glb")
        text = self.load(meshes["texture"], tmp_path, "gltf")
        assert text.buffers[0].uri.startswith("data:application/octet-stream;base64,")
        assert text.get_data_from_buffer_uri(text.buffers[0].uri) == packed.binary_blob()[: text.buffers[0].byteLength]


class TestObj:
    @pytest.mark.parametrize("kind", ["texture", "normal map", "moved"])
    def test_texture_beside_it(self, meshes: dict[str, LRMMesh], kind: str, tmp_path: Path) -> None:
        mesh = meshes[kind]
        mesh.export(tmp_path / "my owl.obj")
        pictures = ["my_owl_color.png", *(["my_owl_normal.png"] if kind == "normal map" else [])]
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["my owl.obj", "my_owl.mtl", *pictures])
        opened = trimesh.load(tmp_path / "my owl.obj", process=False, maintain_order=True, force="mesh")
        assert len(opened.faces) == len(mesh.faces)
        np.testing.assert_allclose(opened.triangles, as_exported(mesh), atol=1e-7)  # 8 digits
        np.testing.assert_allclose(opened.visual.uv[opened.faces], mesh.visual.uv[mesh.faces], atol=1e-7)
        image = np.asarray(opened.visual.material.image.convert("RGB"))
        np.testing.assert_array_equal(image, np.asarray(base_color_image(mesh)))
        material = (tmp_path / "my_owl.mtl").read_text().splitlines()
        assert "Kd 1 1 1" in material
        assert "map_Kd my_owl_color.png" in material
        assert ("norm my_owl_normal.png" in material) == (kind == "normal map")

    def test_failed_write_leaves_what_was_there(
        self, meshes: dict[str, LRMMesh], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "owl.obj").write_text("old")
        (tmp_path / "owl.mtl").mkdir()  # in the way
        with pytest.raises(IsADirectoryError, match="owl.mtl"):
            meshes["texture"].export(tmp_path / "owl.obj")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["owl.mtl", "owl.obj"]
        assert (tmp_path / "owl.obj").read_text() == "old"


def test_ply_has_the_texture_at_its_vertices(meshes: dict[str, LRMMesh]) -> None:
    mesh = meshes["texture"]
    opened = trimesh.load(io.BytesIO(mesh.export(file_type="ply")), file_type="ply", process=False)
    np.testing.assert_allclose(opened.triangles, mesh.triangles, atol=1e-7)
    image = np.asarray(base_color_image(mesh), dtype=np.float64)
    np.testing.assert_allclose(
        opened.visual.vertex_colors[:, :3], sample_bilinear(image, np.asarray(mesh.visual.uv)), atol=0.5
    )
    # and these are the field's, one texel off at a seam: 0.02 of the box, 3 of 255
    np.testing.assert_allclose(opened.visual.vertex_colors[:, :3], (mesh.vertices / 2 + 0.5) * 255, atol=6)


class TestUsdz:
    def stage(self, mesh: LRMMesh, tmp_path: Path):
        pytest.importorskip("pxr")
        from pxr import Usd

        path = tmp_path / "my owl.usdz"
        mesh.export(path)
        return Usd.Stage.Open(str(path))

    @pytest.mark.parametrize("kind", KINDS)
    def test_stage(self, meshes: dict[str, LRMMesh], kind: str, tmp_path: Path) -> None:
        pytest.importorskip("pxr")
        from pxr import UsdGeom, UsdShade

        mesh = meshes[kind]
        stage = self.stage(mesh, tmp_path)
        assert UsdGeom.GetStageUpAxis(stage) == "Y"
        assert UsdGeom.GetStageMetersPerUnit(stage) == 1.0
        assert stage.GetDefaultPrim().GetPath() == "/my_owl"
        (prim,) = [prim for prim in stage.Traverse() if prim.IsA(UsdGeom.Mesh)]
        surface = UsdGeom.Mesh(prim)
        points = np.array(surface.GetPointsAttr().Get())
        indices = np.array(surface.GetFaceVertexIndicesAttr().Get()).reshape(-1, 3)
        assert set(surface.GetFaceVertexCountsAttr().Get()) == {3}
        assert len(indices) == len(mesh.faces)
        np.testing.assert_allclose(points[indices], as_exported(mesh), atol=1e-7)  # float32
        extent = np.array(surface.GetExtentAttr().Get())
        np.testing.assert_array_equal(extent, [points.min(axis=0), points.max(axis=0)])
        assert surface.GetSubdivisionSchemeAttr().Get() == "none"
        material, _ = UsdShade.MaterialBindingAPI(prim).ComputeBoundMaterial()
        shader, _, _ = material.ComputeSurfaceSource()
        assert shader.GetIdAttr().Get() == "UsdPreviewSurface"
        assert shader.GetInput("metallic").Get() == 0
        if mesh.visual.kind == "texture":
            st = np.array(UsdGeom.PrimvarsAPI(prim).GetPrimvar("st").Get())
            np.testing.assert_allclose(st, mesh.visual.uv, atol=1e-7)
            source = UsdShade.Shader(shader.GetInput("diffuseColor").GetConnectedSources()[0][0].source.GetPrim())
            assert source.GetInput("file").Get().resolvedPath.endswith("[textures/my_owl_color.png]")
            assert source.GetInput("sourceColorSpace").Get() == "sRGB"
        elif kind == "colour":
            shown = np.array(surface.GetDisplayColorAttr().Get())
            np.testing.assert_allclose(shown, linear(mesh.visual.vertex_colors[:, :3] / 255), atol=1e-6)
        normal = shader.GetInput("normal")
        assert bool(normal) == (kind == "normal map")
        if normal:
            source = UsdShade.Shader(normal.GetConnectedSources()[0][0].source.GetPrim())
            assert source.GetInput("sourceColorSpace").Get() == "raw"
            assert source.GetInput("scale").Get() == (2, 2, 2, 1)
            assert source.GetInput("bias").Get() == (-1, -1, -1, 0)

    @pytest.mark.parametrize("kind", KINDS)
    def test_validators(self, meshes: dict[str, LRMMesh], kind: str, tmp_path: Path) -> None:
        """usd-core's own, with what it has for packages and for shading."""
        validation = pytest.importorskip("pxr.UsdValidation")
        registry = validation.ValidationRegistry()
        context = validation.ValidationContext(registry.GetOrLoadAllValidators())
        errors = context.Validate(self.stage(meshes[kind], tmp_path))
        assert [f"{error.GetName()}: {error.GetMessage()}" for error in errors] == []

    def test_package(self, meshes: dict[str, LRMMesh]) -> None:
        """What the format demands of the archive: stored, each file's data at a multiple of 64 bytes."""
        pytest.importorskip("pxr")
        data = meshes["normal map"].export(file_type="usdz")
        with zipfile.ZipFile(io.BytesIO(data)) as package:
            names = package.namelist()
            assert names == ["object.usdc", "textures/object_color.png", "textures/object_normal.png"]
            for entry in package.infolist():
                assert entry.compress_type == zipfile.ZIP_STORED
                header = data[entry.header_offset : entry.header_offset + 30]
                start = entry.header_offset + 30 + sum(np.frombuffer(header[26:30], "<u2").tolist())
                assert start % 64 == 0
            image = np.asarray(Image.open(io.BytesIO(package.read(names[1]))))
        np.testing.assert_array_equal(image, np.asarray(base_color_image(meshes["normal map"])))
        assert meshes["normal map"].export(file_type="usdz") == data

    def test_no_options(self, meshes: dict[str, LRMMesh]) -> None:
        with pytest.raises(TypeError, match="usdz has no options, got digits"):
            meshes["bare"].export(file_type="usdz", digits=3)

    def test_the_extra_is_named(self, meshes: dict[str, LRMMesh], monkeypatch: pytest.MonkeyPatch) -> None:
        import sys

        monkeypatch.setitem(sys.modules, "pxr", None)
        with pytest.raises(ImportError, match=r"pip install 'lrm_hf\[usd\]'"):
            meshes["bare"].export(file_type="usdz")
