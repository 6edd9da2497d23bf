# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""`lrm-hf render-dataset`: a folder of meshes to training data."""

from __future__ import annotations

import argparse
import json

from .common import DONE, NOTHING_DONE, SOME_FAILED, number, say, whole


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "render-dataset",
        help="a folder of meshes to training data",
        description="Ray casts each mesh of a folder from cameras in front of it and all around it, with textures, "
        "vertex colours and transparency, and writes pictures and cameras as OpenLRM's Blender script does: "
        "OBJECT/rgba/000.png, OBJECT/pose/000.npy, OBJECT/intrinsics.npy. A run that was stopped goes on when the same "
        "command is given again. No OpenGL is needed.",
    )
    command.set_defaults(run=render_dataset)
    add = command.add_argument
    add("meshes", metavar="MESH_DIR", help="folder of .glb, .gltf, .obj, .ply or .stl files, each one object")
    add("output", metavar="OUT", help="directory to write to; made if it does not exist")
    add("--size", type=whole(8, 4096), default=512, metavar="PX", help="side of a picture (default: %(default)s)")
    add("--views", type=whole(1, 1000), default=16, metavar="N", help="pictures of an object (default: %(default)s)")
    add(
        "--sources",
        type=whole(1, 1000),
        default=4,
        metavar="N",
        help="of these, from the front: the first at elevation 20 degrees, the others from 0 to 40 (default: "
        "%(default)s)",
    )
    add("--antialias", type=whole(1, 16), default=2, metavar="N", help="N x N rays a pixel (default: %(default)s)")
    add(
        "--distance",
        type=number(1, 100),
        default=2.0,
        metavar="D",
        help="of the cameras from the object's centre; the object's bounding box has a half diagonal of 1 "
        "(default: %(default)s)",
    )
    add(
        "--focal",
        type=number(0, 20),
        default=0.75,
        metavar="F",
        help="focal length over the picture's size (default: %(default)s)",
    )
    add("--depth", action="store_true", help="write OBJECT/depth/000.npy as well, for losses on depth and occupancy")
    add(
        "--shards",
        type=whole(1, 1_000_000),
        default=0,
        metavar="N",
        help="write WebDataset archives of N objects each (000000.tar ...) instead of a directory for each object",
    )
    add("--seed", type=whole(0, 2**31 - 1), default=0, metavar="N", help="of the cameras (default: %(default)s)")
    add("--workers", type=whole(1, 1024), default=1, metavar="N", help="processes (default: %(default)s)")
    add("--limit", type=whole(1, 1_000_000_000), metavar="N", help="only the first N meshes, by name")
    add("--json", action="store_true", help="print what was done as JSON instead of as text")
    add("--debug", action="store_true", help="show tracebacks")


def render_dataset(arguments: argparse.Namespace) -> int:
    """Renders what is missing, and says what was done: on standard output the directory, or with --json everything."""
    from tqdm import tqdm

    from ..training.data_sources import find_meshes
    from ..training.dataset_rendering import RenderSettings
    from ..training.dataset_rendering import render_dataset as render
    from ..training.mesh_views import require_ray_caster

    require_ray_caster()  # before the folder is made
    paths = find_meshes(arguments.meshes, arguments.limit)
    settings = RenderSettings(
        size=arguments.size,
        views=arguments.views,
        sources=arguments.sources,
        antialias=arguments.antialias,
        distance=arguments.distance,
        focal=arguments.focal,
        seed=arguments.seed,
        depth=arguments.depth,
        shard_objects=arguments.shards,
    )
    with tqdm(total=len(paths), unit="object", disable=None) as bar:  # on a terminal only
        report = render(paths, arguments.output, settings, workers=arguments.workers, progress=lambda _: bar.update())
    if arguments.json:
        print(
            json.dumps(
                {
                    "output": arguments.output,
                    "written": report.written,
                    "present": report.present,
                    "failed": [{"object": name, "error": error} for name, error in sorted(report.failed.items())],
                }
            )
        )
    else:
        for name, error in sorted(report.failed.items()):
            say(f"{name}: {error}")
        say(f"{len(report.written)} objects written, {len(report.present)} there before, {len(report.failed)} failed")
        print(arguments.output)
    if not report.failed:
        return DONE
    return SOME_FAILED if report.written or report.present else NOTHING_DONE
