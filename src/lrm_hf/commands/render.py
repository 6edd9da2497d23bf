# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""`lrm-hf render`: pictures to views along a camera path, in any channel, as pictures, sheets, videos or arrays."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .common import number, whole
from .inputs import Source, Written, add_input_options, for_each_picture


if TYPE_CHECKING:
    from ..cameras import Cameras


CHANNELS = ("rgb", "rgba", "depth", "normals", "opacity")
KINDS = ("png", "sheet", "mp4", "gif", "webp", "npz")
KEYFRAME = "AZIMUTH,ELEVATION[,DISTANCE]"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "render",
        help="pictures to views along a camera path",
        description="For each picture NAME.png (or saved field NAME.safetensors), writes what --as says for each of "
        "the --channels, and prints the paths: NAME_rgb_000.png, NAME_rgb_001.png ...; NAME_rgb_sheet.png; "
        "NAME_rgb.mp4, .gif or .webp; NAME_views.npz with arrays of all channels and the cameras.",
    )
    command.set_defaults(run=render)
    add_input_options(command)
    add = command.add_argument
    add("--channels", nargs="+", choices=CHANNELS, default=["rgb"], metavar="CHANNEL", help="some of %(choices)s")
    add("--as", dest="kinds", nargs="+", choices=KINDS, default=["png"], metavar="KIND", help="some of %(choices)s")
    add("--size", type=whole(16, 4096), default=256, metavar="PX", help="side of a view (default: %(default)s)")
    add("--background", choices=("white", "black"), default="white", help="behind rgb (default: %(default)s)")
    add("--fps", type=number(0, 240), default=20.0, help="of videos (default: %(default)s)")
    group = command.add_argument_group("the camera path: an orbit, unless --keyframes or --cameras say otherwise")
    add = group.add_argument
    add("--views", type=whole(1, 1000), default=40, metavar="N", help="cameras on the path (default: %(default)s)")
    add("--elevation", type=number(-90, 90), metavar="DEG", help="of the orbit (default: the source camera's, or 20)")
    add("--azimuth", type=number(-3600, 3600), default=0.0, metavar="DEG", help="where it begins, from the front")
    add("--distance", type=number(0, math.inf), metavar="D", help="from the origin (default: the source camera's)")
    add("--focal", type=number(0, math.inf), metavar="F", help="over the picture's size (default: the source camera's)")
    text = f"{KEYFRAME} in degrees from the front, two or more; the path goes evenly through them"
    add("--keyframes", metavar="'AZ,EL;AZ,EL...'", help=f"{text}, separated by semicolons")
    add("--closed", action="store_true", help="from the last keyframe on to the first")
    add("--cameras", metavar="FILE", help='JSON: {"cameras": [{"position": [x, y, z]}, ...]}, used as they are')


def render(arguments: argparse.Namespace) -> int:
    """Renders each picture's object along the path."""
    from ..camera_paths import read_cameras

    if arguments.cameras and arguments.keyframes:
        raise ValueError("give one of --keyframes and --cameras.")
    given = read_cameras(arguments.cameras) if arguments.cameras else None
    keyframes = parse_keyframes(arguments.keyframes) if arguments.keyframes else None
    views = arguments.views if given is None else len(given)
    channels, kinds = list(dict.fromkeys(arguments.channels)), list(dict.fromkeys(arguments.kinds))

    def work(source: Source, stem: Path, written: Written) -> None:
        cameras = given if given is not None else _path(source, keyframes, arguments)
        _render_one(source, cameras, stem, written, channels, kinds, arguments)

    return for_each_picture(arguments, _suffixes(channels, kinds, views), work)


def parse_keyframes(text: str) -> list[tuple[float, ...]]:
    """Azimuth, elevation and, if given, distance of each.

    Raises:
        ValueError: if there are fewer than two, or one can't be read.
    """
    keyframes = []
    for part in text.split(";"):
        try:
            values = tuple(float(value) for value in part.split(","))
        except ValueError:
            values = ()
        if len(values) not in (2, 3) or not all(map(math.isfinite, values)) or not -90 <= values[1] <= 90:
            raise ValueError(f"--keyframes: {part.strip()!r} is not {KEYFRAME}, with an elevation from -90 to 90.")
        keyframes.append(values)
    if len(keyframes) < 2:
        raise ValueError("--keyframes: give two or more, separated by semicolons.")
    return keyframes


def _path(source: Source, keyframes: list[tuple[float, ...]] | None, arguments: argparse.Namespace) -> Cameras:
    import torch

    from ..camera_paths import interpolate_cameras
    from ..cameras import DEFAULT_DISTANCE, DEFAULT_FOCAL, Cameras, orbit_cameras
    from ..pipelines.pipeline_lrm import DEFAULT_ELEVATION

    config = None if source.pipe is None else source.pipe.model.config
    distance = arguments.distance or (config.source_camera_distance if config else DEFAULT_DISTANCE)
    focal = arguments.focal or (config.source_camera_focal if config else DEFAULT_FOCAL)
    front = config.source_camera_azimuth if config else 0.0
    if keyframes is None:
        elevation = arguments.elevation
        if elevation is None:
            elevation = (config.source_camera_elevation if config else 0.0) or DEFAULT_ELEVATION
        return orbit_cameras(arguments.views, elevation, distance, focal, azimuth_start=front + arguments.azimuth)
    stops = [
        orbit_cameras(1, elevation, far[0] if far else distance, focal, azimuth_start=front + azimuth)
        for azimuth, elevation, *far in keyframes
    ]
    joined = Cameras(torch.cat([stop.cam2world for stop in stops]), torch.cat([stop.intrinsics for stop in stops]))
    return interpolate_cameras(joined, arguments.views, closed=arguments.closed)


def _suffixes(channels: list[str], kinds: list[str], views: int) -> list[str]:
    made = ["_views.npz"] if "npz" in kinds else []
    for channel in channels:
        for kind in kinds:
            if kind == "png":
                made += [f"_{channel}_{view:03d}.png" for view in range(views)]
            elif kind != "npz":
                made.append(f"_{channel}_sheet.png" if kind == "sheet" else f"_{channel}.{kind}")
    return made


def _render_one(
    source: Source,
    cameras: Cameras,
    stem: Path,
    written: Written,
    channels: list[str],
    kinds: list[str],
    arguments: argparse.Namespace,
) -> None:
    from ..files import replacing
    from ..views import channel_frames, channel_picture, render_channels
    from ..visualization import contact_sheet, write_image, write_video

    cameras = cameras.to(source.field.device)
    size = {"height": arguments.size, "width": arguments.size}
    background = 1.0 if arguments.background == "white" else 0.0
    made = render_channels(source.field, cameras, channels=channels, background=background, **size)
    values = {channel: array[0] for channel, array in made.items()}

    def target(suffix: str) -> Path:
        return stem.with_name(f"{stem.name}{suffix}")

    if "npz" in kinds:
        path = target("_views.npz")
        poses = {name: getattr(cameras, name).cpu().numpy() for name in ("cam2world", "intrinsics")}
        with replacing(path) as temporary:
            np.savez_compressed(temporary, **values, **poses)
        written.add(path)
    for channel in channels:
        for kind in kinds:
            if kind == "png":
                for view, picture in enumerate(values[channel]):
                    path = target(f"_{channel}_{view:03d}.png")
                    write_image(path, channel_picture(channel, picture))
                    written.add(path)
            elif kind != "npz":
                frames = channel_frames(channel, values[channel])
                path = target(f"_{channel}_sheet.png" if kind == "sheet" else f"_{channel}.{kind}")
                if kind == "sheet":
                    write_image(path, contact_sheet(frames))
                else:
                    write_video(path, frames, fps=arguments.fps)
                written.add(path)
    written.details["cameras"] = len(cameras)
