# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""GLB and glTF 2.0, by trimesh's writer and with what viewers need beside: linear colours, a material that is not bare
metal, tangents for a normal map, samplers that don't wrap round, names."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import numpy as np
import trimesh
from trimesh.exchange.gltf import export_glb

from . import export_common as common
from .processing import STEPS
from .texture import vertex_tangents


# trimesh writes per-vertex arrays whose names begin with an underscore; these are renamed. Its own colours are of 8
# bit, which is too coarse for dark ones once they are linear, and tangents it has none.
_RENAMED = {"_LINEAR_RGB": "COLOR_0", "_TANGENT_XYZW": "TANGENT"}
_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963
_LINEAR_MIPMAPPED_CLAMPED = {"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}


def encode_glb(mesh: trimesh.Trimesh, name: str, kwargs: dict[str, Any]) -> bytes:
    scene, options = _scene(mesh, name, kwargs)
    return export_glb(scene, **options)


def encode_gltf(mesh: trimesh.Trimesh, name: str, kwargs: dict[str, Any]) -> bytes:
    """The same content as text: one file, its buffer embedded."""
    data = encode_glb(mesh, name, kwargs)
    (length,) = struct.unpack_from("<I", data, 12)  # of the first chunk, behind a header of 12 and its own of 8 bytes
    tree = json.loads(data[20 : 20 + length])
    binary = data[28 + length :][: tree["buffers"][0]["byteLength"]]
    tree["buffers"][0]["uri"] = "data:application/octet-stream;base64," + base64.b64encode(binary).decode()
    return json.dumps(tree, separators=(",", ":")).encode("utf-8")


def _scene(mesh: trimesh.Trimesh, name: str, kwargs: dict[str, Any]) -> tuple[trimesh.Scene, dict[str, Any]]:
    colors, turned = common.vertex_colors(mesh), common.y_up(mesh)
    textured = common.has_texture(mesh)
    turned.metadata = {STEPS: mesh.metadata[STEPS]} if STEPS in mesh.metadata else {}
    if not textured:
        turned.visual = trimesh.visual.ColorVisuals()
    elif common.normal_image(mesh) is not None:
        tangents = vertex_tangents(turned.vertices, turned.vertex_normals, turned.faces, turned.visual.uv)
        turned.vertex_attributes["_TANGENT_XYZW"] = tangents.astype(np.float32)
    if colors is not None:
        linear = common.srgb_to_linear(colors[:, :3] / 255.0)
        turned.vertex_attributes["_LINEAR_RGB"] = linear.astype(np.float32)
    kwargs = dict(kwargs)
    after = kwargs.pop("tree_postprocessor", None)

    def finish(tree: dict[str, Any]) -> None:
        tree["asset"]["generator"] = common.generator()
        tree["nodes"], tree["scenes"] = [{"name": name, "mesh": 0}], [{"nodes": [0]}]
        tree["meshes"][0]["name"] = f"{name}_mesh"  # viewers that put both into one list number what is called alike
        primitive = tree["meshes"][0]["primitives"][0]
        for ours, theirs in _RENAMED.items():
            if ours in primitive["attributes"]:
                primitive["attributes"][theirs] = primitive["attributes"].pop(ours)
        accessors = tree["accessors"]
        for accessor in primitive["attributes"].values():
            tree["bufferViews"][accessors[accessor]["bufferView"]]["target"] = _ARRAY_BUFFER
        tree["bufferViews"][accessors[primitive["indices"]]["bufferView"]]["target"] = _ELEMENT_ARRAY_BUFFER
        if textured:
            _name_textures(tree, name)
        else:
            # without a material viewers must take bare metal, which is black where there is nothing to reflect
            tree["materials"] = [_material(common.GREY if colors is None else 1.0)]
            primitive["material"] = 0
        if after is not None:
            after(tree)

    return trimesh.Scene(turned), {"include_normals": True, "tree_postprocessor": finish, **kwargs}


def _name_textures(tree: dict[str, Any], name: str) -> None:
    tree["samplers"] = [_LINEAR_MIPMAPPED_CLAMPED]
    for texture in tree.get("textures", []):
        texture["sampler"] = 0
    (material,) = tree["materials"]
    color = material.get("pbrMetallicRoughness", {}).get("baseColorTexture")
    for slot, kind in ((color, "color"), (material.get("normalTexture"), "normal")):
        if slot is not None:
            tree["images"][tree["textures"][slot["index"]]["source"]]["name"] = f"{name}_{kind}"


def _material(grey: float) -> dict[str, Any]:
    return {
        "name": common.MATERIAL_NAME,
        "pbrMetallicRoughness": {
            "baseColorFactor": [grey, grey, grey, 1.0],
            "metallicFactor": 0.0,
            "roughnessFactor": common.ROUGHNESS,
        },
        "doubleSided": True,
    }
