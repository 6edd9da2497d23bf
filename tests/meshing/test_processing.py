# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Meshes made lighter, smoother, smaller, standing and closed: shapes whose numbers are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import trimesh

from lrm_hf.meshing import LRMMesh, processing
from lrm_hf.meshing.closest import ClosestPoint, closest_weights


def ball(subdivisions: int = 4, radius: float = 1.0, center: tuple = (0, 0, 0)) -> LRMMesh:
    """A sphere, coloured by direction."""
    plain = trimesh.creation.icosphere(subdivisions=subdivisions, radius=1.0)
    rgba = np.column_stack([np.round((plain.vertices + 1) * 127.5), np.full(len(plain.vertices), 255)])
    vertices = plain.vertices * radius + center
    return LRMMesh(vertices, plain.faces, vertex_colors=rgba.astype(np.uint8), process=False)


def join(*meshes: LRMMesh) -> LRMMesh:
    joined = trimesh.util.concatenate(list(meshes))
    colors = joined.visual.vertex_colors
    return LRMMesh(joined.vertices, joined.faces, vertex_colors=colors, process=False)


class TestSimplify:
    def test_face_count_shape_and_colours(self) -> None:
        mesh = ball()  # 5120 faces
        light = mesh.simplify(500)
        assert type(light) is LRMMesh
        assert 480 <= len(light.faces) <= 500
        assert light.is_watertight
        assert light.volume == pytest.approx(mesh.volume, rel=0.01)
        # each vertex has the colour of its direction: half a step of rounding twice, and 1 % of the sphere's facets
        direction = light.vertices / np.linalg.norm(light.vertices, axis=1, keepdims=True)
        np.testing.assert_allclose(light.visual.vertex_colors[:, :3], (direction + 1) * 127.5, atol=3)
        assert light.metadata["steps"] == [
            {"step": "simplify", "faces_before": 5120, "faces_after": len(light.faces), "target_faces": 500}
        ]
        assert "steps" not in mesh.metadata
        assert len(mesh.faces) == 5120

    def test_what_is_light_enough_is_copied(self) -> None:
        mesh = ball(1)
        same = mesh.simplify(80)
        assert same is not mesh
        np.testing.assert_array_equal(same.vertices, mesh.vertices)
        np.testing.assert_array_equal(same.visual.vertex_colors, mesh.visual.vertex_colors)
        assert same.metadata["steps"][0]["faces_after"] == 80

    def test_a_number_that_is_not_reached(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []

        def stubborn(points: np.ndarray, faces: np.ndarray, target_count: int, agg: float) -> tuple:
            asked.append(agg)
            return points, faces

        monkeypatch.setattr("fast_simplification.simplify", stubborn)
        with pytest.raises(ValueError, match="mesh of 320 faces comes down to 320, its holes and handles"):
            ball(2).simplify(100)
        assert asked == [3.0, 5.0, 7.0, 10.0]  # ever less careful

    def test_at_the_same_time_in_several_threads(self) -> None:
        """The library below keeps its mesh in global variables."""
        meshes = [ball(4, radius) for radius in (1.0, 2.0, 3.0)]
        alone = [mesh.simplify(300) for mesh in meshes]
        with ThreadPoolExecutor(3) as pool:
            together = list(pool.map(lambda mesh: mesh.simplify(300), meshes))
        for one, other in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one.vertices, other.vertices)
            np.testing.assert_array_equal(one.faces, other.faces)

    @pytest.mark.parametrize(
        ("value", "error", "message"),
        [
            (3, ValueError, "`target_faces` must be at least 4, got 3"),
            (100.0, TypeError, "`target_faces` must be an integer, got float"),
            (True, TypeError, "`target_faces` must be an integer, got bool"),
        ],
    )
    def test_bad_targets(self, value: object, error: type, message: str) -> None:
        with pytest.raises(error, match=message):
            ball(1).simplify(value)  # type: ignore[arg-type]


class TestSmooth:
    def test_noise_goes_and_volume_stays(self) -> None:
        mesh = ball()
        noisy = mesh.copy()
        noisy.vertices = mesh.vertices * (1 + 0.02 * np.random.default_rng(0).standard_normal((len(mesh.vertices), 1)))

        def roughness(some: LRMMesh) -> float:
            return float(np.linalg.norm(some.vertices, axis=1).std())

        smooth = noisy.smooth(10)
        # noise has waves of all lengths, and the long ones stay
        assert roughness(smooth) < roughness(noisy) / 2
        # plain averaging ten times over would lose a tenth of it
        assert smooth.volume == pytest.approx(noisy.volume, rel=0.01)
        np.testing.assert_array_equal(smooth.faces, noisy.faces)
        np.testing.assert_array_equal(smooth.visual.vertex_colors, noisy.visual.vertex_colors)
        (report,) = smooth.metadata["steps"]
        moved = np.linalg.norm(smooth.vertices - noisy.vertices, axis=1).max()
        assert report["largest_move"] == pytest.approx(moved)

    def test_one_step_by_hand(self) -> None:
        """A tetrahedron: each vertex has the three others as neighbours. In terms of the distance from the middle, the
        others' mean is -1/3 of the vertex, so a step of factor f scales it by 1 - 4f/3."""
        corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=float)
        tetrahedron = LRMMesh(corners, [[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]], process=False)
        expected = corners * (1 - 4 / 3 * 0.5) * (1 + 4 / 3 * 0.53)
        np.testing.assert_allclose(tetrahedron.smooth(1).vertices, expected, atol=1e-12)

    def test_bad_iterations(self) -> None:
        with pytest.raises(ValueError, match="`iterations` must be at least 1, got 0"):
            ball(1).smooth(0)


class TestLargestComponent:
    def test_of_three(self) -> None:
        small, large = ball(3, 0.3, (2, 0, 0)), ball(2, 1.0)  # the small one has more faces
        kept = join(small, large, ball(1, 0.1, (0, 3, 0))).largest_component()
        np.testing.assert_array_equal(kept.vertices, large.vertices)
        np.testing.assert_array_equal(kept.faces, large.faces)
        np.testing.assert_array_equal(kept.visual.vertex_colors, large.visual.vertex_colors)
        assert kept.metadata["steps"] == [
            {"step": "largest_component", "faces_before": 1280 + 320 + 80, "faces_after": 320, "pieces_removed": 2}
        ]

    def test_face_colours_go_along(self) -> None:
        mesh = join(ball(1, 0.3, (2, 0, 0)), ball(1))
        colors = np.repeat([[255, 0, 0, 255], [0, 255, 0, 255]], 80, axis=0).astype(np.uint8)
        mesh.visual = trimesh.visual.ColorVisuals(mesh, face_colors=colors)
        kept = mesh.largest_component()
        np.testing.assert_array_equal(kept.visual.face_colors, colors[80:])


class TestPlacement:
    def test_ground(self) -> None:
        mesh = ball(2, 0.5, (0.3, -0.2, 0.1))
        stands = mesh.ground()
        assert stands.bounds[0, 2] == 0
        np.testing.assert_allclose(stands.vertices[:, :2], mesh.vertices[:, :2])
        middle = mesh.ground(center=True)
        np.testing.assert_allclose(middle.bounds.mean(axis=0)[:2], 0, atol=1e-12)
        assert middle.bounds[0, 2] == 0
        np.testing.assert_array_equal(mesh.bounds.mean(axis=0).round(6), [0.3, -0.2, 0.1])

    def test_rescale(self) -> None:
        mesh = ball(2, 0.5, (0.3, -0.2, 0.1))
        tall = mesh.rescale(height=3.0)
        assert tall.extents[2] == pytest.approx(3.0)
        np.testing.assert_allclose(tall.vertices, mesh.vertices * 3.0 / mesh.extents[2], atol=1e-12)
        np.testing.assert_allclose(mesh.rescale(factor=2).vertices, mesh.vertices * 2)
        assert tall.metadata["steps"][0]["factor"] == pytest.approx(3.0)

    def test_placement_leads_back(self) -> None:
        mesh = ball(2, 0.5, (0.3, -0.2, 0.1))
        moved = mesh.ground().rescale(height=0.3).copy()
        moved.apply_translation([1, 2, 3])
        matrix = np.linalg.inv(moved.metadata["placement"])
        np.testing.assert_allclose(trimesh.transform_points(moved.vertices, matrix), mesh.vertices, atol=1e-12)

    def test_given_normals_are_kept(self) -> None:
        mesh = ball(2)
        normals = np.tile([0.0, 0.6, 0.8], (len(mesh.vertices), 1))
        mesh.vertex_normals = normals
        np.testing.assert_allclose(mesh.ground().rescale(factor=2).vertex_normals, normals)

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({}, ValueError, "give one of `height` and `factor`"),
            ({"height": 1, "factor": 1}, ValueError, "give one of `height` and `factor`"),
            ({"height": -1}, ValueError, "`height` must be positive and finite, got -1"),
            ({"factor": float("nan")}, ValueError, "`factor` must be positive and finite, got nan"),
            ({"factor": "2"}, TypeError, "`factor` must be a number, got str"),
        ],
    )
    def test_bad_scales(self, arguments: dict, error: type, message: str) -> None:
        with pytest.raises(error, match=message):
            ball(1).rescale(**arguments)

    def test_flat_meshes_have_no_height(self) -> None:
        flat = LRMMesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]], process=False)
        with pytest.raises(ValueError, match="the mesh is flat"):
            flat.rescale(height=1)


class TestMakeWatertight:
    def test_holes_are_filled(self) -> None:
        """Three holes: a face, the five faces of a vertex, and two faces beside each other."""
        whole = ball(3)
        around = np.flatnonzero((whole.faces == 0).any(axis=1))
        pair = whole.face_adjacency[600]
        single = next(face for face in range(len(whole.faces)) if face not in {*around, *pair})
        gone = [*around, *pair, single]
        assert len(gone) == 8
        torn = LRMMesh(
            whole.vertices,
            np.delete(whole.faces, gone, axis=0),
            vertex_colors=whole.visual.vertex_colors,
            process=False,
        )
        assert not torn.is_watertight
        closed = torn.make_watertight()
        assert closed.is_watertight
        assert closed.is_winding_consistent
        assert closed.euler_number == 2
        assert closed.volume == pytest.approx(whole.volume, rel=2e-3)
        (report,) = closed.metadata["steps"]
        # a fan of five about a new vertex, a fan of four, and the face itself
        assert report == {
            "step": "make_watertight",
            "faces_before": 1272,
            "faces_after": 1272 + 5 + 4 + 1,
            "holes_closed": 3,
            "faces_removed": 0,
        }
        direction = closed.vertices / np.linalg.norm(closed.vertices, axis=1, keepdims=True)
        # the middle of a fan has the mean of its rim, which lies a little inside
        np.testing.assert_allclose(closed.visual.vertex_colors[:, :3], (direction + 1) * 127.5, atol=4)

    def test_closed_meshes_stay(self) -> None:
        mesh = ball(2)
        closed = mesh.make_watertight()
        assert closed.metadata["steps"][0]["holes_closed"] == 0
        assert closed.volume == pytest.approx(mesh.volume, rel=1e-12)
        assert len(closed.faces) == len(mesh.faces)

    def test_two_holes_that_touch_in_a_vertex(self) -> None:
        """Opposite faces about a vertex with six of them: their rims share it."""
        whole = ball(3)
        vertex = int(np.flatnonzero(whole.vertex_degree == 6)[0])
        faces = np.flatnonzero((whole.faces == vertex).any(axis=1))
        first = whole.faces[faces[0]]
        other = next(face for face in faces if len(set(whole.faces[face]) & set(first)) == 1)
        torn = LRMMesh(whole.vertices, np.delete(whole.faces, [faces[0], other], axis=0), process=False)
        closed = torn.make_watertight()
        assert closed.is_watertight
        assert closed.metadata["steps"][0]["holes_closed"] == 2
        assert closed.volume == pytest.approx(whole.volume, rel=1e-12)

    def test_fins_doubled_faces_and_wrong_windings(self) -> None:
        whole = ball(2)
        a, b, _ = whole.faces[0]
        vertices = np.vstack([whole.vertices, [[0, 0, 3.0]], whole.vertices[:1]])
        fin = [a, b, len(whole.vertices)]  # a third face at an edge
        faces = np.vstack([whole.faces, [fin], whole.faces[5:6]])
        faces[10] = faces[10][::-1]
        faces[faces == 0] = np.where(np.arange((faces == 0).sum()) % 2, 0, len(vertices) - 1)  # a vertex cut in two
        closed = LRMMesh(vertices, faces, process=False).make_watertight()
        assert closed.is_watertight
        assert closed.is_winding_consistent
        assert closed.volume == pytest.approx(whole.volume, rel=0.02)
        assert closed.bounds[1, 2] == pytest.approx(1.0)  # the fin is gone

    def test_inside_out(self) -> None:
        mesh = ball(2)
        mesh.invert()
        assert mesh.volume < 0
        assert mesh.make_watertight().volume == pytest.approx(ball(2).volume)

    def test_what_can_not_be_closed(self) -> None:
        twice = LRMMesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 1]], process=False)
        with pytest.raises(ValueError, match="can't be made watertight: 2 faces"):
            twice.make_watertight()


def test_reports_are_json_and_add_up() -> None:
    mesh = join(ball(3), ball(1, 0.1, (3, 0, 0)))
    done = mesh.largest_component().smooth(2).simplify(200).make_watertight().ground(center=True).rescale(height=0.2)
    steps = json.loads(json.dumps(done.metadata["steps"]))
    names = ["largest_component", "smooth", "simplify", "make_watertight", "ground", "rescale"]
    assert [step["step"] for step in steps] == names
    for before, after in zip(steps, steps[1:], strict=False):
        assert before["faces_after"] == after["faces_before"]
    assert steps[0]["faces_before"] == 1360
    assert steps[-1]["faces_after"] == len(done.faces)
    assert done.extents[2] == pytest.approx(0.2)


@pytest.mark.parametrize(
    "step",
    [
        lambda mesh: mesh.simplify(100),
        lambda mesh: mesh.smooth(),
        lambda mesh: mesh.largest_component(),
        lambda mesh: mesh.make_watertight(),
        lambda mesh: mesh.ground(),
        lambda mesh: mesh.rescale(factor=2.0),
    ],
    ids=["simplify", "smooth", "largest_component", "make_watertight", "ground", "rescale"],
)
def test_where_the_viewer_stands_is_kept(step: Callable[[LRMMesh], LRMMesh]) -> None:
    mesh = ball(3)
    mesh.metadata["viewer_azimuth"] = 90.0
    assert step(mesh).metadata["viewer_azimuth"] == 90.0


class TestClosestPoint:
    @pytest.mark.parametrize(
        ("point", "weights"),
        [
            ((0.25, 0.25, 5.0), (0.5, 0.25, 0.25)),  # above the inside
            ((-1.0, -1.0, 0.0), (1, 0, 0)),  # a corner
            ((0.5, -2.0, 1.0), (0.5, 0.5, 0)),  # an edge
            ((1.0, 1.0, 0.0), (0, 0.5, 0.5)),  # the long edge
            ((3.0, 0.0, 0.0), (0, 1, 0)),
        ],
    )
    def test_one_triangle_by_hand(self, point: tuple, weights: tuple) -> None:
        corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
        np.testing.assert_allclose(closest_weights(np.array(point), corners), weights, atol=1e-12)

    def test_against_all_triangles(self) -> None:
        """A mesh with faces of very different sizes, and the plain search over all of them."""
        box = trimesh.creation.box(extents=(3, 1, 0.5))
        mesh = trimesh.util.concatenate([box, ball(2, 0.2, (0, 0.9, 0))])
        rng = np.random.default_rng(0)
        points = rng.uniform(-2, 2, (300, 3))
        found = ClosestPoint(mesh.vertices, mesh.faces)(points)
        corners = mesh.vertices[mesh.faces]
        weights = closest_weights(points[:, None], corners[None].repeat(len(points), 0))
        gaps = np.linalg.norm(np.einsum("nmc,mcx->nmx", weights, corners) - points[:, None], axis=2).min(axis=1)
        # exact but for points about equally far from more than eight pieces, the far ones among these
        assert (found.distance >= gaps - 1e-9).all()
        assert (found.distance <= gaps * 1.02).all()
        assert np.mean(found.distance <= gaps + 1e-9) > 0.9
        on_surface = found.interpolate(mesh.vertices, mesh.faces)
        np.testing.assert_allclose(np.linalg.norm(on_surface - points, axis=1), found.distance, atol=1e-12)

    def test_faces_without_area(self) -> None:
        vertices = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]])
        found = ClosestPoint(vertices, np.array([[0, 1, 2]]))(np.array([[1.5, 1.0, 0.0]]))
        assert found.distance == pytest.approx([1.0])


def test_simplifying_needs_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "fast_simplification", None)
    with pytest.raises(ImportError, match=r"pip install 'lrm_hf\[texture\]'"):
        processing.simplify(ball(2), 100)
