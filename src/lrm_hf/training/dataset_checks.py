# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What may be wrong with training data, said in plain words. Nothing here stops at the first fault."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..cameras import Cameras, project_points
from . import data_sources, nerf_layout, openlrm_layout
from .generated_views import MeshViews
from .raw_views import RawView, square_pose
from .view_datasets import NpzViews, ViewDataset
from .view_shards import ShardViews


ERROR, WARNING = "error", "warning"
HULL_CELLS = 48  # along each axis of the box
MASK_SIZE = 64  # side of the silhouettes that are compared, in pixels
HULL_GAP = 5  # pixels of these that neighbouring cells may be apart in a picture
HULL_VIEWS = 12  # more silhouettes would say little new
LEAST_COVERAGE = 0.97  # with the right cameras 69 objects of many shapes have 0.995 and more


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    Attributes:
        severity: `"error"`: training would fail or learn something false; `"warning"`: worth a look.
        object: its name; empty: it is about the data set.
        view: its name; None: it is about the object.
        check: which rule, in a word.
        message: a sentence.
    """

    severity: str
    object: str
    view: str | None
    check: str
    message: str

    def __str__(self) -> str:
        where = ", view ".join(part for part in (self.object, self.view) if part)
        return f"{where}: {self.message}" if where else self.message


@dataclass
class CheckedView:
    """What could be read of a view: the picture `(height, width, 4)` and its (height, width), the pose `(4, 4)`, the
    intrinsics `(3, 3)`."""

    name: str
    size: tuple[int, int] | None = None
    picture: np.ndarray | None = None
    pose: np.ndarray | None = None
    intrinsics: np.ndarray | None = None


@dataclass(eq=False)
class CheckedObject:
    """An object, its views as far as they could be read, and what is wrong with it."""

    name: str
    views: list[CheckedView] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def add(self, severity: str, view: str | None, check: str, message: str) -> None:
        self.findings.append(Finding(severity, self.name, view, check, message))

    def forget_pictures(self) -> None:
        """Frees the memory that is needed for the sheet only."""
        for view in self.views:
            view.picture = None


def find_objects(
    source: str | os.PathLike[str], limit: int | None = None
) -> tuple[str, list[tuple[str, Callable[[], list[RawView]]]], list[Finding]]:
    """The objects of a data set in any layout of `open_views`, unread.

    Returns:
        The layout's name; of each object its name and what gives its views; what is wrong with the whole.

    Raises:
        OSError, ValueError: what `data_sources.find_layout` raises.
    """
    if source == data_sources.PROCEDURAL:
        raise ValueError("procedural objects are made from a seed: there is nothing to check.")
    kind, parts = data_sources.find_layout(source)
    findings: list[Finding] = []
    objects: list[tuple[str, Callable[[], list[RawView]]]] = []
    for part in parts:
        if kind == data_sources.SHARDS:
            try:
                shard = ShardViews([part], size=1)
            except (OSError, ValueError) as error:
                findings.append(Finding(ERROR, "", None, "shard", str(error)))
                continue
            objects += [
                (name, lambda shard=shard, index=index: shard.raw(index)) for index, name in enumerate(shard.names)
            ]
        elif kind == data_sources.OPENLRM:
            objects.append((part.absolute().name, lambda part=part: openlrm_layout.raw_object(part)))
        elif kind == data_sources.NERF:
            objects.append((part.absolute().parent.name, lambda part=part: nerf_layout.raw_object(part)))
        elif kind == data_sources.MESHES:
            objects.append((part.stem, lambda part=part: _raw(MeshViews([part], size=128))))
        else:
            objects.append((part.stem, lambda part=part: _raw(NpzViews([part]))))
    names = [name for name, _ in objects]
    for name in sorted({name for name in names if names.count(name) > 1}):
        findings.append(Finding(ERROR, "", None, "names", f"several objects are named {name!r}."))
    path = Path(source)
    if kind == data_sources.OPENLRM and not openlrm_layout.is_object(path):
        for entry in sorted(path.iterdir()):
            if entry.is_dir() and entry not in parts and not entry.name.startswith("."):
                message = "there is neither rgba/ nor pose/ in this directory."
                findings.append(Finding(ERROR, entry.name, None, "missing", message))
    return kind, objects[:limit], findings


def check_object(name: str, raw: Callable[[], list[RawView]]) -> CheckedObject:
    """Reads and judges one object."""
    checked = CheckedObject(name)
    try:
        views = raw()
    except (OSError, ValueError, ImportError) as error:
        checked.add(ERROR, None, "unreadable", _sentence(error))
        return checked
    for view in views:
        checked.views.append(_check_view(checked, view))
    if len(views) < 2:
        checked.add(ERROR, None, "views", f"it has {len(views)} views; training needs a source and a target at least.")
    _check_sizes(checked)
    _check_cameras(checked)
    _check_silhouettes(checked)
    checked.findings = _merged(checked.findings, len(views))
    return checked


def check_sizes_of(objects: Sequence[CheckedObject]) -> list[Finding]:
    """Pictures of one size within an object, but not in all of them."""
    sizes: dict[tuple[int, int], str] = {}
    for checked in objects:
        for view in checked.views:
            if view.size is not None:
                sizes.setdefault(view.size, checked.name)
                break
    if len(sizes) < 2:
        return []
    listed = ", ".join(f"{width} x {height} ({name})" for (height, width), name in sizes.items())
    return [Finding(WARNING, "", None, "sizes", f"objects have pictures of different sizes: {listed}; give a `size`.")]


def _check_view(checked: CheckedObject, view: RawView) -> CheckedView:
    result = CheckedView(view.name)
    try:
        result.picture = view.picture()
    except (OSError, ValueError) as error:
        checked.add(ERROR, view.name, "picture", _sentence(error))
    else:
        height, width = result.picture.shape[:2]
        result.size = height, width
        _check_alpha(checked, view.name, result.picture[..., 3])
    try:
        pose = view.pose()
        if pose.shape in ((3, 4), (4, 4)) and np.isfinite(pose).all():
            result.pose = np.vstack([pose[:3], [0, 0, 0, 1]])  # to be drawn, whatever else is wrong
        square_pose(pose)
    except (OSError, ValueError) as error:
        checked.add(ERROR, view.name, "pose", _sentence(error))
    try:
        result.intrinsics = view.intrinsics()
    except (OSError, ValueError) as error:
        checked.add(ERROR, view.name, "intrinsics", _sentence(error))
    if view.depth is not None:
        _check_depth(checked, view, result.picture)
    return result


def _check_alpha(checked: CheckedObject, view: str, alpha: np.ndarray) -> None:
    if not (alpha > 127).any():
        checked.add(ERROR, view, "alpha", "its alpha is empty: the object is nowhere to be seen.")
    elif alpha.min() > 127:
        checked.add(ERROR, view, "alpha", "its alpha covers the whole picture: no background was cut away.")
    elif max(alpha[0].max(), alpha[-1].max(), alpha[:, 0].max(), alpha[:, -1].max()) > 127:
        checked.add(WARNING, view, "cut off", "the object reaches the picture's edge: parts of it may be cut off.")


def _check_aspect(checked: CheckedObject, view: CheckedView) -> None:
    """Pixels are square in nearly all pictures; if not, width and height were mixed up more often than meant."""
    if view.size is None or view.intrinsics is None:
        return
    height, width = view.size
    across, down = view.intrinsics[0, 0] * width, view.intrinsics[1, 1] * height
    if abs(across - down) > 0.02 * max(across, down):
        message = (
            f"its focal lengths are {across:.4g} and {down:.4g} pixels of its picture of {width} x {height}: are the "
            "intrinsics those of another picture?"
        )
        checked.add(WARNING, view.name, "aspect", message)


def _check_depth(checked: CheckedObject, view: RawView, picture: np.ndarray | None) -> None:
    try:
        depth = view.depth() if view.depth is not None else np.zeros(0)
    except (OSError, ValueError) as error:
        checked.add(ERROR, view.name, "depth", _sentence(error))
        return
    if not np.isfinite(depth).all() or (depth < 0).any():
        checked.add(
            ERROR, view.name, "depth", "its depth holds numbers that are negative or not finite; 0 is for none."
        )
    elif picture is not None and depth.shape != picture.shape[:2]:
        checked.add(ERROR, view.name, "depth", f"its depth has shape {depth.shape}, its picture {picture.shape[:2]}.")


def _check_sizes(checked: CheckedObject) -> None:
    sizes = [view.size for view in checked.views if view.size is not None]
    for view in checked.views:
        if view.size is not None and view.size != sizes[0]:
            (height, width), (rows, columns) = view.size, sizes[0]
            message = f"its picture has {width} x {height} pixels, the object's first one {columns} x {rows}."
            checked.add(ERROR, view.name, "size", message)
        else:
            _check_aspect(checked, view)


def _check_cameras(checked: CheckedObject) -> None:
    """Where the cameras stand, and whether they look at the origin."""
    bad = {finding.view for finding in checked.findings if finding.check in ("pose", "intrinsics")}
    judged = [view for view in checked.views if view.name not in bad and view.pose is not None]
    away = []
    for view in judged:
        position = view.pose[:3, 3]
        if np.abs(position).max() < 1:
            message = (
                f"its camera stands inside the object's box [-1, 1]^3, {np.linalg.norm(position):.2g} from the origin."
            )
            checked.add(ERROR, view.name, "inside", message)
            continue
        seen, where = _sees_origin(view.pose, view.intrinsics)
        if not seen:
            away.append(view)
            checked.add(ERROR, view.name, "looks away", f"its camera does not look at the object: the origin {where}.")
    if away and len(away) == len(judged):
        flipped = all(_sees_origin(view.pose @ np.diag([1.0, -1, -1, 1]), view.intrinsics)[0] for view in away)
        inverse = all(_sees_origin(np.linalg.inv(view.pose), view.intrinsics)[0] for view in away)
        if flipped:
            message = "with y and z of each camera turned all look at it: are the poses in OpenCV's axes?"
            checked.add(ERROR, None, "axes", message)
        elif inverse:
            checked.add(ERROR, None, "axes", "inverted, all look at it: are the poses world-to-camera?")
    poses = [view.pose for view in judged]
    for index, pose in enumerate(poses):
        for other in range(index):
            if np.abs(pose - poses[other]).max() < 1e-6:
                message = f"its camera is the same as that of view {judged[other].name}."
                checked.add(WARNING, judged[index].name, "repeated", message)
                break


def _sees_origin(pose: np.ndarray, intrinsics: np.ndarray) -> tuple[bool, str]:
    cameras = Cameras(torch.from_numpy(pose), torch.from_numpy(intrinsics))
    uv, depth = project_points(cameras, torch.zeros(1, 3, dtype=torch.float64))
    if float(depth[0]) <= 0:
        return False, "lies behind it"
    u, v = uv[0].tolist()
    return 0 <= u <= 1 and 0 <= v <= 1, f"is seen at ({u:.2f}, {v:.2f}) of its picture, outside of it"


def _check_silhouettes(checked: CheckedObject) -> None:
    """Whether the cameras are those of the pictures. The object lies within the visual hull, the part of the box that
    all silhouettes contain; so seen from each camera, the hull has to cover the silhouette."""
    faulty = {finding.view for finding in checked.findings if finding.severity == ERROR}
    good = [view for view in checked.views if view.name not in faulty]
    good = good[:: max(1, math.ceil(len(good) / HULL_VIEWS))]
    if len(good) < 3 or None in faulty:
        return
    share = silhouette_coverage(good)
    if share < LEAST_COVERAGE:
        message = (
            f"the cameras do not fit the pictures: the common hull of all silhouettes covers {share:.0%} of them. Are "
            "the poses in another order, mirrored, or of another scale?"
        )
        checked.add(ERROR, None, "silhouettes", message)


def silhouette_coverage(views: Sequence[CheckedView]) -> float:
    """Mean share of the views' silhouettes that their common visual hull covers, to the accuracy of a cell."""
    from scipy.ndimage import distance_transform_edt

    axis = (torch.arange(HULL_CELLS, dtype=torch.float32) + 0.5) * (2 / HULL_CELLS) - 1
    points = torch.cartesian_prod(axis, axis, axis)
    inside = torch.ones(len(points), dtype=torch.bool)
    masks, places = [], []
    for view in views:
        cameras = Cameras(torch.from_numpy(view.pose).float(), torch.from_numpy(view.intrinsics).float())
        uv, depth = project_points(cameras, points)
        mask = torch.from_numpy((view.picture[..., 3] > 127).astype(np.float32))[None, None]
        mask = F.adaptive_max_pool2d(mask, MASK_SIZE)[0, 0]
        # how far outside of the silhouette each pixel is, and how far half a cell's diagonal reaches there
        outside = torch.from_numpy(distance_transform_edt(mask.numpy() == 0)).float()
        focal = float(max(view.intrinsics[0, 0], view.intrinsics[1, 1]))
        reach = 1 + MASK_SIZE * focal * math.sqrt(3) / HULL_CELLS / depth.clamp(min=0.05)
        pixel = (uv * MASK_SIZE).long().clamp(0, MASK_SIZE - 1)
        visible = (depth > 0) & (uv >= 0).all(-1) & (uv < 1).all(-1)
        # what is not in the picture may be there all the same
        inside &= ~visible | (outside[pixel[:, 1], pixel[:, 0]] <= reach)
        masks.append(mask)
        places.append((pixel, visible))
    shares = []
    for mask, (pixel, visible) in zip(masks, places, strict=True):
        hull = torch.zeros(MASK_SIZE, MASK_SIZE)
        column, row = pixel[visible & inside].unbind(-1)
        hull[row, column] = 1
        hull = F.max_pool2d(hull[None], HULL_GAP, stride=1, padding=HULL_GAP // 2)[0]
        shares.append(float((hull * mask).sum() / mask.sum().clamp(min=1)))
    return sum(shares) / len(shares)


def _merged(findings: list[Finding], views: int) -> list[Finding]:
    """The same sentence about all views is one about the object."""
    counts: dict[tuple[str, str], int] = {}
    for finding in findings:
        counts[finding.check, finding.message] = counts.get((finding.check, finding.message), 0) + 1
    merged: list[Finding] = []
    for finding in findings:
        if views > 1 and counts[finding.check, finding.message] == views:
            finding = Finding(finding.severity, finding.object, None, finding.check, finding.message)
        if finding not in merged:
            merged.append(finding)
    return merged


def _raw(dataset: ViewDataset) -> list[RawView]:
    """The first object of a data set that has no files for each view."""
    views = dataset.load(0)

    def raw(index: int) -> RawView:
        return RawView(
            name=f"{index:03d}",
            picture=lambda: views.rgba[index].permute(1, 2, 0).numpy(),
            size=lambda: (views.rgba.shape[-1], views.rgba.shape[-2]),
            pose=lambda: views.cameras.cam2world[index].double().numpy(),
            intrinsics=lambda: views.cameras.intrinsics[index].double().numpy(),
            depth=lambda: views.depth[index].double().numpy(),
        )

    return [raw(index) for index in range(len(views.rgba))]


def _sentence(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
