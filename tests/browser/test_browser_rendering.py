# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Exported files in a browser, beside our own renders of the same field from the same cameras.

The field is what the bundled model makes of a picture. A mesh shows a surface where the field has a soft edge, which is
most of what it differs by from a render of the field: 20 dB is a mean squared difference of 1 %. Beside rays cast at
the mesh itself, what differs is how edges are smoothed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import three_viewer
import torch
import trimesh

import lrm_hf
from lrm_hf.cameras import camera_rays
from lrm_hf.meshing import bake_texture, extract_mesh
from lrm_hf.meshing.closest import closest_weights
from lrm_hf.meshing.export_common import srgb_to_linear


pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(three_viewer.missing() is not None, reason=str(three_viewer.missing())),
]

SIZE = 256
RESOLUTION = 96
MIN_DB = 20.0
MIN_DB_OF_MESH = 30.0
CAMERAS = lrm_hf.orbit_cameras(4, elevation=20.0, azimuth_start=20.0)
PICTURE = Path(__file__).parents[2] / "examples" / "cactus.png"  # no side of it is like another


def decibels(first: np.ndarray, second: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((first - second) ** 2)))


@pytest.fixture(scope="module")
def field() -> lrm_hf.TriplaneField:
    model = lrm_hf.LRMModel.from_pretrained(lrm_hf.bundled_model()).eval()
    processor = lrm_hf.LRMImageProcessor.from_pretrained(lrm_hf.bundled_model())
    with torch.no_grad():
        return model.encode(processor(PICTURE, return_tensors="pt").pixel_values).detach()


@pytest.fixture(scope="module")
def own_views(field: lrm_hf.TriplaneField) -> np.ndarray:
    with torch.no_grad():
        images = lrm_hf.render(field, CAMERAS, SIZE, SIZE).images[0]
    return images.clamp(0, 1).movedim(1, -1).double().numpy()


def cast(mesh: trimesh.Trimesh, samples: int = 3) -> np.ndarray:
    """The mesh's own colours along rays: `(views, SIZE, SIZE, 3)`, each pixel the mean of `samples`^2."""
    fine = SIZE * samples
    origins, directions = (rays.reshape(-1, 3).double().numpy() for rays in camera_rays(CAMERAS, fine, fine))
    ray = trimesh.ray.ray_pyembree.RayMeshIntersector(mesh)
    face = ray.intersects_first(origins, directions)
    hit = np.flatnonzero(face >= 0)
    corners = mesh.triangles[face[hit]]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    gap = corners[:, 0] - origins[hit]
    along = (gap * normal).sum(axis=1) / (directions[hit] * normal).sum(axis=1)
    weights = closest_weights(origins[hit] + along[:, None] * directions[hit], corners)
    color = np.ones((len(origins), 3))
    rgb = srgb_to_linear(mesh.visual.vertex_colors[:, :3] / 255.0)  # what lies between vertices is mixed as light
    light = np.einsum("nc,ncx->nx", weights, rgb[mesh.faces[face[hit]]])
    color[hit] = np.where(light > 0.0031308, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055, 12.92 * light)
    return color.reshape(len(CAMERAS), SIZE, samples, SIZE, samples, 3).mean(axis=(2, 4))


@pytest.fixture(scope="module")
def mesh_views(field: lrm_hf.TriplaneField) -> np.ndarray:
    pytest.importorskip("embreex")
    return cast(extract_mesh(field, resolution=RESOLUTION)[0])


@pytest.fixture(scope="module")
def directory(field: lrm_hf.TriplaneField, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("xatlas")
    pytest.importorskip("pxr")
    directory = tmp_path_factory.mktemp("browser")
    colored = extract_mesh(field, resolution=RESOLUTION)[0]
    textured = bake_texture(colored.simplify(6000), field, resolution=512)
    for suffix in ("glb", "gltf", "obj", "ply"):
        colored.export(directory / f"color.{suffix}")
    for suffix in ("glb", "obj"):
        textured.export(directory / f"texture.{suffix}")
    textured.export(directory / "texture.usdz")
    return directory


@pytest.mark.parametrize(
    "name",
    ["color.glb", "color.gltf", "color.obj", "color.ply", "texture.glb", "texture.obj", "texture.usdz"],
)
def test_looks_like_our_own_render(directory: Path, own_views: np.ndarray, mesh_views: np.ndarray, name: str) -> None:
    shown, description = three_viewer.show(directory / name, CAMERAS, SIZE)
    found, of_field, of_mesh = (
        decibels(shown, own_views),
        *([decibels(*pair) for pair in zip(shown, views, strict=True)] for views in (own_views, mesh_views)),
    )
    for what, each in (("field", of_field), ("mesh", of_mesh)):
        print(f"{name}: {min(each):.2f} to {max(each):.2f} dB beside the {what}")
    assert min(of_field) >= MIN_DB
    assert min(of_mesh) >= MIN_DB_OF_MESH
    # and like no other side of the object, nor the same one upside down or in a mirror
    for other in (np.roll(shown, 1, axis=0), np.roll(shown, 2, axis=0), shown[:, ::-1], shown[:, :, ::-1]):
        assert decibels(other, own_views) < found - 1
    # nor in washed-out or darkened colours, as a wrong idea of sRGB has it
    inside = (mesh_views < 0.9).all(axis=-1) & (shown < 0.9).all(axis=-1)
    np.testing.assert_allclose(shown[inside].mean(axis=0), mesh_views[inside].mean(axis=0), atol=0.01)
    (mesh,) = description["meshes"]
    assert mesh["map"] == name.startswith("texture")
    if name.endswith((".glb", ".gltf")):
        stem = name.partition(".")[0]
        assert (mesh["name"], mesh["material"], mesh["metalness"]) == (stem, "surface", 0)
        assert mesh["vertexColors"] == (stem == "color")


def test_normal_map_lights_a_coarse_mesh_like_the_dense_one(field: lrm_hf.TriplaneField, tmp_path: Path) -> None:
    """Under a lamp from the side: with the dense mesh's normals the coarse one comes closer to it."""
    pytest.importorskip("xatlas")
    dense = extract_mesh(field, resolution=RESOLUTION)[0]
    light = dense.simplify(800)
    dense.export(tmp_path / "dense.glb")
    bake_texture(light, field, resolution=512).export(tmp_path / "plain.glb")
    bake_texture(light, field, resolution=512, normal_map=dense).export(tmp_path / "mapped.glb")
    views = {
        name: three_viewer.show(tmp_path / f"{name}.glb", CAMERAS, SIZE, ambient=0.5, sun=(1.0, 1.0, 1.0, 6.0))[0]
        for name in ("dense", "plain", "mapped")
    }
    print({name: decibels(views[name], views["dense"]) for name in ("plain", "mapped")})
    assert decibels(views["mapped"], views["dense"]) > decibels(views["plain"], views["dense"]) + 0.5
