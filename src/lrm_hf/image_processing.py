# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""`LRMImageProcessor`: any picture in, the square view of its object that the model was trained on out."""

from __future__ import annotations

import numbers
import tempfile
from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
import PIL.Image
import torch
from transformers.image_processing_backends import PilBackend
from transformers.image_processing_base import BatchFeature

from .foreground import (
    RESIZE_MODES,
    alpha_has_content,
    composite,
    crop_to_object,
    key_out_border,
    object_box,
    pad_to_square,
    remove_background_with_rembg,
    shrink,
)
from .hub import upload
from .image_loading import flatten_images, load_rgba, to_numpy


RECENTER_MODES = ("exact", "triposr")
BACKGROUND_REMOVAL = ("auto", "border", "rembg", "none")


class LRMImageProcessorKwargs(TypedDict, total=False):
    """Settings of `LRMImageProcessor`, for its constructor and for every call."""

    size: dict[str, int]
    do_recenter: bool
    recenter_mode: str
    foreground_ratio: float | int
    do_pad: bool
    background: float | int | list[float | int]
    background_removal: str
    resize_mode: str
    do_normalize: bool
    image_mean: list[float | int]
    image_std: list[float | int]
    return_tensors: str | None


class LRMImageProcessor(PilBackend):
    """Prepares pictures for an LRM: cut the object out, frame it, composite it on a plain background, resize.

    A picture is a `PIL.Image` of any mode, a path, an http(s) URL, or a numpy array or torch tensor
    ([channels,] height, width) or (height, width, channels) with 1 (grey), 2 (grey, alpha), 3 or 4 (RGB, alpha)
    channels: uint8, uint16, bool, or floating point in [0, 1]. Lists, nested lists and arrays with a leading batch
    axis are flattened in order. Each side must have at least 16 pixels. EXIF orientation is applied.

    The content of the alpha channel decides, not the mode: one that is opaque (or the same) everywhere counts as none.
    A picture without alpha is cut out as `background_removal` says. Framing (`do_recenter`) needs a cut-out; a picture
    that stays without is taken whole, as if `do_recenter=False`.

    Every setting is saved in `preprocessor_config.json` and can be overridden in a call.

    Args:
        size: `{"height": n, "width": n}`, (n, n) or n; square. Default 224.
        do_recenter: put the centre of the object's bounding box in the centre and scale the box's longer side to
            `foreground_ratio` of the view. False: the whole picture. Default True.
        recenter_mode: `"exact"` (default) resamples at fractions of a pixel; `"triposr"` is TripoSR's recipe bit for
            bit: whole pixels, last row and column of the object dropped, composite rounded down to 8 bits.
        foreground_ratio: in (0, 1]. Default 0.85.
        do_pad: without recentring, pad a picture that is not square with the background (default); False: stretch it.
        background: what the object is put on: one value in [0, 1], or an RGB list. Default 1.0.
        background_removal: for pictures without alpha. `"auto"` (default): key out a near-uniform border, else use
            `rembg` where it is installed, else raise; `"border"` and `"rembg"`: only that one; `"none"`: leave them.
        resize_mode: `"bilinear_antialias"` (default) or `"bicubic_align_corners"` (no antialiasing), both as in
            `torch.nn.functional.interpolate`; the result is clamped to [0, 1].
        do_normalize, image_mean, image_std: subtract the mean and divide by the deviation, per channel. Default:
            False, with ImageNet's numbers.

    OpenLRM: `resize_mode="bicubic_align_corners"`, for 1.0 `do_normalize=True`; and for exactly its numbers from a
    picture that is framed already, `do_recenter=False, do_pad=False, background_removal="none"`.
    TripoSR: `size=512, recenter_mode="triposr", background=0.5, do_normalize=True`.

    Raises:
        ValueError: a setting, or a picture's size, range or content is unusable; the message names it.
        TypeError: something is not a picture, or an array of another dtype.
        OSError: a file or URL cannot be read.
        ImportError: a picture has no alpha and no plain background, and `rembg` is not installed.
    """

    model_input_names = ["pixel_values"]
    valid_kwargs = LRMImageProcessorKwargs

    size = {"height": 224, "width": 224}
    do_recenter = True
    recenter_mode = "exact"
    foreground_ratio = 0.85
    do_pad = True
    background = 1.0
    background_removal = "auto"
    resize_mode = "bilinear_antialias"
    do_normalize = False
    image_mean = [0.485, 0.456, 0.406]
    image_std = [0.229, 0.224, 0.225]

    def __init__(self, **kwargs: Any) -> None:
        # A file saved by transformers also says which classes wrote it.
        bookkeeping = {"image_processor_type", "feature_extractor_type", "processor_class", "auto_map"}
        settings = {name: value for name, value in kwargs.items() if name not in bookkeeping}
        super().__init__(**{**kwargs, **_checked_settings(settings)})

    def preprocess(self, images: Any, *args: Any, **kwargs: Any) -> BatchFeature:
        """Prepare one picture or many; also what calling the processor does.

        Args:
            images: see the class.
            kwargs: settings for this call, and `return_tensors` ("pt", "np" or None: a list of arrays).

        Returns:
            `BatchFeature` with `pixel_values` (batch, 3, height, width), float32. `to_pil` makes pictures of them.
        """
        return super().preprocess(images, *args, **_checked_settings(kwargs))

    def to_pil(
        self,
        pixel_values: Any,
        do_normalize: bool | None = None,
        image_mean: Any = None,
        image_std: Any = None,
    ) -> list[PIL.Image.Image]:
        """What the model sees, as RGB pictures on their background.

        Args:
            pixel_values: (batch, 3, height, width) or (3, height, width), array, tensor or list, as returned by a
                call. The other arguments must be given where that call overrode them.

        Returns:
            one picture per entry, rounded to 8 bits.
        """
        settings = _checked_settings({"do_normalize": do_normalize, "image_mean": image_mean, "image_std": image_std})
        if isinstance(pixel_values, (list, tuple)):
            pixel_values = np.stack([to_numpy(item) for item in pixel_values])
        pixels = to_numpy(pixel_values).astype(np.float32)
        pixels = pixels[None] if pixels.ndim == 3 else pixels
        if pixels.ndim != 4 or pixels.shape[1] != 3:
            raise ValueError(f"pixel_values: shape {tuple(pixels.shape)}; expected (batch, 3, height, width)")
        if settings.get("do_normalize", self.do_normalize):
            pixels = pixels * _per_channel(settings.get("image_std", self.image_std))
            pixels = pixels + _per_channel(settings.get("image_mean", self.image_mean))
        pictures = np.round(np.clip(pixels, 0.0, 1.0) * 255.0).astype(np.uint8).transpose(0, 2, 3, 1)
        return [PIL.Image.fromarray(np.ascontiguousarray(picture)) for picture in pictures]

    def _standardize_kwargs(self, **kwargs: Any) -> dict[str, Any]:
        return _checked_settings(kwargs)

    def _validate_preprocess_kwargs(self, **kwargs: Any) -> None:
        """Nothing is left to check: the base class asks for settings that this processor does not have."""

    def _prepare_image_like_inputs(self, images: Any, *args: Any, **kwargs: Any) -> list[np.ndarray]:
        flat = flatten_images(images)
        if not flat:
            raise ValueError("images: the list is empty")
        return [load_rgba(image, name) for image, name in zip(flat, _names(len(flat)), strict=True)]

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> str:
        """Uploads the settings; returns the URL of the commit. Arguments as in [`~lrm_hf.hub.upload`]."""
        with tempfile.TemporaryDirectory() as directory:
            self.save_pretrained(directory)
            return upload(directory, repo_id, **{"commit_message": "Upload LRMImageProcessor", **kwargs})

    def _preprocess(self, images: list[np.ndarray], return_tensors: str | None = None, **settings: Any) -> BatchFeature:
        pixels = []
        # Pictures differ in size, so they are not stacked before the end.
        for rgba, name in zip(images, _names(len(images)), strict=True):
            try:
                pixels.append(_prepare(rgba, **settings))
            except (ValueError, ImportError) as error:
                raise type(error)(f"{name}: {error}") from error
        return BatchFeature(data={"pixel_values": pixels}, tensor_type=return_tensors)


def _names(count: int) -> list[str]:
    return ["images"] if count == 1 else [f"images[{index}]" for index in range(count)]


def _prepare(
    rgba: np.ndarray,
    *,
    size: dict[str, int],
    do_recenter: bool,
    recenter_mode: str,
    foreground_ratio: float,
    do_pad: bool,
    background: float | list[float],
    background_removal: str,
    resize_mode: str,
    do_normalize: bool,
    image_mean: list[float],
    image_std: list[float],
) -> np.ndarray:
    """One picture (height, width, 4) -> (3, size, size), float32."""
    colour = np.broadcast_to(np.asarray(background, dtype=np.float32), (3,))
    side = size["height"]
    is_cut_out = alpha_has_content(rgba[..., 3])
    if not is_cut_out:
        cut_out = _cut_out(rgba[..., :3], background_removal, side)
        is_cut_out = cut_out is not None
        rgba = np.concatenate([rgba[..., :3], np.ones_like(rgba[..., 3:])], axis=2) if cut_out is None else cut_out

    if is_cut_out and do_recenter and recenter_mode == "exact":
        pixels = crop_to_object(rgba, side, foreground_ratio, colour, resize_mode).transpose(2, 0, 1)
    else:
        if is_cut_out and do_recenter:
            top, left, bottom, right = object_box(rgba[..., 3], threshold=0.0)
            rgba = rgba[top : max(bottom - 1, top + 1), left : max(right - 1, left + 1)]
            rgba = pad_to_square(rgba, max(rgba.shape[:2]))
            picture = composite(pad_to_square(rgba, int(rgba.shape[0] / foreground_ratio)), colour)
            picture = np.floor(picture * np.float32(255.0)) / np.float32(255.0)
        else:
            if do_pad and rgba.shape[0] != rgba.shape[1]:
                rgba = pad_to_square(rgba, max(rgba.shape[:2]))
            picture = composite(rgba, colour)
        pixels = _resize(picture, side, resize_mode)
    if do_normalize:
        pixels = (pixels - _per_channel(image_mean)) / _per_channel(image_std)
    return np.ascontiguousarray(pixels, dtype=np.float32)


def _cut_out(rgb: np.ndarray, background_removal: str, side: int) -> np.ndarray | None:
    """RGBA (height, width, 4) of a picture without alpha, None if it is to be taken whole."""
    if background_removal == "none":
        return None
    if background_removal in ("auto", "border"):
        # Far above the model's resolution a matte costs much and shows nothing.
        rgba = key_out_border(shrink(rgb, max(1024, 2 * side)))
        if rgba is not None:
            return rgba
        if background_removal == "border":
            raise ValueError(
                "the picture has neither an alpha channel with content nor a plain background to key out; pass a "
                'cut-out (RGBA), or background_removal="auto" with the extra: pip install "lrm_hf[background]"'
            )
    return remove_background_with_rembg(rgb)


def _resize(picture: np.ndarray, side: int, resize_mode: str) -> np.ndarray:
    """(height, width, 3) -> (3, side, side) with the very operation of the original systems."""
    pixels = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1), dtype=np.float32))[None]
    if resize_mode == "bilinear_antialias":
        resized = torch.nn.functional.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
    else:
        resized = torch.nn.functional.interpolate(pixels, (side, side), mode="bicubic", align_corners=True)
    return resized[0].clamp(0.0, 1.0).numpy()


def _per_channel(values: list[float]) -> np.ndarray:
    return np.asarray(values, dtype=np.float32)[:, None, None]


def _checked_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as plain Python values, those that are None left out. Raises ValueError naming the field."""
    known = LRMImageProcessorKwargs.__annotations__
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ValueError(f"unknown setting {', '.join(unknown)}; there are {', '.join(known)}")
    checked: dict[str, Any] = {}
    for name, value in settings.items():
        if value is None:
            continue
        if name == "size":
            checked[name] = _checked_size(value)
        elif name.startswith("do_"):
            if not isinstance(value, (bool, np.bool_)):
                raise ValueError(f"{name}: {value!r}; expected True or False")
            checked[name] = bool(value)
        elif name == "foreground_ratio":
            checked[name] = _checked_numbers(name, value, 0.0, 1.0, per_channel=False)[0]
            if checked[name] == 0.0:
                raise ValueError("foreground_ratio: 0; expected a number in (0, 1]")
        elif name == "background":
            numbers_ = _checked_numbers(name, value, 0.0, 1.0)
            checked[name] = numbers_[0] if len(numbers_) == 1 else numbers_
        elif name in ("image_mean", "image_std"):
            numbers_ = _checked_numbers(name, value, -np.inf, np.inf)
            if name == "image_std" and min(numbers_) <= 0.0:
                raise ValueError(f"image_std: {value!r}; expected numbers above 0")
            checked[name] = numbers_ * 3 if len(numbers_) == 1 else numbers_
        elif name == "return_tensors":
            checked[name] = value
        else:
            options = {
                "recenter_mode": RECENTER_MODES,
                "background_removal": BACKGROUND_REMOVAL,
                "resize_mode": RESIZE_MODES,
            }[name]
            if value not in options:
                raise ValueError(f"{name}: {value!r}; expected one of {', '.join(options)}")
            checked[name] = value
    return checked


def _checked_numbers(name: str, value: Any, low: float, high: float, per_channel: bool = True) -> list[float]:
    """One number, or three if `per_channel`, as a list."""
    is_list = isinstance(value, (list, tuple, np.ndarray)) and np.ndim(value) == 1
    items = list(value) if is_list else [value]
    is_number = [isinstance(item, numbers.Real) and not isinstance(item, (bool, np.bool_)) for item in items]
    count_fits = len(items) == 3 and per_channel if is_list else True
    if not count_fits or not all(is_number) or not all(low <= item <= high and abs(item) < np.inf for item in items):
        wanted = "a number or a list of three (RGB)" if per_channel else "a number"
        raise ValueError(f"{name}: {value!r}; expected {wanted}{f' in [{low:g}, {high:g}]' if high < np.inf else ''}")
    return [float(item) for item in items]


def _checked_size(value: Any) -> dict[str, int]:
    try:
        if isinstance(value, numbers.Integral):
            height = width = int(value)
        elif isinstance(value, (list, tuple)):
            height, width = value
        else:
            height, width = dict(value)["height"], dict(value)["width"]
    except (TypeError, ValueError, KeyError):
        height = width = 0
    whole = all(isinstance(side, numbers.Integral) and not isinstance(side, bool) for side in (height, width))
    if not whole or height != width or height < 1:
        raise ValueError(f"size: {value!r}; expected a square {{'height': n, 'width': n}} with n of at least 1")
    return {"height": int(height), "width": int(width)}
