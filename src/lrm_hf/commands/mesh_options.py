# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The options that say what becomes of a mesh, and doing it."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, Any

from .common import number, whole
from .inputs import Source


if TYPE_CHECKING:
    from ..meshing import LRMMesh


MESH_FORMATS = ("glb", "gltf", "obj", "ply", "stl", "usdz")


def add_mesh_options(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("the mesh")
    add = group.add_argument
    add("--resolution", type=whole(16, 1024), default=256, metavar="N", help="grid per axis (default: %(default)s)")
    add("--threshold", type=number(0, math.inf), metavar="D", help="density of the surface (default: the model's)")
    add("--largest-component", action="store_true", help="keep only the largest connected piece")
    add("--smooth", type=whole(1, 1000), default=0, metavar="N", help="iterations of smoothing (default: none)")
    add("--faces", type=whole(4, 100_000_000), metavar="N", help="simplify to at most N triangles")
    add("--watertight", action="store_true", help="close holes, for printing")
    add("--texture", type=whole(64, 4096), metavar="PX", help="bake a texture of PX x PX, instead of vertex colours")
    add("--normal-map", action="store_true", help="and the shading that simplifying took away (with --texture)")
    add("--ground", action="store_true", help="put the object on the floor")
    add("--height", type=number(0, math.inf), metavar="M", help="scale the object to M metres")


def check_mesh_options(arguments: argparse.Namespace) -> None:
    """What would otherwise come up after minutes of work."""
    if arguments.normal_map and arguments.texture is None:
        raise ValueError("--normal-map belongs to a texture: give --texture PX as well.")
    needs = [("xatlas", arguments.texture is not None), ("fast_simplification", arguments.faces is not None)]
    from importlib.util import find_spec

    for module, wanted in needs:
        if wanted and find_spec(module) is None:
            raise ImportError(f"--texture and --faces need {module}: pip install 'lrm_hf[texture]'")


def make_mesh(source: Source, arguments: argparse.Namespace) -> LRMMesh:
    from ..meshing import extract_mesh, prepare_asset

    if source.pipe is not None:
        (mesh,) = source.pipe.extract_mesh(source.field, arguments.resolution, arguments.threshold)
    else:
        (mesh,) = extract_mesh(source.field, arguments.resolution, arguments.threshold)
    return prepare_asset(
        mesh,
        source.field,
        largest_component=arguments.largest_component,
        smooth=arguments.smooth,
        target_faces=arguments.faces,
        watertight=arguments.watertight,
        texture=arguments.texture,
        normal_map=arguments.normal_map,
        ground=arguments.ground,
        height=arguments.height,
    )


def describe(mesh: LRMMesh) -> dict[str, Any]:
    """For JSON."""
    return {
        "faces": len(mesh.faces),
        "vertices": len(mesh.vertices),
        "bounds": mesh.bounds.tolist(),
        "texture": mesh.visual.material.baseColorTexture.width if mesh.visual.kind == "texture" else None,
        "steps": mesh.metadata.get("steps", []),
    }
