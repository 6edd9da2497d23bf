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

import torch
from torch import Tensor


DEFAULT_DISTANCE = 2.0
DEFAULT_FOCAL = 0.75


@dataclass(frozen=True, eq=False)
class Cameras:
    """A batch of pinhole cameras of any batch shape.

    Args:
        cam2world: `(..., 4, 4)` camera-to-world matrices.
        intrinsics: `(..., 3, 3)` intrinsics normalised by image size, broadcast against `cam2world`.

    Raises:
        TypeError: if either is not a floating point tensor.
        ValueError: if the shapes do not fit, or a value is not finite.
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
        object.__setattr__(self, "cam2world", self.cam2world.expand(*shape, 4, 4))
        object.__setattr__(self, "intrinsics", self.intrinsics.expand(*shape, 3, 3))

    def validate(self) -> Cameras:
        """Checks the numbers: finite, a rotation in `cam2world`, positive focal lengths. Returns `self`.

        Raises:
            ValueError: naming what is wrong.
        """
        for name in ("cam2world", "intrinsics"):
            if not bool(torch.isfinite(getattr(self, name)).all()):
                raise ValueError(f"`{name}` holds values that are not finite.")
        rotation = self.cam2world[..., :3, :3].detach().double()
        error = (rotation @ rotation.transpose(-1, -2) - torch.eye(3, dtype=torch.float64, device=rotation.device)).abs()
        if error.numel() and (float(error.max()) > 1e-2 or bool((torch.linalg.det(rotation) < 0).any())):
            raise ValueError(
                "`cam2world` must hold a rotation in its upper left 3x3 block (orthonormal, determinant +1); "
                f"the largest deviation from orthonormality is {float(error.max()):.3g}."
            )
        focal = torch.stack([self.intrinsics[..., 0, 0], self.intrinsics[..., 1, 1]], dim=-1)
        if bool((focal <= 0).any()):
            raise ValueError("`intrinsics` must have positive focal lengths.")
        return self

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

    def __getitem__(self, index) -> Cameras:
        probe = torch.empty(self.shape, device="meta")[index]  # an index that reaches into the matrices is refused
        del probe
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
        """The source camera: on the -y side, `elevation` degrees above the xy plane, looking at the origin. Shape ()."""
        return orbit_cameras(1, elevation=elevation, distance=distance, focal=focal)[0]

    @classmethod
    def from_source_vector(cls, vector: Tensor) -> Cameras:
        """From `(..., 16)`: the 3x4 camera-to-world matrix row by row, then fx, fy, cx, cy (OpenLRM's source camera)."""
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
        turn = torch.stack([cos, -sin, zero, zero, sin, cos, zero, zero, zero, zero, one, zero, zero, zero, zero, one], -1)
        return Cameras(turn.reshape(*angle.shape, 4, 4) @ self.cam2world, self.intrinsics)


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
        up: `(..., 3)` direction that appears upwards; where the view is parallel to it, the world's +y is used instead.
        focal: focal length over image size, for both axes.

    Returns:
        `Cameras` of the batch shape of `position`.

    Raises:
        ValueError: if a camera sits on its target, or shapes do not fit.
    """
    position = _as_vector("position", position)
    target = _as_vector("target", target).to(position)
    up = _as_vector("up", up).to(position)
    position, target, up = torch.broadcast_tensors(position, target, up)
    backward = position - target
    length = backward.norm(dim=-1, keepdim=True)
    if bool((length < 1e-8).any()):
        raise ValueError("`position` and `target` coincide: the camera has no viewing direction.")
    backward = backward / length
    right = torch.linalg.cross(up, backward, dim=-1)
    parallel = right.norm(dim=-1, keepdim=True) < 1e-6
    fallback = torch.tensor([0.0, 1.0, 0.0], dtype=position.dtype, device=position.device)
    right = torch.where(parallel, torch.linalg.cross(fallback.expand_as(backward), backward, dim=-1), right)
    right = right / right.norm(dim=-1, keepdim=True)
    above = torch.linalg.cross(backward, right, dim=-1)
    batch = position.shape[:-1]
    cam2world = torch.cat(
        [torch.stack([right, above, backward, position], dim=-1), _homogeneous_row(position, batch)], dim=-2
    )
    focal = torch.as_tensor(focal, dtype=position.dtype, device=position.device).expand(batch)
    centre = torch.full_like(focal, 0.5)
    return Cameras(cam2world, _pinhole(focal, focal, centre, centre))


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
        ValueError: if `num_views` or `distance` is not positive.
    """
    if azimuths is None:
        if isinstance(num_views, bool) or not isinstance(num_views, int) or num_views < 1:
            raise ValueError(f"`num_views` must be a positive integer, got {num_views!r}.")
        azimuth = azimuth_start + torch.arange(num_views, dtype=torch.float64) * (360.0 / num_views)
    else:
        azimuth = torch.as_tensor(azimuths, dtype=torch.float64) + azimuth_start
    if not distance > 0:
        raise ValueError(f"`distance` must be positive, got {distance}.")
    if not focal > 0:
        raise ValueError(f"`focal` must be positive, got {focal}.")
    azimuth = torch.deg2rad(azimuth)
    tilt = torch.deg2rad(torch.as_tensor(elevation, dtype=torch.float64)).expand_as(azimuth)
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
    """
    for name, value in (("height", height), ("width", width)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"`{name}` must be a positive integer, got {value!r}.")
    full_height, full_width = full_size or (height, width)
    dtype, device, batch = cameras.cam2world.dtype, cameras.device, cameras.shape
    rows = torch.arange(height, dtype=dtype, device=device) + 0.5
    columns = torch.arange(width, dtype=dtype, device=device) + 0.5
    if anchors is not None:
        if tuple(anchors.shape[-1:]) != (2,):
            raise ValueError(f"`anchors` must have shape (..., 2), got {tuple(anchors.shape)}.")
        anchors = anchors.to(device=device, dtype=dtype).expand(*batch, 2)
        rows = rows + anchors[..., :1]
        columns = columns + anchors[..., 1:]
    v = (rows / full_height).expand(*batch, height)[..., :, None]
    u = (columns / full_width).expand(*batch, width)[..., None, :]
    k = cameras.intrinsics[..., None, None, :, :]
    fx, fy, cx, cy, skew = k[..., 0, 0], k[..., 1, 1], k[..., 0, 2], k[..., 1, 2], k[..., 0, 1]
    x = (u - cx + cy * skew / fy - skew * v / fy) / fx
    y = (v - cy) / fy
    x, y = torch.broadcast_tensors(x, y)
    # a homogeneous point minus the origin, in this order: what the published renderers do, to the last bit
    point = torch.stack([x, -y, -torch.ones_like(x), torch.ones_like(x)], dim=-1).flatten(-3, -2)
    world = (point @ cameras.cam2world.transpose(-1, -2))[..., :3]
    origins = cameras.position[..., None, :].expand_as(world)
    directions = torch.nn.functional.normalize(world - origins, dim=-1)
    shape = (*batch, height, width, 3)
    return origins.reshape(shape), directions.reshape(shape)


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
    if not math.isfinite(float(tensor.detach().abs().sum())):
        raise ValueError(f"`{name}` holds values that are not finite.")
    return tensor
