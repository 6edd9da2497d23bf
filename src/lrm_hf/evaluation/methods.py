# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What is measured: models, and the baselines that anyone could give without one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..cameras import Cameras, project_points
from ..pipelines import LRMPipeline
from .ground_truth import GroundTruth
from .images import on_background
from .protocols import Protocol
from .surfaces import Scene, picture_surface


HULL_RESOLUTION = 96


class NoSurface(Exception):
    """A prediction has no surface; says why."""


class Answer:
    """What a method makes of one picture. Each part is None where the method has none.

    Attributes:
        pictures: from cameras `(views,)`: pictures `(views, 3, size, size)` on the protocol's background and opacity
            `(views, 1, size, size)`, both in [0, 1], on the CPU.
        triangles: `(faces, 3, 3)` corner positions in the method's frame. Raises `NoSurface`.
        mesh_pictures: as `pictures`, of the mesh.
    """

    pictures: Callable[[Cameras], tuple[Tensor, Tensor]] | None = None
    triangles: Callable[[], np.ndarray] | None = None
    mesh_pictures: Callable[[Cameras], tuple[Tensor, Tensor]] | None = None


class Method(ABC):
    """Something that answers with pictures, a surface, or both.

    Attributes:
        name: in tables.
        kind: "baseline" or "model".
        about: what it does, or how large it is.
        aligned_by_camera: whether the known camera puts its answers into the object's frame. Where it does not, scores
            of a protocol that relies on it come with a note.
    """

    name: str
    kind: str = "baseline"
    about: str
    aligned_by_camera: bool = True

    @abstractmethod
    def answer(self, truth: GroundTruth, protocol: Protocol) -> Answer:
        """From the input picture of `truth` alone; baselines know the input's camera."""


class CopyOfTheInput(Method):
    name = "copy of the input"
    about = "the input's own view as the answer for every view"

    def answer(self, truth: GroundTruth, protocol: Protocol) -> Answer:
        answer = Answer()
        if len(truth.views):
            picture, alpha = on_background(truth.views[:1], protocol.background)
            answer.pictures = lambda cameras: _repeated(picture, alpha, cameras)
        return answer


class MeanSilhouette(Method):
    name = "input silhouette, mean colour"
    about = "the input's own view with the object in its mean colour, as the answer for every view"

    def answer(self, truth: GroundTruth, protocol: Protocol) -> Answer:
        answer = Answer()
        if len(truth.views):
            picture, alpha = on_background(truth.views[:1], protocol.background)
            premultiplied = picture - protocol.background * (1 - alpha)
            mean = premultiplied.sum(dim=(-2, -1), keepdim=True) / alpha.sum().clamp(min=1e-6)
            picture = mean * alpha + protocol.background * (1 - alpha)
            answer.pictures = lambda cameras: _repeated(picture, alpha, cameras)
        return answer


class ExtrudedSilhouette(Method):
    """The silhouette drawn out along the line of sight: the cone of rays through it, cut off in front and behind, in
    the colours that the picture shows along these rays.

    Args:
        to_ball: cut off by the unit ball about the origin that holds every object: the visual hull of one view. Else by
            two planes across the line of sight, centred at the origin, as far apart as the silhouette's shorter side is
            long there.
    """

    def __init__(self, to_ball: bool) -> None:
        self.to_ball = to_ball
        self.name = "visual hull of one view" if to_ball else "extruded silhouette"
        self.about = "the rays through the input's silhouette, in the picture's colours, " + (
            "cut off by the unit ball"
            if to_ball
            else "cut off as deep as the silhouette's shorter side, about the origin"
        )

    def answer(self, truth: GroundTruth, protocol: Protocol) -> Answer:
        camera = protocol.input_camera()
        rgba = truth.picture.float() / 255
        answer = Answer()
        triangles = extruded(rgba[3], camera, self.to_ball)

        def corners() -> np.ndarray:
            if len(triangles) == 0:
                raise NoSurface("the input has no opaque pixel that the protocol's box holds.")
            return triangles

        def pictures(cameras: Cameras) -> tuple[Tensor, Tensor]:
            if len(triangles) == 0:
                empty = torch.zeros(len(cameras), 1, protocol.size, protocol.size)
                return empty.expand(-1, 3, -1, -1) + protocol.background, empty
            filled = _filled(rgba)

            def colour(faces: np.ndarray, weights: np.ndarray, positions: np.ndarray) -> np.ndarray:
                uv, _ = project_points(camera, torch.from_numpy(positions.astype(np.float32)))
                return _sample(filled, uv, "border").T.numpy()

            scene = Scene(triangles)
            return picture_surface(scene, colour, cameras, protocol.size, protocol.antialias, protocol.background)

        answer.triangles = corners
        answer.pictures = answer.mesh_pictures = pictures
        return answer


class Model(Method):
    """A pipeline. Under a protocol that aligns by the camera it is told the camera, and gets the picture as that saw
    it: neither cut out nor recentred, so that the reconstruction is in the object's own frame."""

    kind = "model"

    def __init__(self, name: str, pipe: LRMPipeline) -> None:
        self.name, self.pipe = name, pipe
        self.parameters = sum(parameter.numel() for parameter in pipe.model.parameters())
        self.about = f"{self.parameters} parameters"
        # TripoSR faces another side of its frame, and reads no camera
        self.aligned_by_camera = getattr(pipe.model.config, "source_camera_azimuth", 0) == 0

    def answer(self, truth: GroundTruth, protocol: Protocol) -> Answer:
        picture = Image.fromarray(truth.picture.permute(1, 2, 0).numpy(), "RGBA")
        options: dict[str, Any] = {}
        if protocol.alignment == "camera":
            options = {
                "do_recenter": False,
                "background_removal": "none",
                "source_cameras": protocol.input_camera().reshape(1),
            }
        field = self.pipe(picture, output_type="field", **options).field
        made: list[Any] = []

        def mesh() -> Any:
            if not made:
                try:
                    made.extend(self.pipe.extract_mesh(field, mesh_resolution=protocol.mesh_resolution))
                except ValueError as error:
                    raise NoSurface(str(error)) from error
            return made[0]

        def pictures(cameras: Cameras) -> tuple[Tensor, Tensor]:
            out = self.pipe.render(
                field,
                cameras=cameras,
                height=protocol.size,
                width=protocol.size,
                background=protocol.background,
                output_type="pt",
            )
            return out.frames[0].cpu(), out.opacity[0].cpu()

        def mesh_pictures(cameras: Cameras) -> tuple[Tensor, Tensor]:
            surface = mesh()
            corner_colours = np.asarray(surface.visual.vertex_colors)[surface.faces][..., :3] / 255

            def colour(faces: np.ndarray, weights: np.ndarray, positions: np.ndarray) -> np.ndarray:
                return (corner_colours[faces] * weights[..., None]).sum(axis=1)

            scene = Scene(np.asarray(surface.triangles))
            return picture_surface(scene, colour, cameras, protocol.size, protocol.antialias, protocol.background)

        answer = Answer()
        answer.pictures, answer.mesh_pictures = pictures, mesh_pictures
        answer.triangles = lambda: np.asarray(mesh().triangles)
        return answer


def baselines() -> list[Method]:
    """All of them, in the order of the table."""
    return [CopyOfTheInput(), MeanSilhouette(), ExtrudedSilhouette(to_ball=True), ExtrudedSilhouette(to_ball=False)]


def extruded(alpha: Tensor, camera: Cameras, to_ball: bool, resolution: int = HULL_RESOLUTION) -> np.ndarray:
    """Triangles `(faces, 3, 3)` of `ExtrudedSilhouette`, by marching cubes over [-1, 1]^3; none where the silhouette is
    empty.

    Args:
        alpha: `(height, width)` opacity; the silhouette is where it is above one half.
        camera: that saw it, shape `()`.
        to_ball: see `ExtrudedSilhouette`.
        resolution: grid points per axis.
    """
    from ..meshing.dense import dense_marching_cubes

    axis = torch.linspace(-1, 1, resolution)
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
    uv, depth = project_points(camera, points)
    silhouette = _sample(alpha[None], uv, "zeros")[0] - 0.5
    if to_ball:
        limit = 1 - points.norm(dim=-1)
    else:
        distance = float(camera.position.norm())
        rows, columns = (alpha > 0.5).any(dim=1).nonzero(), (alpha > 0.5).any(dim=0).nonzero()
        if len(rows) == 0:
            return np.zeros((0, 3, 3))
        tall = float(rows.max() - rows.min() + 1) / alpha.shape[0] / float(camera.intrinsics[1, 1])
        wide = float(columns.max() - columns.min() + 1) / alpha.shape[1] / float(camera.intrinsics[0, 0])
        limit = min(tall, wide) * distance / 2 - (depth - distance).abs()
    value = torch.minimum(silhouette, limit).reshape((resolution,) * 3).numpy()
    vertices, faces = dense_marching_cubes(value, 0.0)
    return (vertices * (2 / (resolution - 1)) - 1)[faces]


def _repeated(picture: Tensor, alpha: Tensor, cameras: Cameras) -> tuple[Tensor, Tensor]:
    return picture.expand(len(cameras), -1, -1, -1), alpha.expand(len(cameras), -1, -1, -1)


def _sample(image: Tensor, uv: Tensor, outside: str) -> Tensor:
    """Bilinear values `(channels, n)` of an image `(channels, height, width)` at fractions `(n, 2)` of its sides."""
    grid = (uv * 2 - 1)[None, None]
    return torch.nn.functional.grid_sample(image[None], grid, padding_mode=outside, align_corners=False)[0, :, 0]


def _filled(rgba: Tensor) -> Tensor:
    """Colours `(3, height, width)` of `(4, height, width)`, each pixel that is not opaque with those of the nearest one
    that is."""
    from scipy.ndimage import distance_transform_edt

    opaque = rgba[3] > 0.5
    _, (rows, columns) = distance_transform_edt(~opaque.numpy(), return_indices=True)
    return rgba[:3, torch.from_numpy(rows).long(), torch.from_numpy(columns).long()]
