# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Views in all their channels, as arrays and as pictures.

| channel   | array `(batch, views, height, width, k)`, float32              | picture                       |
|-----------|----------------------------------------------------------------|-------------------------------|
| `rgb`     | colour on the background, in [0, 1]                            | RGB                           |
| `rgba`    | the object's own colour and its opacity, in [0, 1]             | RGBA, not premultiplied       |
| `depth`   | distance along the unit ray in world units, 0 where nothing is | 16 bit grey, 1/1000 unit each |
| `normals` | unit vectors in the camera's frame, 0 where nothing is         | RGB, `(n + 1) / 2`            |
| `opacity` | in [0, 1]                                                      | 8 bit grey                    |

The camera's frame has x to the right, y up and z towards the viewer. Depth and normals are those of something where at
least half of the light comes from the object.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from .cameras import Cameras
from .modeling.field import TriplaneField
from .rendering import render
from .rendering.normals import normals_of_views


CHANNELS = ("rgb", "rgba", "depth", "normals", "opacity")
# world units per step of a depth picture: millimetres, where a world unit is a metre
DEPTH_STEP = 1e-3
# opacity from which on a pixel shows a surface
SEEN = 0.5


@torch.no_grad()
def render_channels(
    field: TriplaneField,
    cameras: Cameras,
    height: int = 288,
    width: int = 288,
    channels: Sequence[str] = CHANNELS,
    background: float | Sequence[float] = 1.0,
    **kwargs: Any,
) -> dict[str, np.ndarray]:
    """Renders the channels asked for, at the cost of one picture; normals take as many gradients as there are pixels.

    Args:
        field: `batch` fields.
        cameras: shape `(views,)` or `(batch, views)`.
        height, width: in pixels.
        channels: of `CHANNELS`.
        background: behind the `rgb` channel, in [0, 1]: a number or three.
        **kwargs: for [`~lrm_hf.render`].

    Returns:
        An array per channel, as the table above has them.

    Raises:
        ValueError: if a channel is unknown or there is none; and as [`~lrm_hf.render`].
    """
    unknown = [name for name in channels if name not in CHANNELS]
    if unknown or not channels:
        raise ValueError(f"`channels` must be some of {', '.join(CHANNELS)}, got {list(channels)}.")
    views = render(field, cameras, height, width, 0.0, **kwargs)
    seen = views.opacity >= SEEN
    behind = torch.as_tensor(background, dtype=torch.float32, device=views.images.device)
    if tuple(behind.shape) not in ((), (1,), (3,)) or not bool(((behind >= 0) & (behind <= 1)).all()):
        raise ValueError(f"`background` must be a number or three in [0, 1], got {background!r}.")
    made: dict[str, np.ndarray] = {}
    for name in channels:
        if name == "rgb":
            values = (views.images + behind.reshape(-1, 1, 1) * (1 - views.opacity)).clamp(0, 1)
        elif name == "rgba":
            own = views.images / views.opacity.clamp(min=torch.finfo(torch.float32).tiny)
            own = torch.where(views.opacity > 0, own, torch.zeros_like(own)).clamp(0, 1)
            values = torch.cat([own, views.opacity], dim=2)
        elif name == "normals":
            values = normals_of_views(field, cameras, views.depth.where(seen, 0.0))
        else:
            values = views.depth.where(seen, 0.0) if name == "depth" else views.opacity
        made[name] = _array(values)
    return made


def channel_picture(channel: str, values: np.ndarray) -> PIL.Image.Image:
    """One view's channel `(height, width, k)` as a picture of the form that the table above says.

    Raises:
        ValueError: if the channel is unknown, or a depth is too large for 16 bits (65.535 world units).
    """
    if channel == "depth":
        steps = np.round(values[..., 0] / DEPTH_STEP)
        if steps.max(initial=0) > np.iinfo(np.uint16).max:
            raise ValueError(f"depths up to {values.max():.6g} world units don't fit into a picture: take arrays.")
        return PIL.Image.fromarray(steps.astype(np.uint16))
    if channel not in CHANNELS:
        raise ValueError(f"`channel` must be one of {', '.join(CHANNELS)}, got {channel!r}.")
    if channel == "normals":
        values = values / 2 + 0.5
    pixels = np.round(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return PIL.Image.fromarray(pixels[..., 0] if channel == "opacity" else pixels)


def channel_frames(channel: str, values: np.ndarray) -> list[PIL.Image.Image]:
    """All views `(views, height, width, k)` as pictures for a video or a sheet; depths as grey from white for the
    nearest to black for the farthest of them."""
    if channel != "depth":
        return [channel_picture(channel, view) for view in values]
    seen = values > 0
    near, far = (float(values[seen].min()), float(values[seen].max())) if seen.any() else (0.0, 1.0)
    grey = np.where(seen, 1 - (values - near) / max(far - near, 1e-6) * 0.9, 0.0)
    return [channel_picture("opacity", view) for view in grey]


def _array(values: Tensor) -> np.ndarray:
    return values.movedim(2, -1).float().cpu().numpy()
