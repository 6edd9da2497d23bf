# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Fields of objects, kept for a while, so that meshes and views are made anew without running the model."""

from __future__ import annotations

import dataclasses
import secrets
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    import PIL.Image

    from ..cameras import Cameras
    from ..meshing import LRMMesh
    from ..modeling.configuration_lrm import ReconstructionConfig
    from ..modeling.field import TriplaneField


DEFAULT_ELEVATION = 20.0


@dataclass
class Made:
    """An object that a model made of a picture.

    Attributes:
        name: of its files, without suffix.
        seen: the picture as the model saw it.
        field: a batch of one.
        config: of the model, for where its source camera stands.
        seconds: what each step took.
        directory: for files; goes when the object does.
        mesh: as it was made last.
        key: under which `Results` keeps it.
    """

    name: str
    seen: PIL.Image.Image
    field: TriplaneField
    config: ReconstructionConfig
    directory: Path
    mesh: LRMMesh | None = None
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    key: str = dataclasses.field(default_factory=lambda: secrets.token_urlsafe(16))

    @property
    def nbytes(self) -> int:
        """Memory that keeping it takes; the MLP's weights are the model's own."""
        planes = self.field.planes
        surface = 0 if self.mesh is None else self.mesh.vertices.nbytes + self.mesh.faces.nbytes
        return planes.numel() * planes.element_size() + self.seen.width * self.seen.height * 3 + surface

    def orbit(self, num_views: int) -> Cameras:
        """Cameras around it that begin at the source camera's side, at its distance and with its focal length."""
        from ..cameras import orbit_cameras

        return orbit_cameras(
            num_views,
            self.config.source_camera_elevation or DEFAULT_ELEVATION,
            distance=self.config.source_camera_distance,
            focal=self.config.source_camera_focal,
            azimuth_start=self.config.source_camera_azimuth,
        )


class Results:
    """Objects by key. The ones that were not asked for longest go first, when there are too many or they take too much.

    Args:
        max_bytes: of all fields together; the newest one stays even if it alone takes more.
        max_count: objects.
    """

    def __init__(self, max_bytes: int = 2**30, max_count: int = 200):
        for name, value in (("max_bytes", max_bytes), ("max_count", max_count)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"`{name}` must be a whole number, got {value!r}.")
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}.")
        self.max_bytes, self.max_count = max_bytes, max_count
        self._made: OrderedDict[str, Made] = OrderedDict()
        self._lock = threading.Lock()
        self._directory = tempfile.TemporaryDirectory(prefix="lrm_hf_app_")

    def __len__(self) -> int:
        return len(self._made)

    @property
    def nbytes(self) -> int:
        """Memory that all objects take together."""
        with self._lock:
            return sum(made.nbytes for made in self._made.values())

    def new_directory(self) -> Path:
        """An empty directory for the files of one object."""
        return Path(tempfile.mkdtemp(dir=self._directory.name))

    def add(self, made: Made) -> str:
        """Keeps an object; returns its key."""
        with self._lock:
            self._made[made.key] = made
            total = sum(kept.nbytes for kept in self._made.values())
            while len(self._made) > 1 and (len(self._made) > self.max_count or total > self.max_bytes):
                total -= self._forget(next(iter(self._made)))
        return made.key

    def get(self, key: str) -> Made:
        """Raises ValueError if it is not kept any more, or never was."""
        with self._lock:
            if key not in self._made:
                raise ValueError("This object is not kept any more, to make room for others: generate it again.")
            self._made.move_to_end(key)
            return self._made[key]

    def drop(self, keys: Iterable[str]) -> None:
        """Forgets objects, as far as they are kept."""
        with self._lock:
            for key in keys:
                if key in self._made:
                    self._forget(key)

    def close(self) -> None:
        """Forgets all objects, and deletes their files."""
        with self._lock:
            self._made.clear()
        self._directory.cleanup()

    def _forget(self, key: str) -> int:
        made = self._made.pop(key)
        shutil.rmtree(made.directory, ignore_errors=True)
        return made.nbytes
