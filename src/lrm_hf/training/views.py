# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Rendered views of one object: what every data source of training and evaluation hands over."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..cameras import Cameras
from ..files import replacing


# A soft light from above, in front and to the left of the source camera's side, and a half-Lambert falloff, so that no
# side of an object is black. Fixed in the world, like the light of a photographer's table.
LIGHT_DIRECTION = (-0.35, -0.65, 0.68)
AMBIENT = 0.45


@dataclass
class ObjectViews:
    """Pictures of one object from known cameras.

    Attributes:
        rgba: `(views, 4, height, width)` uint8, straight (not premultiplied) alpha.
        depth: `(views, height, width)` float16, distance along the unit ray to the first surface; 0: there is none,
            or it is not known.
        cameras: shape `(views,)`.
    """

    rgba: Tensor
    depth: Tensor
    cameras: Cameras

    def select(self, views: Sequence[int]) -> ObjectViews:
        """Some of the views, in the order asked for."""
        chosen = list(views)
        return ObjectViews(self.rgba[chosen], self.depth[chosen], self.cameras[chosen])

    def save(self, path: str | os.PathLike) -> None:
        """Writes a compressed `.npz`, first under a temporary name."""
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(
                file,
                rgba=self.rgba.cpu().numpy(),
                depth=self.depth.cpu().numpy(),
                cam2world=self.cameras.cam2world.cpu().float().numpy(),
                intrinsics=self.cameras.intrinsics.cpu().float().numpy(),
            )

    @classmethod
    def load(cls, path: str | os.PathLike) -> ObjectViews:
        """Reads what `save` wrote.

        Raises:
            OSError: if the file is missing or is no such archive.
        """
        try:
            with np.load(path, allow_pickle=False) as data:
                arrays = {name: torch.from_numpy(data[name]) for name in ("rgba", "depth", "cam2world", "intrinsics")}
        except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise OSError(f"{os.fspath(path)!r} does not hold rendered views: {error}") from error
        return cls(arrays["rgba"], arrays["depth"], Cameras(arrays["cam2world"], arrays["intrinsics"]))


def shade(albedo: Tensor, normals: Tensor) -> Tensor:
    """Half-Lambert shading under the one light of all data sets.

    Args:
        albedo: `(..., 3)` in [0, 1].
        normals: `(..., 3)` unit normals in the world frame, facing the viewer.

    Returns:
        `(..., 3)` in [0, 1].
    """
    light = torch.tensor(LIGHT_DIRECTION, dtype=normals.dtype, device=normals.device)
    light = light / light.norm()
    lambert = ((normals * light).sum(-1, keepdim=True) * 0.5 + 0.5).square()
    return albedo * (AMBIENT + (1 - AMBIENT) * lambert)
