# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Wavefront OBJ: one file with vertex colours, or three and more with a texture."""

from __future__ import annotations

import re
from typing import Any

import trimesh
from trimesh.exchange.obj import export_obj

from . import export_common as common
from .texture import base_color_image


def encode_obj(mesh: trimesh.Trimesh, name: str, kwargs: dict[str, Any]) -> dict[str, bytes]:
    """The files by name, the obj itself under an empty one. With a texture `NAME.mtl`, `NAME_color.png` and, where
    there is a normal map, `NAME_normal.png` belong to it."""
    turned = common.y_up(mesh)
    options = {"include_normals": True, "header": f"{common.generator()}; y up; vertex colours are sRGB", **kwargs}
    if not common.has_texture(mesh):
        return {"": export_obj(turned, **options).encode("utf-8")}
    # readers take a space for the end of a file's name
    stem = re.sub(r"\s+", "_", name)
    turned.visual.material = trimesh.visual.material.SimpleMaterial(name=common.MATERIAL_NAME)
    text = export_obj(turned, mtl_name=f"{stem}.mtl", **options)
    lines = [
        f"# {common.generator()}",
        f"newmtl {common.MATERIAL_NAME}",
        *("Ka 0 0 0", "Kd 1 1 1", "Ks 0 0 0", "d 1", "illum 1"),
        f"Pr {common.ROUGHNESS}",
        f"Pm 0\nmap_Kd {stem}_color.png",
    ]
    files = {f"{stem}_color.png": common.png(base_color_image(mesh))}
    normal = common.normal_image(mesh)
    if normal is not None:
        lines.append(f"norm {stem}_normal.png")
        files[f"{stem}_normal.png"] = common.png(normal)
    files[f"{stem}.mtl"] = ("\n".join(lines) + "\n").encode("utf-8")
    return {"": text.encode("utf-8"), **files}
