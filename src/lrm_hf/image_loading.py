# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Any kind of picture -> float32 RGBA array: PIL, path, URL, numpy, torch, and lists and batches of them."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
import torch


MIN_SIDE = 16
# Floats may leave [0, 1] by this much, which arithmetic explains; more is another range of values.
RANGE_TOLERANCE = 1e-3
URL_TIMEOUT = (10.0, 30.0)  # seconds to connect, and between two reads
URL_DEADLINE = 60.0  # seconds for the whole download
URL_MAX_BYTES = 64 * 2**20


def flatten_images(images: Any) -> list[Any]:
    """Single pictures in order, from a picture, a (nested) list or tuple, or an array with a leading batch axis."""
    return list(_iterate(images))


def _iterate(images: Any) -> Iterator[Any]:
    if isinstance(images, (list, tuple)) or isinstance(images, (np.ndarray, torch.Tensor)) and images.ndim > 3:
        for item in images:
            yield from _iterate(item)
    else:
        yield images


def load_rgba(image: Any, name: str = "image") -> np.ndarray:
    """One picture as RGBA.

    Args:
        image: `PIL.Image` of any mode, path, http(s) URL, or array or tensor (height, width), (channels, height,
            width) or (height, width, channels) with 1 (grey), 2 (grey, alpha), 3 or 4 (RGB, alpha) channels; bool,
            uint8 (0..255), uint16 (0..65535) or floating point ([0, 1]).
        name: how messages call it.

    Returns:
        (height, width, 4), float32 in [0, 1]; alpha is 1 where the picture has none.

    Raises:
        ValueError: smaller than 16 x 16, values that are not finite or not in [0, 1], another shape, a file or
            download too large.
        TypeError: not a picture, or an array of another dtype.
        OSError: a file or URL that cannot be read; `FileNotFoundError` if there is none.
    """
    if isinstance(image, (np.ndarray, torch.Tensor)):
        rgba = _array_to_rgba(to_numpy(image), name)
    elif isinstance(image, (str, os.PathLike, PIL.Image.Image)):
        try:
            if not isinstance(image, PIL.Image.Image):
                image = _open(image, name)
            rgba = _pil_to_rgba(image, name)
        except PIL.Image.DecompressionBombError as error:
            raise ValueError(f"{name}: {_one_line(error)}") from error
        except Exception as error:  # Pillow's readers raise nearly everything on broken files
            if str(error).startswith(f"{name}: "):
                raise
            raise OSError(f"{name}: cannot read the picture: {_one_line(error)}") from error
    else:
        raise TypeError(
            f"{name}: {type(image).__name__}; expected a PIL image, a path, a URL, a numpy array, a torch tensor, or "
            "a list of them"
        )
    height, width = rgba.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise ValueError(f"{name}: {height} x {width} pixels; expected at least {MIN_SIDE} x {MIN_SIDE}")
    return rgba


def to_numpy(array: Any) -> np.ndarray:
    """Array or tensor, on any device and of any floating dtype, as a numpy array."""
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu()
        return (array.float() if array.dtype == torch.bfloat16 else array).numpy()
    return np.asarray(array)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _open(source: str | os.PathLike[str], name: str) -> PIL.Image.Image:
    path = os.fspath(source)
    if path.lower().startswith(("http://", "https://")):
        content: Any = io.BytesIO(_download(path, name))
    elif os.path.exists(path):
        content = path
    else:
        raise FileNotFoundError(f"{name}: no file at {path!r}")
    try:
        return PIL.Image.open(content)
    except PIL.UnidentifiedImageError as error:
        raise OSError(f"{name}: {path!r} is not a picture that Pillow can read") from error


def _download(url: str, name: str) -> bytes:
    try:
        import requests
    except ImportError as error:
        raise ImportError("reading pictures from URLs needs requests: pip install requests") from error
    shown = url.split("?")[0]  # the query may carry a signature
    started = time.monotonic()
    content = bytearray()
    try:
        with requests.get(url, stream=True, timeout=URL_TIMEOUT, headers={"User-Agent": "lrm_hf"}) as response:
            if not response.ok:
                raise OSError(f"{name}: the server answered {response.status_code} {response.reason} for {shown}")
            for chunk in response.iter_content(2**16):
                content += chunk
                if len(content) > URL_MAX_BYTES:
                    raise ValueError(f"{name}: {shown} is larger than {URL_MAX_BYTES // 2**20} MiB")
                if time.monotonic() - started > URL_DEADLINE:
                    raise OSError(f"{name}: {shown} took longer than {URL_DEADLINE:g} s")
    except requests.RequestException as error:
        # Not the error's own text: it repeats the whole URL.
        raise OSError(f"{name}: cannot download {shown} ({type(error).__name__})") from error
    return bytes(content)


def _pil_to_rgba(image: PIL.Image.Image, name: str) -> np.ndarray:
    image = PIL.ImageOps.exif_transpose(image)
    if image.mode == "F":
        return _array_to_rgba(np.asarray(image), name)
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.int64)
        # Mode I holds what a file had, mostly 16 bits; up to 255 it came from an 8-bit picture.
        full = 255 if image.mode == "I" and values.max() <= 255 else 65535
        if values.min() < 0 or values.max() > full:
            raise ValueError(f"{name}: mode I with values {values.min()} to {values.max()}; expected 0 to 65535")
        grey = (values / full).astype(np.float32)
        transparent = image.info.get("transparency")
        alpha = values != transparent if isinstance(transparent, int) else np.ones_like(grey)
        return np.stack([grey, grey, grey, alpha], axis=2, dtype=np.float32)
    try:
        image = image.convert("RGBA")  # knows palettes and `info["transparency"]`
    except ValueError as error:
        raise ValueError(f"{name}: mode {image.mode} cannot be converted to RGB: {_one_line(error)}") from error
    return _array_to_rgba(np.asarray(image), name)


def _array_to_rgba(array: np.ndarray, name: str) -> np.ndarray:
    if array.ndim == 2:
        array = array[..., None]
    elif array.ndim == 3 and array.shape[0] in (1, 2, 3, 4) and array.shape[2] >= MIN_SIDE:
        array = array.transpose(1, 2, 0)
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4):
        raise ValueError(
            f"{name}: shape {tuple(array.shape)}; expected (height, width), (channels, height, width) or "
            "(height, width, channels) with 1 to 4 channels"
        )
    if array.size == 0:
        raise ValueError(f"{name}: shape {tuple(array.shape)} holds no pixel")
    if array.dtype in (np.uint8, np.uint16):
        pixels = array.astype(np.float32)
        pixels /= np.float32(np.iinfo(array.dtype).max)
    elif array.dtype == np.bool_:
        pixels = array.astype(np.float32)
    elif np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: contains values that are not finite (NaN or infinity)")
        low, high = float(array.min()), float(array.max())
        if low < -RANGE_TOLERANCE or high > 1.0 + RANGE_TOLERANCE:
            raise ValueError(
                f"{name}: floating-point values from {low:g} to {high:g}; expected [0, 1] (or uint8 in 0..255)"
            )
        pixels = np.clip(array, 0.0, 1.0).astype(np.float32)
    else:
        raise TypeError(f"{name}: dtype {array.dtype}; expected uint8, uint16, bool or floating point")
    channels = pixels.shape[2]
    if channels == 4:
        return np.ascontiguousarray(pixels)
    colour = pixels[..., :3] if channels > 2 else np.repeat(pixels[..., :1], 3, axis=2)
    alpha = pixels[..., -1:] if channels == 2 else np.ones_like(pixels[..., :1])
    return np.ascontiguousarray(np.concatenate([colour, alpha], axis=2))
