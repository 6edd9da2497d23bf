# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Collections of objects with views, read when they are asked for. `open_views` of `data_sources` makes them."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..cameras import Cameras
from .raw_views import RawView, pad_to_square, square_pose
from .views import ObjectViews


CAMERAS_KEPT = 4096  # objects whose cameras stay in memory, 100 bytes a view


class ViewDataset(ABC):
    """Objects by index. The same index gives the same views, whenever it is asked for.

    Attributes:
        layout: what kind of data this is, in words.
        size: side of the pictures in pixels.
        endless: whether the number of objects is no property of the data.
    """

    layout: str
    size: int
    endless = False

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def name(self, index: int) -> str:
        """The object's name."""

    @abstractmethod
    def cameras(self, index: int) -> Cameras:
        """All cameras of an object, shape `(views,)`, without reading or rendering pictures."""

    @abstractmethod
    def load(self, index: int, views: Sequence[int] | None = None) -> ObjectViews:
        """Pictures of an object, of all views or of those asked for, in that order.

        Raises:
            OSError, ValueError: if the files can't be read, or what is in them can't be used.
        """

    def __getitem__(self, index: int) -> ObjectViews:
        if not 0 <= index < len(self):
            raise IndexError(f"`index` must be from 0 to {len(self) - 1}, got {index}.")
        return self.load(index)


class RawViewDataset(ViewDataset):
    """Objects whose views are files: subclasses say which.

    Args:
        names: of the objects.
        size: side of the pictures; default that of the first object's first picture, unscaled.
    """

    def __init__(self, names: Sequence[str], size: int | None) -> None:
        self.names = list(names)
        self._kept: dict[int, Cameras] = {}
        if size is None:
            first = self.raw(0)
            if not first:
                raise ValueError(f"object {self.names[0]!r} has no views.")
            size = max(first[0].size())
        self.size = size

    @abstractmethod
    def raw(self, index: int) -> list[RawView]:
        """The views of an object, unread, in order."""

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        return self.names[index]

    def cameras(self, index: int) -> Cameras:
        if index not in self._kept:
            if len(self._kept) >= CAMERAS_KEPT:
                self._kept.clear()
            self._kept[index] = self._read_cameras(index)
        return self._kept[index]

    def _read_cameras(self, index: int) -> Cameras:
        raw = self.raw(index)
        if not raw:
            raise ValueError(f"object {self.names[index]!r} has no views.")
        poses, intrinsics = [], []
        width, height = raw[0].size()
        for view in raw:
            try:
                poses.append(square_pose(view.pose()))
                intrinsics.append(pad_to_square(view.intrinsics(), width, height))
            except ValueError as error:
                raise ValueError(f"object {self.names[index]!r}, view {view.name}: {error}") from error
        return Cameras(torch.from_numpy(np.stack(poses)).float(), torch.from_numpy(np.stack(intrinsics)).float())

    def load(self, index: int, views: Sequence[int] | None = None) -> ObjectViews:
        raw, cameras = self.raw(index), self.cameras(index)
        chosen = list(range(len(raw)) if views is None else views)
        width, height = raw[0].size()
        rgba, depth = [], []
        for view in (raw[number] for number in chosen):
            try:
                picture = view.picture()
                distance = np.zeros(picture.shape[:2]) if view.depth is None else view.depth()
            except ValueError as error:
                raise ValueError(f"object {self.names[index]!r}, view {view.name}: {error}") from error
            if picture.shape[:2] != (height, width) or distance.shape != (height, width):
                raise ValueError(
                    f"object {self.names[index]!r}, view {view.name}: the picture has {picture.shape[1]} x "
                    f"{picture.shape[0]} pixels and its depth {distance.shape[1]} x {distance.shape[0]}, the object's "
                    f"first picture {width} x {height}."
                )
            rgba.append(_squared(torch.from_numpy(picture.copy()).permute(2, 0, 1)))
            depth.append(_squared(torch.from_numpy(distance)))
        views_ = ObjectViews(torch.stack(rgba), torch.stack(depth).half(), cameras[chosen])
        return resize_views(views_, self.size)


class NpzViews(ViewDataset):
    """The `.npz` files of [`ObjectViews.save`], held in memory.

    Raises:
        OSError: if a file is none.
        ValueError: if their pictures differ in size and no `size` is given.
    """

    layout = "rendered views (.npz)"

    def __init__(self, files: Sequence[str | os.PathLike[str]], size: int | None = None) -> None:
        self.files = [Path(file) for file in files]
        with ThreadPoolExecutor(4) as threads:
            self.objects = list(threads.map(ObjectViews.load, self.files))
        if size is not None:
            self.objects = [resize_views(views, size) for views in self.objects]
        sizes = sorted({side for views in self.objects for side in views.rgba.shape[-2:]})
        if len(sizes) != 1:
            raise ValueError(
                f"{str(self.files[0].parent)!r} holds pictures of different sizes: {sizes}; give a `size`."
            )
        self.size = sizes[0]

    def __len__(self) -> int:
        return len(self.objects)

    def name(self, index: int) -> str:
        return self.files[index].stem

    def cameras(self, index: int) -> Cameras:
        return self.objects[index].cameras

    def load(self, index: int, views: Sequence[int] | None = None) -> ObjectViews:
        everything = self.objects[index]
        return everything if views is None else everything.select(views)


def resize_views(views: ObjectViews, size: int) -> ObjectViews:
    """Square pictures at another size: area means of premultiplied colours when they shrink, bilinear when they grow.
    Depth is that of the nearest pixel.

    Raises:
        ValueError: if `size` is not positive.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"`size` must be a positive integer, got {size!r}.")
    side = views.rgba.shape[-1]
    if side == size:
        return views
    values = views.rgba.float() / 255
    values = torch.cat([values[:, :3] * values[:, 3:], values[:, 3:]], dim=1)
    if size < side:
        values = F.interpolate(values, (size, size), mode="area")
    else:
        values = F.interpolate(values, (size, size), mode="bilinear", align_corners=False)
    alpha = values[:, 3:]
    straight = torch.where(alpha > 1e-4, values[:, :3] / alpha.clamp(min=1e-4), torch.zeros_like(alpha))
    rgba = (torch.cat([straight, alpha], dim=1).clamp(0, 1) * 255).round().to(torch.uint8)
    depth = F.interpolate(views.depth[:, None].float(), (size, size), mode="nearest-exact")[:, 0].half()
    return ObjectViews(rgba, depth, views.cameras)


def _squared(values: Tensor) -> Tensor:
    """`(..., height, width)` in the middle of zeros, with the longer side as both."""
    height, width = values.shape[-2:]
    side = max(height, width)
    left, top = (side - width) // 2, (side - height) // 2
    return F.pad(values, (left, side - width - left, top, side - height - top))
