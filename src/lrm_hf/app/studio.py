# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Pictures to objects, and objects to meshes, files and turntables: the work behind the page and the endpoint."""

from __future__ import annotations

import os
import tempfile
import threading
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..files import replacing
from .limits import Limits
from .results import Made, Results


if TYPE_CHECKING:
    import PIL.Image

    from ..image_processing import LRMImageProcessor
    from ..meshing import LRMMesh
    from ..pipelines import LRMPipeline


BUNDLED = "bundled"
CUT_OUTS = ("auto", "border", "rembg", "none")
BACKGROUNDS = {"model": None, "white": 1.0, "grey": 0.5, "black": 0.0}
TURNTABLE_FRAMES, TURNTABLE_SIZE, TURNTABLE_SECONDS = 24, 192, 3.0

# Told what share of the work is done, and what comes next. May raise, to stop the work between two steps.
Report = Callable[[float, str], None]
Adapters = Sequence[tuple[str, float]]  # directory or Hub repository, and a factor on its update


def _silent(share: float, step: str) -> None:
    pass


@dataclass(frozen=True)
class PictureSettings:
    """How a picture is cut out and framed; `None` is what the model's own image processor says.

    Args:
        foreground_ratio: the object's share of the frame, in (0, 1].
        background: what it is put on, one of `BACKGROUNDS`.
        cut_out: for pictures without alpha, one of `CUT_OUTS`: see `background_removal` of [`LRMImageProcessor`].
    """

    foreground_ratio: float | None = None
    background: str = "model"
    cut_out: str = "auto"

    def __post_init__(self) -> None:
        for name, value, known in (
            ("background", self.background, tuple(BACKGROUNDS)),
            ("cut_out", self.cut_out, CUT_OUTS),
        ):
            if value not in known:
                raise ValueError(f"`{name}` must be one of {', '.join(known)}, got {value!r}.")
        if self.foreground_ratio is not None:
            _check_number("foreground_ratio", self.foreground_ratio, 0.1, 1.0)

    def overrides(self) -> dict[str, Any]:
        """As arguments of a call of the image processor."""
        settings: dict[str, Any] = {"background_removal": self.cut_out}
        if self.foreground_ratio is not None:
            settings |= {"foreground_ratio": float(self.foreground_ratio), "do_recenter": True}
        if BACKGROUNDS[self.background] is not None:
            settings["background"] = BACKGROUNDS[self.background]
        return settings


@dataclass(frozen=True)
class MeshSettings:
    """What the mesh is to be like.

    Args:
        resolution: grid points per axis, from 16 to what the limits say.
        threshold: density of the surface; default the model's.
        target_faces: at most so many faces, from 100 on; default all there are.
        texture: side in pixels of a baked texture, from 64 to what the limits say; default colours of the vertices.
        largest_component: only the largest connected piece.
        smooth: rounds of smoothing, up to 100.
        watertight: every hole is closed, at the price of some faces beyond `target_faces`.
        ground: moved so that it stands on the floor.
    """

    resolution: int = 160
    threshold: float | None = None
    target_faces: int | None = None
    texture: int | None = None
    largest_component: bool = False
    smooth: int = 0
    watertight: bool = False
    ground: bool = False

    def check(self, limits: Limits) -> None:
        """Raises TypeError or ValueError naming what is out of range."""
        _check_whole("resolution", self.resolution, 16, limits.resolution)
        _check_whole("smooth", self.smooth, 0, 100)
        if self.threshold is not None:
            _check_number("threshold", self.threshold, 1e-6, 1e6)
        if self.target_faces is not None:
            _check_whole("target_faces", self.target_faces, 100, 10_000_000)
        if self.texture is not None:
            _check_whole("texture", self.texture, 64, limits.texture)
            if self.target_faces is None or self.target_faces > limits.textured_faces:
                raise ValueError(
                    f"`texture` needs `target_faces` of at most {limits.textured_faces:,}: to unwrap more takes long."
                )


class Studio:
    """Models, and one object at a time.

    Whatever computes holds a lock, so that any number of threads take no more memory than one.

    Args:
        models: directories or Hub repositories to choose from, or "bundled"; the first one is the default.
        any_model: whether others may be asked for, and any adapter. False where strangers ask.
        adapters: directories or Hub repositories of adapters that may be asked for in any case.
        device: of the models.
        keep_models: models in memory at a time.
        limits: of pictures and meshes.
        results: where objects are kept.
    """

    def __init__(
        self,
        models: Sequence[str] = (BUNDLED,),
        *,
        any_model: bool = True,
        adapters: Sequence[str] = (),
        device: torch.device | str = "cpu",
        keep_models: int = 1,
        limits: Limits | None = None,
        results: Results | None = None,
    ):
        if not models:
            raise ValueError("`models` is empty: there must be one to choose.")
        _check_whole("keep_models", keep_models, 1, 100)
        self.models, self.adapters, self.any_model = tuple(models), tuple(adapters), any_model
        self.device = torch.device(device)
        self.keep_models = keep_models
        self.limits = limits or Limits()
        self.results = results or Results()
        self._pipelines: OrderedDict[str, LRMPipeline] = OrderedDict()
        self._processors: dict[str, LRMImageProcessor] = {}
        self._lock = threading.RLock()

    def load(self, model: str | None = None, report: Report = _silent) -> LRMPipeline:
        """The pipeline of a model, loaded if it is not in memory.

        Raises:
            ValueError: if it is not among the models that may be asked for.
            OSError, ValueError: if it can't be loaded; see `LRMPipeline.from_pretrained`.
        """
        name = self.models[0] if model is None or not model.strip() else model.strip()
        if not self.any_model and name not in self.models:
            raise ValueError(f"`model` must be one of {', '.join(self.models)}, got {name!r}.")
        with self._lock:
            if name in self._pipelines:
                self._pipelines.move_to_end(name)
                return self._pipelines[name]
            report(0.0, f"loading {name}")
            from .. import bundled_model
            from ..pipelines import LRMPipeline

            while len(self._pipelines) >= self.keep_models:  # before, not after: two might not fit
                self._pipelines.popitem(last=False)
            pipe = LRMPipeline.from_pretrained(bundled_model() if name == BUNDLED else name)
            pipe.set_progress_bar_config(disable=True)
            self._pipelines[name] = pipe.to(self.device)
            self._processors[name] = pipe.image_processor
            return self._pipelines[name]

    def see(
        self, picture: PIL.Image.Image, model: str | None = None, settings: PictureSettings | None = None
    ) -> PIL.Image.Image:
        """A picture as the model would see it. Does not wait for others once the model has been loaded."""
        processor = self._processors.get(model or self.models[0]) or self.load(model).image_processor
        overrides = (settings or PictureSettings()).overrides()
        pixels = processor(picture, return_tensors="pt", **overrides)["pixel_values"]
        return processor.to_pil(pixels)[0]

    @torch.no_grad()
    def make(
        self,
        picture: PIL.Image.Image,
        name: str = "object",
        model: str | None = None,
        adapters: Adapters = (),
        settings: PictureSettings | None = None,
        report: Report = _silent,
    ) -> Made:
        """Runs the model. The object is not kept before it is added to `results`.

        Args:
            picture: one picture.
            name: of the object's files, without suffix.
            model: one of the models, or any if these are allowed.
            adapters: applied together, for this object.
            settings: how it is cut out and framed.
            report: told how far it is.

        Raises:
            ValueError, OSError, ImportError: for what can't be loaded or used; see `LRMPipeline`.
        """
        overrides = (settings or PictureSettings()).overrides()
        seconds: dict[str, float] = {}
        with self._lock:
            with _timed(seconds, "load"):
                pipe = self.load(model, report)
            report(0.3, f"cutting out {name}")
            with _timed(seconds, "cut out"):
                pixels = pipe.image_processor(picture, return_tensors="pt", **overrides)["pixel_values"]
                seen = pipe.image_processor.to_pil(pixels)[0]
            with self._adapted(pipe, adapters, report):
                report(0.5, f"reconstructing {name}")
                with _timed(seconds, "reconstruct"):
                    pipe.model.eval()
                    field = pipe.model.encode(pixels.to(self.device)).detach()
                    _wait_for(self.device)
            return Made(name, seen, field, pipe.model.config, self.results.new_directory(), seconds=seconds)

    def mesh(self, made: Made, settings: MeshSettings | None = None, report: Report = _silent) -> LRMMesh:
        """The surface of an object, without running the model.

        Raises:
            TypeError, ValueError: if a setting is out of range, or there is no surface.
            MemoryError: if memory runs out.
        """
        from ..meshing import bake_texture, extract_mesh
        from ..meshing.export import VIEWER_AZIMUTH

        settings = settings or MeshSettings()
        settings.check(self.limits)
        with self._lock, _timed(made.seconds, "mesh"):
            report(0.1, f"meshing {made.name}")
            (mesh,) = extract_mesh(made.field, resolution=settings.resolution, threshold=settings.threshold)
            if made.config.source_camera_azimuth:
                mesh.metadata[VIEWER_AZIMUTH] = float(made.config.source_camera_azimuth)
            if settings.largest_component:
                mesh = mesh.largest_component()
            if settings.smooth:
                mesh = mesh.smooth(settings.smooth)
            if settings.target_faces is not None:
                report(0.5, f"simplifying {made.name}")
                mesh = mesh.simplify(settings.target_faces)
            if settings.watertight:  # after all that could open it, before what splits it along seams
                mesh = mesh.make_watertight()
            if settings.ground:
                mesh = mesh.ground()
            if settings.texture is not None:
                report(0.7, f"painting {made.name}")
                mesh = bake_texture(mesh, made.field, resolution=settings.texture)
            made.mesh = mesh
            return mesh

    def write(self, made: Made, suffix: str) -> Path:
        """Writes the mesh that was made last, in the format of a suffix such as "glb"; returns the path. An obj that
        has a texture is several files: they come in a zip."""
        if made.mesh is None:
            raise ValueError(f"{made.name} has no mesh yet.")
        with self._lock:
            if suffix == "obj" and made.mesh.visual.kind == "texture":
                path = made.directory / f"{made.name}_obj.zip"
                with tempfile.TemporaryDirectory() as folder, replacing(path) as temporary:
                    made.mesh.export(Path(folder, f"{made.name}.obj"))
                    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
                        for file in sorted(Path(folder).iterdir()):
                            archive.write(file, file.name)
                return path
            path = made.directory / f"{made.name}.{suffix}"
            made.mesh.export(path)
        return path

    @torch.no_grad()
    def turntable(self, made: Made, report: Report = _silent) -> Path:
        """Renders an object from all around; returns the path of the video."""
        from ..rendering import render
        from ..visualization import write_video

        path = made.directory / f"{made.name}.mp4"
        with self._lock, _timed(made.seconds, "turntable"):
            report(0.5, f"turning {made.name}")
            views = render(made.field, made.orbit(TURNTABLE_FRAMES), TURNTABLE_SIZE, TURNTABLE_SIZE)
            pixels = views.images[0].clamp(0, 1).mul(255).round().to(torch.uint8).movedim(1, -1).cpu().numpy()
            write_video(path, list(pixels), fps=TURNTABLE_FRAMES / TURNTABLE_SECONDS)
        return path

    def close(self) -> None:
        """Forgets models and objects, and deletes files."""
        with self._lock:
            self._pipelines.clear()
            self.results.close()

    @contextmanager
    def _adapted(self, pipe: LRMPipeline, adapters: Adapters, report: Report) -> Iterator[None]:
        """With these adapters for as long as the block lasts; afterwards the base's very bytes are back."""
        for source, _ in adapters:
            if not self.any_model and source not in self.adapters:
                known = ", ".join(self.adapters) or "none here"
                raise ValueError(f"adapters that may be asked for: {known}; got {source!r}.")
        if not adapters:
            yield
            return
        try:
            names = [f"adapter_{index}" for index in range(len(adapters))]
            for name, (source, _) in zip(names, adapters, strict=True):
                report(0.4, f"loading {source}")
                pipe.load_lora_weights(source, adapter_name=name)
            pipe.set_adapters(names, [float(scale) for _, scale in adapters])
            yield
        finally:
            pipe.unload_lora_weights()


def parse_adapters(text: str) -> list[tuple[str, float]]:
    """Adapters from lines such as `me/my-style 0.8`: a directory or Hub repository, and a factor, by default 1.

    Raises:
        ValueError: for a line without a name, or a factor that is not finite.
    """
    adapters = []
    for line in text.splitlines():
        if not line.strip():
            continue
        name, _, last = line.strip().rpartition(" ")
        try:
            scale = float(last)
        except ValueError:
            name, scale = line.strip(), 1.0
        if not name.strip() or not abs(scale) < float("inf"):
            raise ValueError(f"expected an adapter and a factor, such as 'me/my-style 0.8', got {line.strip()!r}.")
        adapters.append((name.strip(), scale))
    return adapters


def file_stem(name: str | os.PathLike[str]) -> str:
    """A name for an object's files, from that of its picture: without directories, suffix, and what shells dislike."""
    stem = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in Path(name).stem)
    return stem[:60].strip("_") or "object"


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[step] = time.perf_counter() - start


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":  # which is still at work when the call returns
        torch.cuda.synchronize(device)


def _check_whole(name: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"`{name}` must be a whole number, got {value!r}.")
    if not low <= value <= high:
        raise ValueError(f"`{name}` must be from {low} to {high}, got {value}.")


def _check_number(name: str, value: Any, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"`{name}` must be a number, got {value!r}.")
    if not low <= value <= high:
        raise ValueError(f"`{name}` must be from {low:g} to {high:g}, got {value:g}.")
