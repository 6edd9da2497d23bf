# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Textures: fields whose colour is known everywhere, looked up through the texture coordinates again."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
import trimesh
from analytic_fields import ShapeField
from PIL import Image
from torch import Tensor

from lrm_hf.meshing import LRMMesh, bake_texture, prepare_asset
from lrm_hf.meshing.atlas import Texels, covered_texels, spread
from lrm_hf.meshing.texture import base_color_image, sample_bilinear, vertex_tangents


pytest.importorskip("xatlas")


class PositionField(ShapeField):
    """A ball whose colour is where a point is: 0 to 1 along each axis of the box, darker by a fifth in entry 1."""

    def __init__(self) -> None:
        def ball(points: Tensor) -> Tensor:
            return points.norm(dim=-1) - 0.8

        super().__init__(ball, ball)

    def rgb(self, points: Tensor) -> Tensor:
        return (points / 2 + 0.5) * torch.tensor([1.0, 0.8])[:, None, None]


def ball(subdivisions: int, radius: float = 0.8) -> LRMMesh:
    plain = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return LRMMesh(plain.vertices, plain.faces, process=False)


def surface_points(mesh: LRMMesh, count: int = 4000, at_edges: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Random points of the surface, and their texture coordinates; `at_edges` half of them on edges of faces, which is
    where the seams are."""
    rng = np.random.default_rng(0)
    face = rng.integers(0, len(mesh.faces), count)
    weights = rng.dirichlet([1, 1, 1], count)
    if at_edges:
        weights[::2, 2] = 0
        weights /= weights.sum(axis=1, keepdims=True)
    corners = mesh.faces[face]
    points = np.einsum("nc,ncx->nx", weights, mesh.vertices[corners])
    return points, np.einsum("nc,ncx->nx", weights, np.asarray(mesh.visual.uv)[corners])


@pytest.fixture(scope="module")
def baked() -> LRMMesh:
    return bake_texture(ball(3), PositionField(), resolution=256)


class TestColours:
    @pytest.mark.parametrize("at_edges", [False, True], ids=["anywhere", "at edges"])
    def test_looked_up_again(self, baked: LRMMesh, at_edges: bool) -> None:
        points, uv = surface_points(baked, at_edges=at_edges)
        image = np.asarray(base_color_image(baked), dtype=np.float64) / 255
        found = sample_bilinear(image, uv)
        # a texel is about 0.02 wide, so colours change by 0.01 from one to the next; beyond a seam the nearest texel's
        # stands for the extrapolated one: one texel off at most
        np.testing.assert_allclose(found, points / 2 + 0.5, atol=0.012)
        assert np.abs(found - (points / 2 + 0.5)).mean() < 0.0025  # 8 bits: 0.001 on average

    def test_no_bleeding_when_seen_from_afar(self, baked: LRMMesh) -> None:
        """The third mip level, of texels eight times as wide, is what a viewer takes for a small picture."""
        points, uv = surface_points(baked, at_edges=True)
        image = np.asarray(base_color_image(baked).reduce(8), dtype=np.float64) / 255
        # texels are 0.16 wide here: 0.08 of colour from one to the next. The background of a texture that is not spread
        # over its seams would be half of the range away
        assert np.abs(sample_bilinear(image, uv) - (points / 2 + 0.5)).max() < 0.2

    def test_shape_stays(self, baked: LRMMesh) -> None:
        before = ball(3)
        np.testing.assert_allclose(baked.triangles, before.triangles, atol=1e-12)
        np.testing.assert_allclose(baked.vertex_normals, baked.vertices / 0.8, atol=0.01)  # smooth over the seams
        assert len(baked.vertices) > len(before.vertices)
        uv = np.asarray(baked.visual.uv)
        assert uv.min() >= 0
        assert uv.max() <= 1
        material = baked.visual.material
        assert material.metallicFactor == 0.0
        assert material.normalTexture is None
        (report,) = baked.metadata["steps"]
        assert (report["step"], report["resolution"], report["normal_map"]) == ("bake_texture", 256, False)
        assert report["charts"] >= 2  # a ball has no flat map
        assert 0.3 < report["covered"] < 1
        json.dumps(baked.metadata)

    def test_charts_do_not_overlap(self, baked: LRMMesh) -> None:
        uv, faces = np.asarray(baked.visual.uv), np.asarray(baked.faces)
        corners = uv[faces]
        edges = corners[:, 1:] - corners[:, :1]
        area = np.abs(edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]).sum() / 2
        texels = covered_texels(uv, faces, 1024)
        # a texel counts once; overlapping charts would have more area than texels
        assert len(texels.row) / 1024**2 == pytest.approx(area, rel=0.01)

    def test_entry_of_a_batch(self, baked: LRMMesh) -> None:
        other = bake_texture(ball(3), PositionField(), 1, resolution=256)
        first, second = (np.asarray(base_color_image(mesh), dtype=np.float64) for mesh in (baked, other))
        np.testing.assert_allclose(second, first * 0.8, atol=1)

    def test_moved_and_scaled_meshes_find_their_place_in_the_field(self, baked: LRMMesh) -> None:
        moved = ball(3).ground().rescale(height=0.25)
        texture = base_color_image(bake_texture(moved, PositionField(), resolution=256))
        difference = np.asarray(texture, dtype=np.float64) - np.asarray(base_color_image(baked))
        assert np.abs(difference).max() <= 1

    def test_the_same_call_gives_the_same_bytes(self, baked: LRMMesh) -> None:
        again = bake_texture(ball(3), PositionField(), resolution=256, chunk_size=1000)
        np.testing.assert_array_equal(np.asarray(again.visual.uv), np.asarray(baked.visual.uv))
        assert base_color_image(again).tobytes() == base_color_image(baked).tobytes()

    def test_dense_points_are_where_colours_come_from(self) -> None:
        """The coarse ball's flat faces lie up to 0.05 inside of the dense one."""
        mesh = bake_texture(ball(1), PositionField(), resolution=128, normal_map=ball(4))
        points, uv = surface_points(mesh)
        found = sample_bilinear(np.asarray(base_color_image(mesh), dtype=np.float64) / 255, uv)
        outside = 0.8 * points / np.linalg.norm(points, axis=1, keepdims=True)
        # the nearest point of a ball lies in the point's direction; texels are 0.04 wide
        np.testing.assert_allclose(found, outside / 2 + 0.5, atol=0.025)


class TestNormalMap:
    def test_shows_the_dense_surface(self) -> None:
        """The dense ball is shaded as if it were turned by 20 degrees about z, which the coarse one can't know of."""
        dense, turn = ball(5), trimesh.transformations.rotation_matrix(np.radians(20), [0, 0, 1])[:3, :3]
        dense.vertex_normals = dense.vertices / 0.8 @ turn.T
        mesh = bake_texture(ball(1), PositionField(), resolution=256, normal_map=dense)
        rng = np.random.default_rng(0)
        face, weights = rng.integers(0, len(mesh.faces), 4000), rng.dirichlet([1, 1, 1], 4000)
        corners, uv = mesh.faces[face], np.asarray(mesh.visual.uv)
        tangents = vertex_tangents(mesh.vertices, mesh.vertex_normals, mesh.faces, uv)

        def at_points(values: np.ndarray) -> np.ndarray:
            return np.einsum("nc,ncx->nx", weights, values[corners])

        def unit(vectors: np.ndarray) -> np.ndarray:
            return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

        normal = unit(at_points(mesh.vertex_normals))
        tangent = at_points(tangents[:, :3])
        tangent = unit(tangent - normal * (tangent * normal).sum(axis=1, keepdims=True))
        bitangent = np.cross(normal, tangent) * tangents[corners[:, 0], 3:]
        image = np.asarray(mesh.visual.material.normalTexture, dtype=np.float64) / 255 * 2 - 1
        local = sample_bilinear(image, at_points(uv))
        shaded = unit(local[:, :1] * tangent + local[:, 1:2] * bitangent + local[:, 2:] * normal)
        true = unit(at_points(mesh.vertices)) @ turn.T

        def degrees_off(vectors: np.ndarray) -> np.ndarray:
            return np.degrees(np.arccos(np.clip((vectors * true).sum(axis=1), -1, 1)))

        # 8 bits are half a degree, a texel of 0.02 is 1.4 degrees of the ball
        assert degrees_off(shaded).mean() < 0.6
        assert np.quantile(degrees_off(shaded), 0.99) < 2
        assert degrees_off(normal).mean() > 10

    def test_tangents_by_hand(self) -> None:
        """A square in the xy plane whose u goes along y and whose v goes along -x."""
        vertices = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
        uv = np.stack([vertices[:, 1], 1 - vertices[:, 0]], axis=1)
        faces = np.array([[0, 1, 2], [0, 2, 3]])
        normals = np.tile([0.0, 0, 1], (4, 1))
        # cross(normal, tangent) = cross(z, y) = -x, which is where v grows
        np.testing.assert_allclose(vertex_tangents(vertices, normals, faces, uv), np.tile([0, 1, 0, 1], (4, 1)))
        mirrored = uv * [-1, 1]
        np.testing.assert_allclose(vertex_tangents(vertices, normals, faces, mirrored), np.tile([0, -1, 0, -1], (4, 1)))


class TestSteps:
    def test_simplify_carries_a_texture_over(self, baked: LRMMesh) -> None:
        light = baked.simplify(300)
        assert len(light.faces) <= 300
        points, uv = surface_points(light)
        found = sample_bilinear(np.asarray(base_color_image(light), dtype=np.float64) / 255, uv)
        outside = 0.8 * points / np.linalg.norm(points, axis=1, keepdims=True)
        np.testing.assert_allclose(found, outside / 2 + 0.5, atol=0.03)  # facets lie 0.02 inside
        assert [step["step"] for step in light.metadata["steps"]] == ["bake_texture", "simplify", "transfer_texture"]

    def test_smooth_does_not_tear_the_seams(self, baked: LRMMesh) -> None:
        smooth = baked.smooth(5)
        plain = ball(3).smooth(5)
        np.testing.assert_allclose(smooth.triangles, plain.triangles, atol=1e-9)
        np.testing.assert_array_equal(np.asarray(smooth.visual.uv), np.asarray(baked.visual.uv))

    def test_largest_component_keeps_texture_coordinates(self, baked: LRMMesh) -> None:
        kept = baked.largest_component()  # the seams are no gaps
        assert len(kept.faces) == len(baked.faces)
        np.testing.assert_array_equal(np.asarray(kept.visual.uv)[kept.faces], np.asarray(baked.visual.uv)[baked.faces])

    def test_closing_comes_before(self, baked: LRMMesh) -> None:
        with pytest.raises(ValueError, match="do it before the texture is baked"):
            baked.make_watertight()

    def test_prepare_asset_in_order(self) -> None:
        done = prepare_asset(
            ball(3),
            PositionField(),
            largest_component=True,
            smooth=2,
            target_faces=300,
            watertight=True,
            texture=128,
            normal_map=True,
            ground=True,
            height=0.3,
        )
        names = ["largest_component", "smooth", "simplify", "make_watertight", "bake_texture", "ground", "rescale"]
        assert [step["step"] for step in done.metadata["steps"]] == names
        assert done.bounds[0, 2] == pytest.approx(0, abs=1e-12)
        assert done.extents[2] == pytest.approx(0.3)
        assert done.visual.material.normalTexture.size == (128, 128)
        nothing = prepare_asset(ball(1))
        assert "steps" not in nothing.metadata
        with pytest.raises(ValueError, match="give the `field`"):
            prepare_asset(ball(1), texture=128)
        with pytest.raises(ValueError, match="`normal_map` belongs to a texture"):
            prepare_asset(ball(1), PositionField(), normal_map=True)


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"resolution": 32}, ValueError, "`resolution` must be from 64 to 4096, got 32"),
            ({"resolution": 5000}, ValueError, "`resolution` must be from 64 to 4096, got 5000"),
            ({"resolution": 512.0}, TypeError, "`resolution` must be an integer, got float"),
            ({"index": 2}, ValueError, "`index` must be from -2 to 1, got 2"),
            ({"normal_map": True}, TypeError, "`normal_map` must be a mesh, got bool"),
            ({"chunk_size": 0}, ValueError, "`chunk_size` must be at least 1, got 0"),
        ],
    )
    def test_arguments(self, arguments: dict, error: type, message: str) -> None:
        with pytest.raises(error, match=message):
            bake_texture(ball(1), PositionField(), **arguments)

    def test_no_faces(self) -> None:
        with pytest.raises(ValueError, match="`mesh` has no faces"):
            bake_texture(LRMMesh(), PositionField())

    def test_colours_that_are_not_finite(self) -> None:
        field = PositionField()
        field.rgb = lambda points: torch.full_like(points, torch.nan)  # type: ignore[method-assign]
        with pytest.raises(ValueError, match="colour is not finite"):
            bake_texture(ball(1), field, resolution=64)

    def test_the_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "xatlas", None)
        with pytest.raises(ImportError, match=r"pip install 'lrm_hf\[texture\]'"):
            bake_texture(ball(1), PositionField(), resolution=64)


class TestTexels:
    def test_a_square_of_two_triangles(self) -> None:
        """On 4 x 4 texels, the lower left quarter: texel centres at 1/8, 3/8 ... and row 0 at the top."""
        uv = np.array([[0, 0], [0.5, 0], [0.5, 0.5], [0, 0.5]])
        found = covered_texels(uv, np.array([[0, 1, 2], [0, 2, 3]]), 4)
        assert sorted(zip(found.row.tolist(), found.column.tolist(), strict=True)) == [(2, 0), (2, 1), (3, 0), (3, 1)]
        at = {(row, column): number for number, (row, column) in enumerate(zip(found.row, found.column, strict=True))}
        corner = at[3, 1]  # at (3/8, 1/8): in the first triangle, 1/4 of vertex 0 and 2, 1/2 of vertex 1
        assert found.face[corner] == 0
        np.testing.assert_allclose(found.weights[corner], [0.25, 0.5, 0.25])

    def test_many_faces_in_pieces(self, monkeypatch: pytest.MonkeyPatch, baked: LRMMesh) -> None:
        uv, faces = np.asarray(baked.visual.uv), np.asarray(baked.faces)
        whole = covered_texels(uv, faces, 256)
        monkeypatch.setattr("lrm_hf.meshing.atlas._CHUNK", 999)
        pieces = covered_texels(uv, faces, 256)
        for name in ("row", "column", "face", "weights"):
            np.testing.assert_array_equal(getattr(whole, name), getattr(pieces, name))

    def test_spread_takes_the_nearest(self) -> None:
        image = np.zeros((1, 7, 1))
        image[0, 1], image[0, 5] = 10, 20
        texels = Texels(np.array([0, 0]), np.array([1, 5]), np.zeros(2), np.zeros((2, 3)))
        assert spread(image, texels)[0, [0, 2, 4, 6], 0].tolist() == [10, 10, 20, 20]

    def test_bilinear_by_hand(self) -> None:
        image = np.array([[[0.0], [1.0]], [[2.0], [4.0]]])  # row 0 is at the top, v = 3/4
        uv = np.array([[0.25, 0.75], [0.5, 0.75], [0.5, 0.5], [0.0, 0.0]])
        np.testing.assert_allclose(sample_bilinear(image, uv)[:, 0], [0, 0.5, 1.75, 2])


def test_a_texture_without_a_picture() -> None:
    mesh = ball(1)
    mesh.visual = trimesh.visual.TextureVisuals(
        uv=np.zeros((len(mesh.vertices), 2)), material=trimesh.visual.material.PBRMaterial()
    )
    with pytest.raises(ValueError, match="but no picture"):
        base_color_image(mesh)
    mesh.visual.material.baseColorTexture = Image.new("RGBA", (2, 2), (1, 2, 3, 4))
    assert base_color_image(mesh).getpixel((0, 0)) == (1, 2, 3)
