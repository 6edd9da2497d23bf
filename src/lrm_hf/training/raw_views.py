# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Views as they lie in files, and what has to hold of them. Readers and `lrm-hf check-dataset` share these rules."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import PIL.Image


# above it a focal length or centre over the picture's size is none: 1 is 53 degrees, 10 is below 6 degrees
LARGEST_FOCAL = 20.0
# orthonormality as `Cameras.validate` asks for it
ROTATION_TOLERANCE = 1e-2


@dataclass(frozen=True)
class RawView:
    """One view of an object, unread: each function may raise OSError or ValueError with a sentence for people.

    Attributes:
        name: of the view within its object.
        picture: `(height, width, 4)` uint8, straight alpha.
        size: (width, height) of the picture, without decoding it.
        pose: camera-to-world, `(3, 4)` or `(4, 4)`, OpenGL axes.
        intrinsics: `(3, 3)` over the picture's size.
        depth: `(height, width)` float, 0: none; None where the layout holds none.
    """

    name: str
    picture: Callable[[], np.ndarray]
    size: Callable[[], tuple[int, int]]
    pose: Callable[[], np.ndarray]
    intrinsics: Callable[[], np.ndarray]
    depth: Callable[[], np.ndarray] | None = None


def read_picture(source: str | io.BytesIO, name: str) -> np.ndarray:
    """`(height, width, 4)` uint8.

    Raises:
        OSError: if it can't be read.
        ValueError: if it has no alpha channel.
    """
    try:
        with PIL.Image.open(source) as image:
            if image.has_transparency_data:
                return np.asarray(image.convert("RGBA"))
            mode = image.mode
    except FileNotFoundError:
        raise OSError(f"{name} is missing.") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise OSError(f"{name} can't be read as a picture: {error}") from error
    raise ValueError(f"{name} has no alpha channel (its mode is {mode}): the object must be cut out.")


def read_size(source: str | io.BytesIO, name: str) -> tuple[int, int]:
    """(width, height), from the head of the file."""
    try:
        with PIL.Image.open(source) as image:
            return image.size
    except FileNotFoundError:
        raise OSError(f"{name} is missing.") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise OSError(f"{name} can't be read as a picture: {error}") from error


def read_array(source: str | io.BytesIO, name: str) -> np.ndarray:
    """A `.npy` file of numbers, as float64; other code can't hide in it."""
    try:
        values = np.load(source, allow_pickle=False)
    except FileNotFoundError:
        raise OSError(f"{name} is missing.") from None
    except (OSError, ValueError, EOFError) as error:
        raise OSError(f"{name} can't be read as an array: {error}") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        raise ValueError(f"{name} holds no array of numbers.")
    return values.astype(np.float64)


def square_pose(pose: np.ndarray) -> np.ndarray:
    """`(4, 4)` of a pose.

    Raises:
        ValueError: naming what is wrong.
    """
    if pose.shape not in ((3, 4), (4, 4)):
        raise ValueError(f"its pose has shape {pose.shape}, expected a camera-to-world matrix of 3x4 or 4x4.")
    if not np.isfinite(pose).all():
        raise ValueError("its pose holds numbers that are not finite.")
    pose = np.concatenate([pose[:3], [[0.0, 0.0, 0.0, 1.0]]]) if pose.shape == (3, 4) else pose
    if np.abs(pose[3] - [0, 0, 0, 1]).max() > 1e-6:
        raise ValueError(f"its pose has {pose[3].tolist()} as its last row, expected 0, 0, 0, 1: is it transposed?")
    rotation = pose[:3, :3]
    off = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
    if off > ROTATION_TOLERANCE:
        lengths = ", ".join(f"{length:.3g}" for length in np.linalg.norm(rotation, axis=0))
        raise ValueError(
            f"its pose is not a rotation: the axes have lengths {lengths} and are off orthonormal by {off:.2g}."
        )
    if np.linalg.det(rotation) < 0:
        raise ValueError("its pose is not a rotation but a mirror image (determinant -1).")
    return pose


def normalised_intrinsics(values: np.ndarray, name: str) -> np.ndarray:
    """`(3, 3)` over the picture's size, from OpenLRM's table [[fx, fy], [cx, cy], [width, height]] in pixels, or from a
    matrix that is over the picture's size already.

    Raises:
        ValueError: naming what is wrong.
    """
    if values.shape not in ((3, 2), (3, 3)):
        raise ValueError(
            f"{name} has shape {values.shape}, expected OpenLRM's [[fx, fy], [cx, cy], [width, height]], or a 3x3 "
            "matrix over the picture's size."
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds numbers that are not finite.")
    if values.shape == (3, 2):
        (fx, fy), (cx, cy), (width, height) = values
        if width < 1 or height < 1:
            raise ValueError(f"{name} names a picture of {width:g} x {height:g} pixels in its last row.")
        matrix = np.array([[fx / width, 0, cx / width], [0, fy / height, cy / height], [0, 0, 1.0]])
    else:
        matrix = values
        if max(matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]) > LARGEST_FOCAL:
            raise ValueError(
                f"{name} is in pixels (fx {matrix[0, 0]:g}, cx {matrix[0, 2]:g}): divide the first row by the width "
                "and the second by the height, or write OpenLRM's table [[fx, fy], [cx, cy], [width, height]]."
            )
        if np.abs(matrix[2] - [0, 0, 1]).max() > 1e-6 or abs(matrix[1, 0]) > 1e-6:
            raise ValueError(f"{name} is no matrix of intrinsics: {matrix.tolist()}.")
    check_intrinsics(matrix, name)
    return matrix


def check_intrinsics(matrix: np.ndarray, name: str) -> None:
    """
    Raises:
        ValueError: if focal lengths over the picture's size are not positive or absurd, or the centre is far outside.
    """
    if not np.isfinite(matrix).all():
        raise ValueError(f"{name} holds numbers that are not finite.")
    fx, fy, cx, cy = matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]
    if fx <= 0 or fy <= 0:
        raise ValueError(f"{name} has focal lengths of {fx:.4g} and {fy:.4g}, expected positive ones.")
    if max(fx, fy) > LARGEST_FOCAL:
        raise ValueError(f"{name} has a focal length of {max(fx, fy):.4g} times the picture's size: are these pixels?")
    if not (-1 < cx < 2 and -1 < cy < 2):
        raise ValueError(f"{name} puts the optical centre at ({cx:.3g}, {cy:.3g}) of the picture, far outside of it.")


def pad_to_square(matrix: np.ndarray, width: int, height: int) -> np.ndarray:
    """Intrinsics of the picture after it was put into the middle of a transparent square of its longer side."""
    side = max(width, height)
    left, top = (side - width) // 2, (side - height) // 2
    scale = np.diag([width / side, height / side, 1.0])
    scale[0, 2], scale[1, 2] = left / side, top / side
    return scale @ matrix
