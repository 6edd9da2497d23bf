# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Ray-cast pictures of meshes against scenes whose pictures are known on paper."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from lrm_hf.cameras import Cameras, look_at_cameras, orbit_cameras, project_points
from lrm_hf.training import mesh_views
from lrm_hf.training.mesh_objects import DEFAULT_COLOUR, MeshObject, load_object
from lrm_hf.training.mesh_views import render_training_views, render_views, view_angles
from lrm_hf.training.views import AMBIENT, LIGHT_DIRECTION, ObjectViews


FRONT = orbit_cameras(1, elevation=0.0)  # at (0, -2, 0), looking along +y


def shading(normal: tuple[float, float, float]) -> float:
    """Half-Lambert factor by hand, for a normal that faces the viewer."""
    light = np.array(LIGHT_DIRECTION) / np.linalg.norm(LIGHT_DIRECTION)
    return AMBIENT + (1 - AMBIENT) * (0.5 * float(light @ np.array(normal)) + 0.5) ** 2


def quad(y: float, half: float, colour: tuple[float, float, float, float], texture: np.ndarray | None = None):
    """Two triangles in the plane y, facing the front camera; uv (0, 0) at the lower left as that camera sees it."""
    corners = np.array([[-half, y, -half], [half, y, -half], [half, y, half], [-half, y, half]])
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    return MeshObject(
        corners[faces].astype(np.float32),
        uv[faces].astype(np.float32),
        np.tile(np.array(colour, dtype=np.float32), (2, 3, 1)),
        np.zeros(2, dtype=np.int64),
        [np.ones((1, 1, 4), dtype=np.float32) if texture is None else texture],
    )


def join(*objects: MeshObject) -> MeshObject:
    offsets = np.cumsum([0, *(len(one.textures) for one in objects[:-1])])
    return MeshObject(
        np.concatenate([one.triangles for one in objects]),
        np.concatenate([one.uv for one in objects]),
        np.concatenate([one.colours for one in objects]),
        np.concatenate([one.texture_index + offset for one, offset in zip(objects, offsets, strict=True)]),
        [texture for one in objects for texture in one.textures],
    )


@pytest.fixture(scope="module")
def sphere_views(tmp_path_factory) -> tuple[float, ObjectViews]:
    """A sphere of radius 0.5 in one colour, seen from the front at 65 px."""
    path = tmp_path_factory.mktemp("sphere") / "sphere.ply"
    mesh = trimesh.creation.icosphere(subdivisions=5, radius=0.5)
    mesh.visual.vertex_colors = np.tile(np.array([[51, 102, 204, 255]], dtype=np.uint8), (len(mesh.vertices), 1))
    mesh.export(path)
    return 0.5, render_views(load_object(path, normalize=False), FRONT, 65, antialias=4)


def test_sphere_depth(sphere_views):
    radius, views = sphere_views
    depth = views.depth[0].float()
    # along the axis 2 - 0.5; float16 steps are 2^-10 there, the facets of the icosphere lie within 3e-4
    assert depth[32, 32] == pytest.approx(2 - radius, abs=2e-3)
    # along the central ray of pixel (32, 40): the nearer root of |o + t d| = r
    x = ((40.5 / 65) - 0.5) / 0.75
    direction = np.array([x, 1.0, 0.0]) / np.hypot(x, 1)
    along = 2 * direction[1]
    expected = along - np.sqrt(along**2 - (4 - radius**2))
    # a median over the pixel's rays is not the value at its centre: the slope there moves it by less than 0.01
    assert depth[32, 40] == pytest.approx(expected, abs=0.01)
    assert depth[0, 0] == 0
    assert views.rgba[0, :, 0, 0].tolist() == [0, 0, 0, 0]


def test_sphere_silhouette_area(sphere_views):
    radius, views = sphere_views
    # the silhouette cone has sin = r / d; on the axis it projects to a disc of radius f tan = 0.75 r / sqrt(d^2 - r^2)
    expected = np.pi * (0.75 * radius / np.sqrt(4 - radius**2)) ** 2
    alpha = views.rgba[0, 3].double() / 255
    # the facets lie inside the sphere by up to 3e-4 of the radius, the 4x4 grid counts the rim to about 0.2 %
    assert alpha.mean().item() == pytest.approx(expected, rel=5e-3)
    partial = (alpha > 0.02) & (alpha < 0.98)
    assert 40 < partial.sum() < 160  # a rim of about 2 pi 12.6 = 79 px circumference, one to two pixels wide
    steps = alpha[partial] * 16
    assert torch.allclose(steps, steps.round(), atol=0.04)  # 16 rays: sixteenths, rounded to 1/255


def test_sphere_colour_is_shaded_albedo_also_at_the_rim(sphere_views):
    _, views = sphere_views
    colour = views.rgba[0, :3].double() / 255
    factor = shading((0, -1, 0))
    assert torch.allclose(colour[:, 32, 32], torch.tensor([0.2, 0.4, 0.8], dtype=torch.float64) * factor, atol=0.01)
    seen = views.rgba[0, 3] > 40
    # straight alpha: the hue stays at the rim, it is not darkened by the empty rays
    assert torch.allclose(colour[0][seen] * 4, colour[2][seen], atol=0.02)
    assert colour[2][seen].min() > 0.8 * AMBIENT - 0.01


def test_opaque_quad_coverage_and_depth_at_the_edge():
    # half-width 0.5 at distance 2 covers 0.75 * 0.25 = 0.1875 of the picture to each side: 12 px of 64, exactly
    views = render_views(quad(0.0, 0.5, (1, 1, 1, 1)), FRONT, 64, antialias=2)
    alpha = views.rgba[0, 3]
    expected = torch.zeros(64, 64, dtype=torch.uint8)
    expected[20:44, 20:44] = 255
    assert torch.equal(alpha, expected)
    # 0.5 px wider: the border pixels hold half of their rays on each side, a quarter in the corners
    views = render_views(quad(0.0, 0.5 * 12.5 / 12, (1, 1, 1, 1)), FRONT, 64, antialias=2)
    assert views.rgba[0, 3, 19, 32] == 128
    assert views.rgba[0, 3, 19, 19] == 64
    assert views.depth[0, 19, 32] > 2
    assert views.depth[0, 19, 19] == 0


def test_texture_orientation_and_bilinear_lookup():
    texture = np.ones((2, 2, 4), dtype=np.float32)
    texture[0, 0, :3], texture[0, 1, :3] = (1, 0, 0), (0, 1, 0)  # upper row of the image: red, green
    texture[1, 0, :3], texture[1, 1, :3] = (0, 0, 1), (1, 1, 1)  # lower row: blue, white
    one = quad(0.0, 0.5, (1, 1, 1, 1), texture)
    views = render_views(one, FRONT, 64, antialias=1)
    colour = views.rgba[0, :3, 20:44, 20:44].double() / 255 / shading((0, -1, 0))  # 12 px per texel
    # texel 0 weighs 1 - |distance of its centre|, a triangle wave of period 2 since the texture repeats
    position = (torch.arange(24, dtype=torch.float64) + 0.5) / 12 - 0.5
    first = 1 - ((position + 1) % 2 - 1).abs()
    weight = torch.stack([first, 1 - first])  # [texel, pixel]
    expected = torch.einsum("yr,xc,yxk->krc", weight, weight, torch.from_numpy(texture[..., :3]).double())
    assert expected[:, 5, 5].tolist() == pytest.approx([(23 / 24) ** 2 + 1 / 576, 23 / 576 + 1 / 576, 24 / 576])
    assert torch.allclose(colour, expected, atol=0.5 / 255 / 0.7)  # rounding to 8 bits, before the shading is undone


def test_fine_texture_becomes_its_mean():
    checker = (np.indices((256, 256)).sum(axis=0) % 2).astype(np.float32)
    texture = np.stack([checker, checker, checker, np.ones_like(checker)], axis=-1)
    views = render_views(quad(0.0, 0.5, (1, 1, 1, 1), texture), FRONT, 32, antialias=1)
    inside = views.rgba[0, 0, 11:21, 11:21].double() / 255 / shading((0, -1, 0))
    assert torch.allclose(inside, torch.full_like(inside, 0.5), atol=0.01)


def test_two_translucent_layers_over_nothing():
    front, back = (1.0, 0.0, 0.0, 0.25), (0.0, 0.0, 1.0, 0.5)
    views = render_views(join(quad(0.5, 0.6, back), quad(-0.5, 0.6, front)), FRONT, 32, antialias=2)
    red, green, blue, alpha = (views.rgba[0, :, 16, 16].double() / 255).tolist()
    factor = shading((0, -1, 0))
    opacity = 0.25 + 0.75 * 0.5
    assert alpha == pytest.approx(opacity, abs=3e-3)
    assert red == pytest.approx(0.25 / opacity * factor, abs=3e-3)
    assert blue == pytest.approx(0.375 / opacity * factor, abs=3e-3)
    assert green == 0
    # the opacity passes 0.5 at the second layer, 2.5 away
    assert views.depth[0, 16, 16].item() == pytest.approx(2.5, abs=0.01)


def test_glass_over_opaque_and_the_layer_limit():
    glass = [quad(-0.5 + 0.1 * index, 0.6, (1, 1, 1, 0.2)) for index in range(5)]
    wall = quad(0.5, 0.6, (0, 1, 0, 1))
    views = render_views(join(wall, *glass), FRONT, 16, antialias=1)
    red, green, _, alpha = (views.rgba[0, :, 8, 8].double() / 255).tolist()
    behind = 0.8**5
    assert alpha == 1
    assert red == pytest.approx((1 - behind) * shading((0, -1, 0)), abs=3e-3)
    assert green == pytest.approx(shading((0, -1, 0)), abs=3e-3)
    limited = render_views(join(wall, *glass, quad(0.1, 0.6, (1, 1, 1, 0.2))), FRONT, 16, antialias=1)
    assert limited.rgba[0, 3, 8, 8].item() / 255 == pytest.approx(1 - 0.8**6, abs=3e-3)


def test_surfaces_are_two_sided_and_normals_face_the_viewer():
    one = quad(0.0, 0.5, (1, 1, 1, 1))
    views = render_views(one, orbit_cameras(azimuths=[0.0, 180.0], elevation=0.0), 32, antialias=1)
    for index, normal in enumerate([(0, -1, 0), (0, 1, 0)]):
        assert views.rgba[index, 0, 16, 16].item() / 255 == pytest.approx(shading(normal), abs=3e-3)
    assert views.rgba[0, 0, 16, 16] > views.rgba[1, 0, 16, 16]  # the light stands on the front side


def coloured_box() -> MeshObject:
    """Faces in +x red, -x green, +y blue, -y white, caps grey."""
    mesh = trimesh.creation.box(extents=(0.6, 0.6, 0.6))
    colours = {(1, 0, 0): (1, 0, 0), (-1, 0, 0): (0, 1, 0), (0, 1, 0): (0, 0, 1), (0, -1, 0): (1, 1, 1)}
    albedo = [colours.get(tuple(np.rint(normal).astype(int).tolist()), (0.5, 0.5, 0.5)) for normal in mesh.face_normals]
    corners = np.concatenate([np.array(albedo), np.ones((12, 1))], axis=-1)[:, None].repeat(3, axis=1)
    return MeshObject(
        mesh.triangles.astype(np.float32),
        np.zeros((12, 3, 2), dtype=np.float32),
        corners.astype(np.float32),
        np.zeros(12, dtype=np.int64),
        [np.ones((1, 1, 4), dtype=np.float32)],
    )


def test_yaw_turns_the_object_and_leaves_the_light():
    box = coloured_box()
    # counter-clockwise by 90 degrees seen from above, the side that was at -x comes to -y
    turned = render_views(box.rotate_about_z(90), FRONT, 32, antialias=1)
    still = render_views(box, FRONT, 32, antialias=1)
    lit = round(shading((0, -1, 0)) * 255)
    assert still.rgba[0, :, 16, 16].tolist() == [lit, lit, lit, 255]
    assert turned.rgba[0, :, 16, 16].tolist() == [0, lit, 0, 255]  # the light of the front, not that of the left
    # the same side seen by a camera at -x without the turn has the light of the left
    left = render_views(box, orbit_cameras(azimuths=[-90.0], elevation=0.0), 32, antialias=1)
    assert left.rgba[0, :, 16, 16].tolist() == [0, round(shading((-1, 0, 0)) * 255), 0, 255]
    # geometry: turning the object and turning the camera along shows the same silhouette and depth
    orbit = orbit_cameras(azimuths=[10.0, 200.0], elevation=[20.0, -30.0])
    a = render_views(box, orbit, 32, antialias=2)
    b = render_views(box.rotate_about_z(33.0), orbit.rotate_about_z(33.0), 32, antialias=2)
    # rays on an edge may fall on either side of it by rounding
    assert (a.rgba[:, 3] != b.rgba[:, 3]).double().mean() < 0.01
    assert ((a.depth.float() - b.depth.float()).abs() > 0.01).double().mean() < 0.01


def test_picture_agrees_with_project_points():
    triangle = quad(0.3, 0.05, (1, 1, 1, 1))
    triangle.triangles += np.array([0.4, 0.0, 0.25], dtype=np.float32)
    cameras = orbit_cameras(azimuths=[25.0], elevation=35.0)
    alpha = render_views(triangle, cameras, 64, antialias=4).rgba[0, 3].double()
    uv, _ = project_points(cameras, torch.tensor([[[0.4, 0.3, 0.25]]]))
    grid = (torch.arange(64) + 0.5) / 64
    centre = [(alpha.sum(0) * grid).sum() / alpha.sum(), (alpha.sum(1) * grid).sum() / alpha.sum()]
    # the centroid of a small quad against the projection of its centre, in a tenth of a pixel
    assert [float(value) for value in centre] == pytest.approx(uv[0, 0].tolist(), abs=0.1 / 64)


def test_camera_inside_the_bounding_box_sees_what_is_in_front():
    box = coloured_box()
    inside = look_at_cameras([[0.0, 0.0, 0.0]], target=[0.0, 1.0, 0.0])
    views = render_views(box, inside, 16, antialias=1)
    assert bool((views.rgba[0, 3] == 255).all())
    assert views.rgba[0, :, 8, 8].tolist() == [0, 0, round(shading((0, -1, 0)) * 255), 255]
    outside = look_at_cameras([[0.0, -2.0, 0.0]], target=[0.0, -3.0, 0.0])
    assert int(render_views(box, outside, 16).rgba.sum()) == 0


def box_with_corner_marks(path) -> None:
    """A glTF or OBJ box (y up) with a textured front in +z: red, green / blue, white quarters."""
    image = Image.new("RGB", (2, 2))
    image.putdata([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)])
    image = image.resize((64, 64), Image.Resampling.NEAREST)
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], dtype=float)
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=float)  # trimesh's uv: v upwards
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=image, baseColorFactor=[255, 255, 255, 255])
    if path.suffix == ".obj":
        material = trimesh.visual.material.SimpleMaterial(image=image, diffuse=[255, 255, 255, 255])
    mesh = trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], process=False)
    mesh.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    scene = trimesh.Scene()
    move = trimesh.transformations.translation_matrix([5.0, 7.0, 3.0])  # undone by the normalisation
    scene.add_geometry(mesh, transform=move)
    scene.export(path)


@pytest.mark.parametrize("suffix", [".glb", ".obj"])
def test_files_come_upright_and_face_the_source_camera(tmp_path, suffix):
    path = tmp_path / f"marks{suffix}"
    box_with_corner_marks(path)
    one = load_object(path)
    assert np.abs(one.bounds.sum(axis=0)).max() < 1e-5
    # half diagonal 1 of the flat square: half sides of 1 / sqrt(2)
    assert one.bounds[1].tolist() == pytest.approx([0.5**0.5, 0, 0.5**0.5], abs=1e-5)
    views = render_views(one, FRONT, 64, antialias=2)
    lit = round(shading((0, -1, 0)) * 255)
    # the square covers 0.75 / 2 / sqrt(2) = 0.265 of the picture to each side: 17 px about the centre
    marks = {(24, 24): (1, 0, 0), (24, 40): (0, 1, 0), (40, 24): (0, 0, 1), (40, 40): (1, 1, 1)}
    for (row, column), mark in marks.items():
        assert views.rgba[0, :, row, column].tolist() == [*(lit * value for value in mark), 255], (row, column)


def test_gltf_scene_graph_factor_and_alpha_modes(tmp_path):
    def sheet(y: float, **material) -> trimesh.Trimesh:
        corners = np.array([[-1, y - 0.4, 0], [1, y - 0.4, 0], [1, y + 0.4, 0], [-1, y + 0.4, 0]], dtype=float)
        mesh = trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], process=False)
        mesh.visual = trimesh.visual.TextureVisuals(
            uv=np.zeros((4, 2)), material=trimesh.visual.material.PBRMaterial(**material)
        )
        return mesh

    half = [255, 0, 0, 102]  # alpha 0.4
    scene = trimesh.Scene()
    scene.add_geometry(sheet(0.0, baseColorFactor=half, alphaMode="OPAQUE"))
    up = trimesh.transformations.translation_matrix([0, 1, 0])
    scene.add_geometry(sheet(0.0, baseColorFactor=half, alphaMode="BLEND"), transform=up)
    scene.add_geometry(sheet(-1.0, baseColorFactor=half, alphaMode="MASK", alphaCutoff=0.3))
    scene.add_geometry(sheet(-2.0, baseColorFactor=half, alphaMode="MASK", alphaCutoff=0.5))
    path = tmp_path / "modes.glb"
    scene.export(path)
    one = load_object(path, normalize=False)
    assert one.bounds[:, 2].tolist() == pytest.approx([-2.4, 1.4], abs=1e-6)  # glTF y is the world's z
    camera = look_at_cameras([[0.0, -8.0, -0.5]], target=[0.0, 0.0, -0.5], focal=1.5)
    rgba = render_views(one, camera, 64, antialias=1).rgba[0]
    lit = round(shading((0, -1, 0)) * 255)
    rows = [round(31.5 - (z + 0.5) / 8 * 1.5 * 64) for z in (1.0, 0.0, -1.0, -2.0)]
    seen = [rgba[:, row, 32].tolist() for row in rows]
    assert seen == [[lit, 0, 0, 102], [lit, 0, 0, 255], [lit, 0, 0, 255], [0, 0, 0, 0]]


def test_face_colours_and_no_colours(tmp_path):
    mesh = trimesh.creation.box(extents=(1, 1, 1))
    mesh.export(tmp_path / "plain.stl")
    plain = load_object(tmp_path / "plain.stl")
    assert np.unique(plain.colours[..., :3]).tolist() == pytest.approx([DEFAULT_COLOUR])
    assert plain.bounds[1].tolist() == pytest.approx([3**-0.5] * 3, abs=1e-6)
    mesh.visual.face_colors = np.tile(np.array([[0, 51, 255, 255]], dtype=np.uint8), (12, 1))
    mesh.export(tmp_path / "faces.ply")
    faces = load_object(tmp_path / "faces.ply")
    assert faces.colours[5, 2].tolist() == pytest.approx([0, 0.2, 1, 1], abs=1e-6)


def test_vertex_colours_of_gltf_are_linear_and_those_of_ply_are_not(tmp_path):
    """Half of the light is display value 188, not 128 (IEC 61966-2-1: 1.055 * 0.5 ** (1 / 2.4) - 0.055 = 0.7354)."""
    mesh = trimesh.creation.box(extents=(1, 1, 1))
    mesh.visual.vertex_colors = np.tile(np.array([[128, 0, 255, 255]], dtype=np.uint8), (8, 1))
    mesh.export(tmp_path / "stored.glb")  # trimesh stores the numbers as they are
    mesh.export(tmp_path / "stored.ply")
    linear = 128 / 255
    expected = 1.055 * linear ** (1 / 2.4) - 0.055
    assert expected == pytest.approx(0.7366, abs=1e-4)
    assert load_object(tmp_path / "stored.glb").colours[0, 0].tolist() == pytest.approx([expected, 0, 1, 1], abs=1e-6)
    assert load_object(tmp_path / "stored.ply").colours[0, 0].tolist() == pytest.approx([linear, 0, 1, 1], abs=1e-6)


def test_own_meshes_come_back_in_the_colours_they_were_exported_with(tmp_path):
    from lrm_hf.meshing.mesh import LRMMesh

    colours = np.array([[10, 60, 200], [128, 128, 128], [255, 0, 3]], dtype=np.uint8)
    corners = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    mesh = LRMMesh(corners, [[0, 1, 2]], vertex_colors=colours, process=False)
    for suffix in ("glb", "ply"):
        mesh.export(tmp_path / f"own.{suffix}")
        read = load_object(tmp_path / f"own.{suffix}").colours[0, :, :3]
        # float32 in the file: exact to far below half of one of 255 steps
        assert (np.abs(read * 255 - colours).max(axis=1) < 1e-3).all(), suffix


def test_an_object_in_the_unit_ball_is_left_alone(tmp_path):
    mesh = trimesh.creation.box(extents=(2 / 3**0.5,) * 3)
    mesh.apply_scale(1.0005)
    mesh.export(tmp_path / "near.stl")
    assert load_object(tmp_path / "near.stl").bounds[1, 0] == pytest.approx(1.0005 / 3**0.5, abs=1e-6)
    mesh.apply_scale(1.002)
    mesh.export(tmp_path / "far.stl")
    assert load_object(tmp_path / "far.stl").bounds[1, 0] == pytest.approx(3**-0.5, abs=1e-6)


def test_bad_input(tmp_path):
    with pytest.raises(OSError, match=r"missing\.glb"):
        load_object(tmp_path / "missing.glb")
    with pytest.raises(ValueError, match="`path` must end in"):
        load_object(tmp_path / "object.txt")
    (tmp_path / "broken.glb").write_bytes(b"glTF nonsense")
    with pytest.raises(OSError, match="cannot be read as a mesh"):
        load_object(tmp_path / "broken.glb")
    box = coloured_box()
    with pytest.raises(ValueError, match="`size`"):
        render_views(box, FRONT, 0)
    with pytest.raises(ValueError, match="`antialias`"):
        render_views(box, FRONT, 16, antialias=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`cameras`"):
        render_views(box, Cameras.canonical(), 16)


def test_missing_libraries_name_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "embreex.mesh_construction", None)
    with pytest.raises(ImportError, match=r'pip install "lrm_hf\[train\]"'):
        render_views(coloured_box(), FRONT, 16)
    monkeypatch.setitem(sys.modules, "trimesh", None)
    with pytest.raises(ImportError, match=r'pip install "lrm_hf\[train\]"'):
        load_object(tmp_path / "a.glb")


def test_view_angles():
    azimuths, elevations = view_angles(np.random.default_rng(3), sources=4, targets=12)
    assert azimuths[:4].tolist() == [0, 0, 0, 0]
    assert elevations[0] == 20
    assert np.all((elevations[1:4] >= 0) & (elevations[1:4] <= 40))
    assert np.floor(azimuths[4:] / 30).astype(int).tolist() == list(range(12))  # one per sector of 30 degrees
    assert np.sum(elevations[4:] == 20) == 6
    assert np.all((elevations[4:] >= -15) & (elevations[4:] <= 60))


def test_command_writes_resumes_and_is_deterministic(tmp_path, capfd):
    source = tmp_path / "meshes"
    source.mkdir()
    box_with_corner_marks(source / "a.glb")
    trimesh.creation.box(extents=(1, 2, 3)).export(source / "b.stl")
    (source / "c.ply").write_bytes(b"not a mesh")
    (source / "notes.txt").write_text("ignored")
    output = tmp_path / "views"
    options = ["--size", "16", "--antialias", "1", "--sources", "2", "--targets", "3", "--variants", "2", "--seed", "7"]
    assert mesh_views.main([str(source), str(output), *options]) == 1
    assert "c.ply" in capfd.readouterr().err
    assert sorted(path.name for path in output.iterdir()) == ["a_0.npz", "a_1.npz", "b_0.npz", "b_1.npz"]
    kept = {path.name: path.stat().st_mtime_ns for path in output.iterdir() if path.name != "b_1.npz"}
    first = (output / "b_1.npz").read_bytes()
    (output / "b_1.npz").unlink()
    (source / "c.ply").unlink()
    assert mesh_views.main([str(source), str(output), *options]) == 0
    assert {name: (output / name).stat().st_mtime_ns for name in kept} == kept  # not rendered again
    views = ObjectViews.load(output / "b_1.npz")
    again = render_training_views(source / "b.stl", 1, size=16, antialias=1, sources=2, targets=3, seed=7)
    (tmp_path / "copy.npz").write_bytes(first)
    for other in (again, ObjectViews.load(tmp_path / "copy.npz")):
        assert torch.equal(views.rgba, other.rgba)
        assert torch.equal(views.depth, other.depth)
        assert torch.equal(views.cameras.cam2world, other.cameras.cam2world)
        assert torch.equal(views.cameras.intrinsics, other.cameras.intrinsics)
    assert tuple(views.rgba.shape) == (5, 4, 16, 16)
    assert views.depth.dtype == torch.float16
    # another turn and another seed show something else
    unturned = ObjectViews.load(output / "b_0.npz")
    assert not torch.equal(unturned.rgba[0], views.rgba[0])
    reseeded = render_training_views(source / "b.stl", 1, size=16, antialias=1, sources=2, targets=3, seed=8)
    assert not torch.equal(reseeded.rgba, views.rgba)
    assert views.cameras.position[0].tolist() == pytest.approx(
        [0, -2 * np.cos(np.deg2rad(20)), 2 * np.sin(np.deg2rad(20))], abs=1e-6
    )


def test_variants_stretch_and_keep_the_front(tmp_path):
    box = trimesh.creation.box(extents=(1, 2, 3))
    box.export(tmp_path / "b.stl")
    stretched = load_object(tmp_path / "b.stl").stretch(np.array([2.0, 0.5, 1.0]))
    # 2 x 1 x 3, of which half the diagonal is sqrt(14) / 2
    assert stretched.bounds[1].tolist() == pytest.approx(np.array([2, 1, 3]) / np.sqrt(14), abs=1e-6)
    assert stretched.bounds[0].tolist() == pytest.approx(np.array([-2, -1, -3]) / np.sqrt(14), abs=1e-6)

    def silhouette(variant, **options):
        views = render_training_views(
            tmp_path / "b.stl", variant, size=16, antialias=1, sources=1, targets=0, seed=3, **options
        )
        return views.rgba[0, 3]

    plain = silhouette(0, stretch=0.3)
    assert torch.equal(plain, silhouette(0))
    assert torch.equal(plain, silhouette(1, fronts=2))  # neither turned nor stretched
    assert not torch.equal(plain, silhouette(1, fronts=2, stretch=0.3))
    assert not torch.equal(plain, silhouette(1))
    assert not torch.equal(plain, silhouette(0, fronts=0))
    front = silhouette(1, fronts=2, stretch=0.3)
    assert torch.equal(front, front.flip(-1))  # a box seen from its own front is symmetrical


def test_command_refuses_bad_arguments(tmp_path, capsys):
    with pytest.raises(SystemExit) as error:
        mesh_views.main([str(tmp_path / "nowhere"), str(tmp_path)])
    assert error.value.code == 2
    assert "is not a folder" in capsys.readouterr().err
    with pytest.raises(SystemExit) as error:
        mesh_views.main([str(tmp_path), str(tmp_path), "--size", "0"])
    assert error.value.code == 2
    assert "must be at least 1, got 0" in capsys.readouterr().err
    for name in ("a.stl", "a.ply"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(SystemExit) as error:
        mesh_views.main([str(tmp_path), str(tmp_path / "out")])
    assert error.value.code == 2
    assert "same name" in capsys.readouterr().err
