# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Novel views of known objects, compared with what a ray caster sees.

The protocol: each object is a mesh file whose axes are kept (glTF's +z faces the source camera), centred and scaled so
that half the diagonal of its bounding box is 1. The input is one picture from azimuth 0, elevation 20 degrees; the
targets are the views at azimuths 30, -30, 60, -60, 90, -90, 135 and 180 at the same elevation, and the input view
itself, all at distance 2 with focal length 0.75, 128 x 128 pixels, 4 x 4 rays per pixel, on white. PSNR is per view,
with an error floor of 1e-5 (50 dB) so that the copies of a symmetrical object do not decide a mean, averaged over
objects and views.

    python -m lrm_hf.evaluation.views OBJECTS_DIR --model MODEL --json result.json --sheet sheet.png
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor
from tqdm.auto import tqdm

from .. import bundled_model
from ..cameras import Cameras, orbit_cameras
from ..files import replacing
from ..modeling.field import TriplaneField
from ..pipelines import LRMPipeline
from ..training.views import ObjectViews


ELEVATION = 20.0
NOVEL_AZIMUTHS = (30.0, -30.0, 60.0, -60.0, 90.0, -90.0, 135.0, 180.0)
SIZE = 128
ANTIALIAS = 4
ERROR_FLOOR = 1e-5


def protocol_cameras() -> Cameras:
    """The input view first, then the novel ones: shape `(9,)`."""
    return orbit_cameras(azimuths=(0.0, *NOVEL_AZIMUTHS), elevation=ELEVATION)


def render_object(path: str | os.PathLike) -> ObjectViews:
    """The protocol's views of one mesh file."""
    from ..training.mesh_views import load_object, render_views

    return render_views(load_object(path), protocol_cameras(), SIZE, antialias=ANTIALIAS)


def on_white(views: ObjectViews) -> tuple[Tensor, Tensor]:
    """Pictures `(views, 3, height, width)` on white, and opacity `(views, 1, height, width)`, both in [0, 1]."""
    rgba = views.rgba.float() / 255
    alpha = rgba[:, 3:]
    return rgba[:, :3] * alpha + 1 - alpha, alpha


def psnr(images: Tensor, targets: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, with the protocol's error floor: `(..., 3, height, width)` to `(...)`."""
    error = (images.clamp(0, 1) - targets).square().mean(dim=(-3, -2, -1))
    return -10 * torch.log10(error.clamp(min=ERROR_FLOOR))


def mask_iou(opacity: Tensor, target: Tensor) -> Tensor:
    """Intersection over union of opacities cut at one half: `(..., 1, height, width)` to `(...)`."""
    a, b = opacity > 0.5, target > 0.5
    union = (a | b).flatten(-3).sum(-1)
    overlap = (a & b).flatten(-3).sum(-1)
    return torch.where(union > 0, overlap / union.clamp(min=1), 1.0)


def baselines(picture: Tensor, alpha: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """What anyone could answer without a model: picture `(3, h, w)` and opacity `(1, h, w)` for every view."""
    mean = (picture - (1 - alpha)).sum(dim=(-2, -1), keepdim=True) / alpha.sum().clamp(min=1e-6)
    return {
        "copy of the input": (picture, alpha),
        "input silhouette, mean colour": (mean * alpha + 1 - alpha, alpha),
    }


def predict(pipe: LRMPipeline, views: ObjectViews, **options: Any) -> tuple[Tensor, Tensor, TriplaneField]:
    """The protocol's views of the reconstruction: images `(views, 3, h, w)`, opacity `(views, 1, h, w)`, and the field.

    The picture goes in as the camera saw it, neither cut out nor recentred: the reconstruction is then in the object's
    own frame.
    """
    picture = Image.fromarray(views.rgba[0].permute(1, 2, 0).numpy(), "RGBA")
    cameras = protocol_cameras()
    output = pipe(
        picture,
        output_type="pt",
        do_recenter=False,
        background_removal="none",
        source_cameras=cameras[0],
        cameras=cameras,
        height=SIZE,
        width=SIZE,
        **options,
    )
    return output.frames[0].cpu(), output.opacity[0].cpu(), output.field


def evaluate(objects: dict[str, ObjectViews], pipe: LRMPipeline | None, progress: bool = True) -> dict[str, Any]:
    """Scores of the model and the baselines.

    Args:
        objects: the protocol's views by object name.
        pipe: None for the baselines alone.

    Returns:
        `{"summary": {method: {"novel_psnr", "own_psnr", "novel_iou", "by_azimuth"}}, "objects": {...}}`.
    """
    rows: dict[str, dict[str, dict[str, list[float]]]] = {}
    for name, views in tqdm(objects.items(), desc="Evaluating", disable=not progress):
        targets, alpha = on_white(views)
        answers = {
            method: (image.expand_as(targets), mask.expand_as(alpha))
            for method, (image, mask) in baselines(targets[0], alpha[0]).items()
        }
        if pipe is not None:
            answers["model"] = predict(pipe, views)[:2]
        rows[name] = {
            method: {"psnr": psnr(images, targets).tolist(), "iou": mask_iou(opacity, alpha).tolist()}
            for method, (images, opacity) in answers.items()
        }
    methods = list(next(iter(rows.values())))
    summary = {}
    for method in methods:
        scores = torch.tensor([row[method]["psnr"] for row in rows.values()])
        ious = torch.tensor([row[method]["iou"] for row in rows.values()])
        summary[method] = {
            "novel_psnr": float(scores[:, 1:].mean()),
            "own_psnr": float(scores[:, 0].mean()),
            "novel_iou": float(ious[:, 1:].mean()),
            "by_azimuth": dict(zip(map(str, NOVEL_AZIMUTHS), scores[:, 1:].mean(0).tolist(), strict=True)),
        }
    return {"summary": summary, "objects": rows}


def table(result: dict) -> str:
    """The summary as a Markdown table."""
    columns = {"±30°": 30, "±60°": 60, "±90°": 90, "135°": 135, "180°": 180}
    lines = [
        f"| | novel views PSNR | own view PSNR | mask IoU | {' | '.join(columns)} |",
        "|---|---|---|---|" + "---|" * len(columns),
    ]
    for method, row in result["summary"].items():
        azimuths = {float(k): v for k, v in row["by_azimuth"].items()}
        cells = []
        for angle in columns.values():
            values = [value for azimuth, value in azimuths.items() if abs(azimuth) == angle]
            cells.append(f"{sum(values) / len(values):.2f}")
        own = "–" if row["own_psnr"] >= 49.9 else f"{row['own_psnr']:.2f}"
        scores = f"{row['novel_psnr']:.2f} | {own} | {row['novel_iou']:.3f}"
        lines.append(f"| {method} | {scores} | {' | '.join(cells)} |")
    return "\n".join(lines)


def contact_sheet(
    objects: dict[str, ObjectViews], pipe: LRMPipeline, names: Sequence[str], mesh_resolution: int = 192
) -> Image.Image:
    """A row per object: the input, then true and reconstructed views side by side, then the mesh from two sides."""
    azimuths = (0.0, 30.0, -60.0, 90.0, 180.0)
    index = [0, *(1 + NOVEL_AZIMUTHS.index(azimuth) for azimuth in azimuths[1:])]
    columns = [f"{kind} {azimuth:+.0f}" for azimuth in azimuths for kind in ("true", "ours")]
    header = ["input", *columns, "mesh +30", "mesh -60"]
    top = 18
    sheet = Image.new("RGB", (SIZE * len(header), top + SIZE * len(names)), "white")
    draw = ImageDraw.Draw(sheet)
    for column, text in enumerate(header):
        draw.text((column * SIZE + 4, 3), text, fill="black")
    for row, name in enumerate(tqdm(names, desc="Drawing")):
        targets, _ = on_white(objects[name])
        images, _, field = predict(pipe, objects[name])
        cells = [targets[0]]
        for i in index:
            cells += [targets[i], images[i]]
        cells += _mesh_pictures(pipe, field, mesh_resolution)
        for column, picture in enumerate(cells):
            tile = (picture.clamp(0, 1).permute(1, 2, 0) * 255).round().byte().numpy()
            sheet.paste(Image.fromarray(tile), (column * SIZE, top + row * SIZE))
        draw.text((4, top + (row + 1) * SIZE - 14), name[:20], fill="gray")
    return sheet


def _mesh_pictures(pipe: LRMPipeline, field: TriplaneField, resolution: int) -> list[Tensor]:
    """The extracted mesh, exported and read again, by the same ray caster as the truth (PLY keeps display colours)."""
    from ..training.mesh_views import load_object, render_views

    mesh = pipe.extract_mesh(field, mesh_resolution=resolution)[0]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "mesh.ply"
        mesh.export(path)
        views = render_views(load_object(path, normalize=False), protocol_cameras()[[1, 4]], SIZE, antialias=2)
    return list(on_white(views)[0])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("objects", help="directory with mesh files, or with .npz views rendered by this protocol")
    parser.add_argument("--model", help="model or pipeline directory or Hub repository; default: the bundled model")
    parser.add_argument("--json", help="write all scores here")
    parser.add_argument("--sheet", help="write a contact sheet here")
    parser.add_argument("--names", nargs="+", help="objects on the sheet; default: twelve evenly spaced by score")
    args = parser.parse_args(arguments)
    files = sorted(p for p in Path(args.objects).iterdir() if p.suffix.lower() in (".glb", ".gltf", ".obj", ".ply"))
    if not files:
        parser.error(f"{args.objects!r} holds no mesh files.")
    objects = {path.stem: render_object(path) for path in tqdm(files, desc="Rendering objects")}
    pipe = LRMPipeline.from_pretrained(args.model or bundled_model())
    result = evaluate(objects, pipe)
    print(table(result))
    if args.json:
        with replacing(args.json) as temporary:
            temporary.write_text(json.dumps(result, indent=1))
    if args.sheet:
        scores = {name: sum(row["model"]["psnr"][1:]) for name, row in result["objects"].items()}
        ranked = sorted(scores, key=lambda name: -scores[name])
        names = args.names or [ranked[round(i * (len(ranked) - 1) / 11)] for i in range(12)]
        contact_sheet(objects, pipe, names).save(args.sheet)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
