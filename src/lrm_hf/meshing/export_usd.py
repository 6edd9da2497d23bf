# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""USDZ: a package that phones show in the room. Y up, in metres, with a `UsdPreviewSurface`."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import trimesh

from . import export_common as common
from .texture import base_color_image


# of the files in a package, so that the same mesh gives the same bytes: 2000-01-01, after the time that zip begins at
_TIME = 946_728_000


def encode_usdz(mesh: trimesh.Trimesh, name: str, kwargs: dict[str, Any]) -> bytes:
    """The package's bytes.

    Raises:
        ImportError: if usd-core is missing.
        TypeError: if there are options: this writer has none.
        OSError: if USD can't write the package.
    """
    if kwargs:
        raise TypeError(f"usdz has no options, got {', '.join(sorted(kwargs))}.")
    try:
        from pxr import Sdf, Tf, Usd, UsdGeom, UsdShade, Vt
    except ImportError as error:
        raise ImportError("usdz files need usd-core: pip install 'lrm_hf[usd]'") from error

    turned, colors = common.y_up(mesh), common.vertex_colors(mesh)
    identifier = Tf.MakeValidIdentifier(name)
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        stage = Usd.Stage.CreateNew(str(root / f"{identifier}.usdc"))
        UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
        UsdGeom.SetStageMetersPerUnit(stage, 1.0)
        stage.GetRootLayer().comment = common.generator()
        top = UsdGeom.Xform.Define(stage, f"/{identifier}")
        stage.SetDefaultPrim(top.GetPrim())
        Usd.ModelAPI(top).SetKind("component")
        surface = UsdGeom.Mesh.Define(stage, f"/{identifier}/mesh")
        points = turned.vertices.astype(np.float32)
        surface.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(points))
        surface.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(turned.faces.astype(np.int32).ravel()))
        surface.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(np.full(len(turned.faces), 3, dtype=np.int32)))
        surface.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(turned.vertex_normals.astype(np.float32)))
        surface.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
        surface.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
        surface.CreateExtentAttr(Vt.Vec3fArray.FromNumpy(np.stack([points.min(axis=0), points.max(axis=0)])))
        surface.CreateDoubleSidedAttr(True)

        materials = f"/{identifier}/materials"
        UsdGeom.Scope.Define(stage, materials)
        material = UsdShade.Material.Define(stage, f"{materials}/{common.MATERIAL_NAME}")
        shader = UsdShade.Shader.Define(stage, f"{material.GetPath()}/preview")
        shader.CreateIdAttr("UsdPreviewSurface")
        shader.CreateInput("metallic", Sdf.ValueTypeNames.Float).Set(0.0)
        shader.CreateInput("roughness", Sdf.ValueTypeNames.Float).Set(common.ROUGHNESS)
        diffuse = shader.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f)

        def node(kind: str, path: str, **inputs: Any) -> Any:
            made = UsdShade.Shader.Define(stage, f"{material.GetPath()}/{path}")
            made.CreateIdAttr(kind)
            for key, (value_type, value) in inputs.items():
                made.CreateInput(key, value_type).Set(value)
            return made

        def picture(image: Any, kind: str, space: str, **inputs: Any) -> Any:
            file = f"textures/{identifier}_{kind}.png"
            (root / "textures").mkdir(exist_ok=True)
            (root / file).write_bytes(common.png(image))
            clamp = (Sdf.ValueTypeNames.Token, "clamp")
            made = node(
                "UsdUVTexture",
                kind,
                file=(Sdf.ValueTypeNames.Asset, file),
                sourceColorSpace=(Sdf.ValueTypeNames.Token, space),
                wrapS=clamp,
                wrapT=clamp,
                **inputs,
            )
            made.CreateInput("st", Sdf.ValueTypeNames.Float2).ConnectToSource(reader.ConnectableAPI(), "result")
            return made.CreateOutput("rgb", Sdf.ValueTypeNames.Float3)

        primvars = UsdGeom.PrimvarsAPI(surface)
        if common.has_texture(mesh):
            st = primvars.CreatePrimvar("st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.vertex)
            st.Set(Vt.Vec2fArray.FromNumpy(np.asarray(mesh.visual.uv)[:, :2].astype(np.float32)))
            reader = node("UsdPrimvarReader_float2", "st", varname=(Sdf.ValueTypeNames.String, "st"))
            reader.CreateOutput("result", Sdf.ValueTypeNames.Float2)
            diffuse.ConnectToSource(picture(base_color_image(mesh), "color", "sRGB"))
            normal = common.normal_image(mesh)
            if normal is not None:
                stretch = {"scale": (2.0, 2.0, 2.0, 1.0), "bias": (-1.0, -1.0, -1.0, 0.0)}
                inputs = {key: (Sdf.ValueTypeNames.Float4, value) for key, value in stretch.items()}
                output = picture(normal, "normal", "raw", **inputs)
                shader.CreateInput("normal", Sdf.ValueTypeNames.Normal3f).ConnectToSource(output)
        elif colors is not None:
            shown = surface.CreateDisplayColorPrimvar(UsdGeom.Tokens.vertex)
            shown.Set(Vt.Vec3fArray.FromNumpy(common.srgb_to_linear(colors[:, :3] / 255.0).astype(np.float32)))
            reader = node("UsdPrimvarReader_float3", "color", varname=(Sdf.ValueTypeNames.String, "displayColor"))
            diffuse.ConnectToSource(reader.CreateOutput("result", Sdf.ValueTypeNames.Float3))
        else:
            diffuse.Set((common.GREY,) * 3)
        material.CreateSurfaceOutput().ConnectToSource(shader.CreateOutput("surface", Sdf.ValueTypeNames.Token))
        UsdShade.MaterialBindingAPI.Apply(surface.GetPrim()).Bind(material)
        stage.Save()

        package = root / "package.usdz"
        # USD 26 moved it
        writer = (Sdf if hasattr(Sdf, "ZipFileWriter") else Usd).ZipFileWriter.CreateNew(str(package))
        # the layer comes first: it is the one that opens
        for path in [root / f"{identifier}.usdc", *sorted((root / "textures").glob("*.png"))]:
            os.utime(path, (_TIME, _TIME))
            if not writer.AddFile(str(path), path.relative_to(root).as_posix()):
                raise OSError(f"USD could not put {path.name!r} into its package.")
        if not writer.Save():
            raise OSError(f"USD could not write the package of {name!r}.")
        return package.read_bytes()
