# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Pinhole cameras: the one place that knows the axes.

World frame: right-handed, z up. A camera looks along its own -z, with x to the right and y up (OpenGL and Blender
style). The canonical source camera sits at (0, -distance, 0) and looks at the origin. Intrinsics are normalised by the
image size: a point at camera coordinates (x, y, -1) is seen at ``u = fx * x + cx`` (fraction of the width, from the
left) and ``v = -fy * y + cy`` (fraction of the height, from the top).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


DEFAULT_DISTANCE = 2.0
DEFAULT_FOCAL = 0.75


@dataclass(frozen=True, eq=False)
class Cameras:
    """A batch of pinhole cameras of any batch shape.

    Args:
        cam2world: `(..., 4, 4)` camera-to-world matrices.
        intrinsics: `(..., 3, 3)` intrinsics normalised by image size, broadcast against `cam2world`. Where the two are
            of different precision, the higher one is taken.

    Raises:
        TypeError: if either is not a floating point tensor.
        ValueError: if the shapes do not fit, or the two lie on different devices.
    """

    cam2world: Tensor
    intrinsics: Tensor

    def __post_init__(self) -> None:
        for name, size in (("cam2world", 4), ("intrinsics", 3)):
            value = getattr(self, name)
            if not isinstance(value, Tensor) or not value.is_floating_point():
                got = value.dtype if isinstance(value, Tensor) else type(value).__name__
                raise TypeError(f"`{name}` must be a floating point tensor, got {got}.")
            if value.ndim < 2 or tuple(value.shape[-2:]) != (size, size):
                raise ValueError(f"`{name}` must have shape (..., {size}, {size}), got {tuple(value.shape)}.")
        try:
            shape = torch.broadcast_shapes(self.cam2world.shape[:-2], self.intrinsics.shape[:-2])
        except RuntimeError as error:
            raise ValueError(
                f"`cam2world` {tuple(self.cam2world.shape)} and `intrinsics` {tuple(self.intrinsics.shape)} "
                "do not broadcast."
            ) from error
        if self.cam2world.device != self.intrinsics.device:
            raise ValueError(
                f"`cam2world` is on {self.cam2world.device}, `intrinsics` is on {self.intrinsics.device}: move one."
            )
        dtype = torch.promote_types(self.cam2world.dtype, self.intrinsics.dtype)
        object.__setattr__(self, "cam2world", self.cam2world.to(dtype).expand(*shape, 4, 4))
        object.__setattr__(self, "intrinsics", self.intrinsics.to(dtype).expand(*shape, 3, 3))

    def validate(self) -> Cameras:
        """Checks the numbers: finite, a rigid motion in `cam2world`, positive focal lengths. Returns `self`, which
        remembers it on a GPU until the numbers change in place.

        Raises:
            ValueError: naming what is wrong.
        """
        matrices = self.cam2world.detach(), self.intrinsics.detach()
        # each look waits for the device; tensors of inference mode count no changes
        remembered = all(part.is_cuda and not part.is_inference() for part in matrices)
        state = tuple(part._version for part in matrices) if remembered else None
        if state is None or getattr(self, "_validated", None) != state:
            _check_matrices(*(part.cpu() for part in matrices))
            object.__setattr__(self, "_validated", state)
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Without what is remembered, which counts changes of tensors that a copy does not have."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    @property
    def shape(self) -> torch.Size:
        """The batch shape."""
        return self.cam2world.shape[:-2]

    @property
    def device(self) -> torch.device:
        return self.cam2world.device

    @property
    def position(self) -> Tensor:
        """`(..., 3)` camera centres in world units."""
        return self.cam2world[..., :3, 3]

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a single camera has no length.")
        return self.shape[0]

    def __getitem__(self, index: Any) -> Cameras:
        torch.empty(self.shape, device="meta")[index]  # an index that reaches into the matrices is refused
        parts = index if isinstance(index, tuple) else (index,)
        if any(part is Ellipsis for part in parts):
            index = (*parts, slice(None), slice(None))  # the matrices stay behind what the ellipsis stands for
        return Cameras(self.cam2world[index], self.intrinsics[index])

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Cameras:
        return Cameras(self.cam2world.to(device, dtype), self.intrinsics.to(device, dtype))

    def expand(self, *shape: int) -> Cameras:
        return Cameras(self.cam2world.expand(*shape, 4, 4), self.intrinsics.expand(*shape, 3, 3))

    def reshape(self, *shape: int) -> Cameras:
        return Cameras(self.cam2world.reshape(*shape, 4, 4), self.intrinsics.reshape(*shape, 3, 3))

    @classmethod
    def canonical(
        cls, distance: float = DEFAULT_DISTANCE, focal: float = DEFAULT_FOCAL, elevation: float = 0.0
    ) -> Cameras:
        """The source camera, shape (): on the -y side, `elevation` degrees above the xy plane, sees the origin."""
        return orbit_cameras(1, elevation=elevation, distance=distance, focal=focal)[0]

    @classmethod
    def from_source_vector(cls, vector: Tensor) -> Cameras:
        """From `(..., 16)`: 3x4 camera-to-world matrix, row-major, then fx, fy, cx, cy (OpenLRM's source camera)."""
        if vector.ndim < 1 or vector.shape[-1] != 16:
            raise ValueError(f"`vector` must have shape (..., 16), got {tuple(vector.shape)}.")
        batch = vector.shape[:-1]
        cam2world = torch.cat([vector[..., :12].reshape(*batch, 3, 4), _homogeneous_row(vector, batch)], dim=-2)
        return cls(cam2world, _pinhole(vector[..., 12], vector[..., 13], vector[..., 14], vector[..., 15]))

    def to_source_vector(self) -> Tensor:
        """`(..., 16)`: 12 extrinsic numbers (3x4 camera-to-world, row-major), then fx, fy, cx, cy."""
        k = self.intrinsics
        return torch.cat(
            [
                self.cam2world[..., :3, :].flatten(-2),
                torch.stack([k[..., 0, 0], k[..., 1, 1], k[..., 0, 2], k[..., 1, 2]], dim=-1),
            ],
            dim=-1,
        )

    @classmethod
    def from_render_vector(cls, vector: Tensor) -> Cameras:
        """From `(..., 25)`: 4x4 camera-to-world, then 3x3 intrinsics, both row-major (OpenLRM's render camera)."""
        if vector.ndim < 1 or vector.shape[-1] != 25:
            raise ValueError(f"`vector` must have shape (..., 25), got {tuple(vector.shape)}.")
        batch = vector.shape[:-1]
        return cls(vector[..., :16].reshape(*batch, 4, 4), vector[..., 16:].reshape(*batch, 3, 3))

    def to_render_vector(self) -> Tensor:
        """`(..., 25)`: 4x4 camera-to-world, then 3x3 intrinsics, both row-major."""
        return torch.cat([self.cam2world.flatten(-2), self.intrinsics.flatten(-2)], dim=-1)

    def rotate_about_z(self, degrees: float | Tensor) -> Cameras:
        """The same cameras after the whole scene turns about the world's z axis by `degrees` (counter-clockwise from
        above). A tensor of angles broadcasts against the batch shape."""
        angle = torch.deg2rad(torch.as_tensor(degrees, dtype=self.cam2world.dtype, device=self.device))
        cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
        rows = [cos, -sin, zero, zero, sin, cos, zero, zero, zero, zero, one, zero, zero, zero, zero, one]
        turn = torch.stack(rows, dim=-1).reshape(*angle.shape, 4, 4)
        return Cameras(turn @ self.cam2world, self.intrinsics)


def look_at_cameras(
    position: Tensor | Sequence[float],
    target: Tensor | Sequence[float] = (0.0, 0.0, 0.0),
    up: Tensor | Sequence[float] = (0.0, 0.0, 1.0),
    focal: float | Tensor = DEFAULT_FOCAL,
) -> Cameras:
    """Cameras at `position` that look at `target` with `up` upwards in the picture.

    Args:
        position: `(..., 3)` camera centres in world units.
        target: `(..., 3)` points looked at.
        up: `(..., 3)` direction that appears upwards; where the view is parallel to it, the world's +y is used instead,
            and +z where the view is parallel to that as well.
        focal: focal length over image size, for both axes; one for all or `(...)`.

    Returns:
        `Cameras` of the batch shape that `position`, `target` and `up` broadcast to.

    Raises:
        ValueError: if a camera sits on its target, `up` is zero, `focal` is not positive, or shapes do not fit.
    """
    centres = _as_vector("position", position)
    targets, ups = _as_vector("target", target).to(centres), _as_vector("up", up).to(centres)
    try:
        centres, targets, ups = torch.broadcast_tensors(centres, targets, ups)
    except RuntimeError as error:
        shapes = [tuple(vector.shape) for vector in (centres, targets, ups)]
        raise ValueError(f"`position`, `target` and `up` of shapes {shapes} do not broadcast.") from error
    batch = centres.shape[:-1]
    if bool(((centres - targets).norm(dim=-1) < 1e-8).any()):
        raise ValueError("`position` and `target` coincide: the camera has no viewing direction.")
    if bool((ups.norm(dim=-1) == 0).any()):
        raise ValueError("`up` must not be zero.")
    focals = torch.as_tensor(focal, dtype=centres.dtype, device=centres.device)
    if not bool((focals > 0).all()):
        raise ValueError(f"`focal` must be positive, got {focals.tolist()}.")
    if tuple(focals.shape) not in ((), (1,), tuple(batch)):
        raise ValueError(f"`focal` must be one number or of shape {tuple(batch)}, got {tuple(focals.shape)}.")
    # nearly parallel directions cancel in the cross product: float64 keeps the frame orthogonal
    backward = torch.nn.functional.normalize((centres - targets).double(), dim=-1)
    upwards = torch.nn.functional.normalize(ups.double(), dim=-1)
    for axis in ([0.0, 1.0, 0.0], [0.0, 0.0, 1.0]):
        parallel = torch.linalg.cross(upwards, backward, dim=-1).norm(dim=-1, keepdim=True) < 1e-6
        upwards = torch.where(parallel, upwards.new_tensor(axis), upwards)
    right = torch.nn.functional.normalize(torch.linalg.cross(upwards, backward, dim=-1), dim=-1)
    above = torch.linalg.cross(backward, right, dim=-1)
    frame = torch.stack([right, above, backward, centres.double()], dim=-1).to(centres)
    cam2world = torch.cat([frame, _homogeneous_row(centres, batch)], dim=-2)
    focals = focals.expand(batch)
    middle = torch.full_like(focals, 0.5)
    return Cameras(cam2world, _pinhole(focals, focals, middle, middle))


def orbit_cameras(
    num_views: int = 8,
    elevation: float | Sequence[float] | Tensor = 20.0,
    distance: float = DEFAULT_DISTANCE,
    focal: float = DEFAULT_FOCAL,
    azimuth_start: float = 0.0,
    azimuths: Sequence[float] | Tensor | None = None,
    device: torch.device | str | None = None,
) -> Cameras:
    """Cameras on a circle about the z axis, looking at the origin.

    Azimuth 0 is the side of the canonical source camera; positive angles go counter-clockwise seen from above. The
    circle is divided evenly and does not repeat its first view.

    Args:
        num_views: number of cameras; ignored where `azimuths` are given.
        elevation: degrees above the xy plane, one for all or one per view.
        distance: distance from the origin in world units.
        focal: focal length over image size.
        azimuth_start: degrees of the first camera.
        azimuths: degrees of each camera, instead of an even circle.

    Returns:
        `Cameras` of shape `(num_views,)`.

    Raises:
        ValueError: if `num_views`, `distance` or `focal` is not positive, an angle is not finite, or there are not as
            many elevations as views.
    """
    if azimuths is None:
        if isinstance(num_views, bool) or not isinstance(num_views, int) or num_views < 1:
            raise ValueError(f"`num_views` must be a positive integer, got {num_views!r}.")
        azimuth = azimuth_start + torch.arange(num_views, dtype=torch.float64) * (360.0 / num_views)
    else:
        azimuth = torch.as_tensor(azimuths, dtype=torch.float64) + azimuth_start
        if azimuth.ndim != 1:
            raise ValueError(f"`azimuths` must be a list of angles, got shape {tuple(azimuth.shape)}.")
    for name, value in (("distance", distance), ("focal", focal)):
        if not 0 < value < math.inf:
            raise ValueError(f"`{name}` must be positive and finite, got {value}.")
    tilt = torch.as_tensor(elevation, dtype=torch.float64)
    if tuple(tilt.shape) not in ((), (1,), tuple(azimuth.shape)):
        raise ValueError(f"`elevation` must be one number or one per view ({len(azimuth)}), got {tuple(tilt.shape)}.")
    # reading a tensor's values would break a compiled model's graph, which makes its default camera here
    if not torch.compiler.is_compiling() and not bool(torch.isfinite(azimuth + tilt).all()):
        raise ValueError("`azimuths`, `azimuth_start` and `elevation` must be finite.")
    azimuth, tilt = torch.deg2rad(azimuth), torch.deg2rad(tilt).expand_as(azimuth)
    horizontal = distance * tilt.cos()
    position = torch.stack([azimuth.sin() * horizontal, -azimuth.cos() * horizontal, distance * tilt.sin()], dim=-1)
    # the frame is built in closed form, so that views from straight above or below keep their azimuth
    right = torch.stack([azimuth.cos(), azimuth.sin(), torch.zeros_like(azimuth)], dim=-1)
    backward = position / distance
    above = torch.linalg.cross(backward, right, dim=-1)
    cam2world = torch.cat(
        [torch.stack([right, above, backward, position], dim=-1), _homogeneous_row(position, azimuth.shape)], dim=-2
    )
    focal_ = torch.full_like(azimuth, focal)
    centre = torch.full_like(azimuth, 0.5)
    return Cameras(cam2world.float(), _pinhole(focal_, focal_, centre, centre).float()).to(device)


def camera_rays(
    cameras: Cameras,
    height: int,
    width: int,
    anchors: Tensor | None = None,
    full_size: tuple[int, int] | None = None,
) -> tuple[Tensor, Tensor]:
    """Rays through pixel centres, or through those of a crop.

    Args:
        cameras: batch shape `(...)`.
        height, width: size of the region in pixels.
        anchors: `(..., 2)` row and column of the region's first pixel in the full picture; default the origin.
        full_size: (height, width) of the full picture that the intrinsics describe; default the region's own.

    Returns:
        origins, directions: each `(..., height, width, 3)`; directions are of unit length.

    Raises:
        ValueError: if a size is not positive, or `anchors` have another shape or values that are not finite.
    """
    full_height, full_width = full_size_of(height, width, full_size)
    dtype, device, batch = cameras.cam2world.dtype, cameras.device, cameras.shape
    rows = torch.arange(height, dtype=dtype, device=device) + 0.5
    columns = torch.arange(width, dtype=dtype, device=device) + 0.5
    if anchors is not None:
        try:
            anchors = anchors.to(device=device, dtype=dtype).expand(*batch, 2)
        except RuntimeError as error:
            raise ValueError(
                f"`anchors` must broadcast to {(*batch, 2)}, row and column per camera, got {tuple(anchors.shape)}."
            ) from error
        check_anchors(anchors)
        rows = rows + anchors[..., :1]
        columns = columns + anchors[..., 1:]
    v = (rows / full_height).expand(*batch, height)[..., :, None]
    u = (columns / full_width).expand(*batch, width)[..., None, :]
    k = cameras.intrinsics[..., None, None, :, :]
    fx, fy, cx, cy, skew = k[..., 0, 0], k[..., 1, 1], k[..., 0, 2], k[..., 1, 2], k[..., 0, 1]
    x = (u - cx + cy * skew / fy - skew * v / fy) / fx
    y = (v - cy) / fy
    x, y = torch.broadcast_tensors(x, y)
    # written out rather than as a matrix product, whose last bits depend on how many cameras share a call: importance
    # sampling in a sharp field makes visible differences of them
    pose = cameras.cam2world[..., None, None, :3, :]
    directions = x[..., None] * pose[..., 0] - y[..., None] * pose[..., 1] - pose[..., 2]
    directions = torch.nn.functional.normalize(directions, dim=-1)
    origins = pose[..., 3].expand_as(directions)
    return origins, directions


def full_size_of(height: int, width: int, full_size: tuple[int, int] | None) -> tuple[int, int]:
    """Height and width of the full picture that a region is part of; default the region's own.

    Raises:
        ValueError: if a size is not positive.
    """
    full_height, full_width = (height, width) if full_size is None else full_size
    sizes = {"height": height, "width": width, "full_size[0]": full_height, "full_size[1]": full_width}
    for name, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"`{name}` must be a positive integer, got {value!r}.")
    return full_height, full_width


def check_anchors(anchors: Tensor) -> None:
    """
    Raises:
        ValueError: if there are values that are not finite.
    """
    if not bool(torch.isfinite(anchors).all()):
        raise ValueError("`anchors` holds values that are not finite.")


def project_points(cameras: Cameras, points: Tensor) -> tuple[Tensor, Tensor]:
    """Where world points appear in the pictures.

    Args:
        cameras: batch shape `(...)`.
        points: `(..., n, 3)` in world units.

    Returns:
        uv: `(..., n, 2)` fractions of width and height, inside the picture in [0, 1]; depth: `(..., n)` along the
        viewing axis, positive in front of the camera.
    """
    local = (points - cameras.position[..., None, :]) @ cameras.cam2world[..., :3, :3]
    depth = -local[..., 2]
    safe = torch.where(depth.abs() < 1e-6, torch.full_like(depth, 1e-6), depth)
    k = cameras.intrinsics[..., None, :, :]
    x, y = local[..., 0] / safe, -local[..., 1] / safe
    u = k[..., 0, 0] * x + k[..., 0, 1] * y + k[..., 0, 2]
    v = k[..., 1, 1] * y + k[..., 1, 2]
    return torch.stack([u, v], dim=-1), depth


def world_to_gltf(vectors: np.ndarray) -> np.ndarray:
    """Turns `(..., 3)` points or directions from z up, front -y, to y up, front +z (glTF, OBJ). Exact: coordinates only
    move."""
    return np.stack([vectors[..., 0], vectors[..., 2], -vectors[..., 1]], axis=-1)


def gltf_to_world(vectors: np.ndarray) -> np.ndarray:
    """The inverse of `world_to_gltf`: an object whose front is +z faces the source camera."""
    return np.stack([vectors[..., 0], -vectors[..., 2], vectors[..., 1]], axis=-1)


def _check_matrices(cam2world: Tensor, intrinsics: Tensor) -> None:
    for name, value in (("cam2world", cam2world), ("intrinsics", intrinsics)):
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"`{name}` holds values that are not finite.")
    rotation = cam2world[..., :3, :3].double()
    identity = torch.eye(3, dtype=rotation.dtype, device=rotation.device)
    error = (rotation @ rotation.transpose(-1, -2) - identity).abs()
    if error.numel() and (float(error.max()) > 1e-2 or bool((torch.linalg.det(rotation) < 0).any())):
        raise ValueError(
            "`cam2world` must hold a rotation in its upper left 3x3 block (orthonormal, determinant +1); "
            f"the largest deviation from orthonormality is {float(error.max()):.3g}."
        )
    last_row = cam2world[..., 3, :]
    if bool((last_row != last_row.new_tensor([0.0, 0.0, 0.0, 1.0])).any()):
        raise ValueError(
            "`cam2world` must have 0, 0, 0, 1 in its last row: the translation belongs into the last column."
        )
    focal = torch.stack([intrinsics[..., 0, 0], intrinsics[..., 1, 1]], dim=-1)
    if bool((focal <= 0).any()):
        raise ValueError(f"`intrinsics` must have positive focal lengths, got {float(focal.min()):g}.")


def _pinhole(fx: Tensor, fy: Tensor, cx: Tensor, cy: Tensor) -> Tensor:
    zero, one = torch.zeros_like(fx), torch.ones_like(fx)
    return torch.stack([fx, zero, cx, zero, fy, cy, zero, zero, one], dim=-1).reshape(*fx.shape, 3, 3)


def _homogeneous_row(like: Tensor, batch: Sequence[int]) -> Tensor:
    row = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=like.dtype, device=like.device)
    return row.expand(*batch, 1, 4)


def _as_vector(name: str, value: Tensor | Sequence[float]) -> Tensor:
    tensor = value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float32)
    if tensor.ndim < 1 or tensor.shape[-1] != 3:
        raise ValueError(f"`{name}` must have shape (..., 3), got {tuple(tensor.shape)}.")
    if not tensor.is_floating_point():
        tensor = tensor.float()
    if not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"`{name}` holds values that are not finite.")
    return tensor
