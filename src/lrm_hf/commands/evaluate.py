# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""`lrm-hf evaluate`: scores of models and baselines on a folder of meshes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .common import DONE, load_pipeline, say, whole


if TYPE_CHECKING:
    from ..evaluation.methods import Model


PROTOCOL_NAMES = ("views", "triposr", "sf3d")
BUNDLED = "bundled"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "evaluate",
        help="scores of models and baselines on a folder of meshes",
        description="Renders each mesh of a folder, lets models reconstruct it from one view, and compares pictures "
        "and surfaces with the truth, beside baselines that need no model. A table goes to standard error, everything "
        "else where the options say.",
    )
    command.set_defaults(run=evaluate)
    add = command.add_argument
    add("objects", metavar="OBJECTS_DIR", help="folder of .glb, .gltf, .obj, .ply or .stl files, each one object")
    add(
        "--model",
        action="append",
        metavar="DIR_OR_REPO",
        help=f"directory or Hub repository, or '{BUNDLED}'; may be given several times (default: {BUNDLED})",
    )
    add("--baselines-only", action="store_true", help="no model at all")
    add("--protocol", choices=PROTOCOL_NAMES, default="views", help="what is measured (default: %(default)s)")
    add("--json", metavar="FILE", help="write everything here: scores, rows, protocol, versions")
    add("--markdown", metavar="FILE", help="write tables, protocol and rows here")
    add("--plot", metavar="FILE", help="write a plot here (.png, .svg, .pdf)")
    add("--sheet", metavar="FILE", help="write a contact sheet of the first model's best and worst objects here")
    add("--sheet-count", type=whole(1, 200), default=12, metavar="N", help="its objects (default: %(default)s)")
    add("--sheet-spread", action="store_true", help="objects evenly from best to worst instead")
    add("--sheet-objects", nargs="+", metavar="NAME", help="these objects instead")
    add("--cache", metavar="DIR", help="keep ground truths here for the next run; made if it does not exist")
    add("--limit", type=whole(1, 1_000_000), metavar="N", help="only the first N objects, by name")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps ... (default: a CUDA device if there is one)")
    add("--debug", action="store_true", help="show tracebacks")


def evaluate(arguments: argparse.Namespace) -> int:
    """Measures, writes what was asked for, and prints the paths."""
    from ..evaluation import measure, report
    from ..evaluation.ground_truth import find_objects
    from ..evaluation.methods import baselines
    from ..evaluation.protocols import PROTOCOLS

    # what can be wrong is found before the minutes that measuring takes
    paths = find_objects(arguments.objects, arguments.limit)
    if arguments.baselines_only and arguments.model:
        raise ValueError("--baselines-only and --model exclude each other.")
    if arguments.baselines_only and arguments.sheet:
        raise ValueError("--sheet shows a model's answers; there is none with --baselines-only.")
    absent = sorted(set(arguments.sheet_objects or ()) - {path.stem for path in paths})
    if absent:
        raise ValueError(f"--sheet-objects: {arguments.objects!r} holds no {', '.join(absent)}.")
    outputs = [name for name in (arguments.json, arguments.markdown, arguments.plot, arguments.sheet) if name]
    for name in outputs:
        if not Path(name).parent.is_dir():
            raise OSError(f"the directory to write {name!r} to does not exist.")
    if arguments.plot:
        report.require_matplotlib()

    protocol = PROTOCOLS[arguments.protocol]
    cache = Path(arguments.cache) if arguments.cache else None
    models = [] if arguments.baselines_only else _models(arguments)
    result = measure.evaluate(paths, [*baselines(), *models], protocol, cache)
    say(report.table(result))
    for note in result["notes"]:
        say(note)

    if arguments.json:
        report.write_json(arguments.json, result)
        print(arguments.json, flush=True)
    if arguments.markdown:
        from ..files import replacing

        with replacing(arguments.markdown) as temporary:
            temporary.write_text(report.markdown(result), encoding="utf-8")
        print(arguments.markdown, flush=True)
    if arguments.plot:
        report.plot(result, arguments.plot)
        print(arguments.plot, flush=True)
    if arguments.sheet:
        _write_sheet(arguments, result, models[0], {path.stem: path for path in paths}, cache)
        print(arguments.sheet, flush=True)
    return DONE


def _models(arguments: argparse.Namespace) -> list[Model]:
    from ..evaluation.methods import Model

    models = []
    for name in arguments.model or [BUNDLED]:
        given = None if name == BUNDLED else name
        pipe = load_pipeline(argparse.Namespace(model=given, device=arguments.device, debug=arguments.debug))
        pipe.set_progress_bar_config(disable=True)  # one bar for all objects is enough
        models.append(Model("bundled model" if given is None else name, pipe))
    return models


def _write_sheet(
    arguments: argparse.Namespace, result: dict[str, Any], model: Model, paths: dict[str, Path], cache: Path | None
) -> None:
    from ..evaluation import report
    from ..evaluation.protocols import PROTOCOLS
    from ..visualization import write_image

    names = arguments.sheet_objects or report.choose_objects(
        result, model.name, arguments.sheet_count, arguments.sheet_spread
    )
    protocol = PROTOCOLS[arguments.protocol]
    sheet = report.contact_sheet([paths[name] for name in names], model, protocol, names, cache)
    write_image(arguments.sheet, sheet)
