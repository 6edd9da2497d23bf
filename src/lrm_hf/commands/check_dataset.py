# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""`lrm-hf check-dataset`: what is wrong with training data, in plain words and as pictures."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .common import DONE, say, whole


WRONG = 1
SHEET_NAME = "check_sheet.png"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "check-dataset",
        help="what is wrong with training data, in plain words and as pictures",
        description="Reads training data of any layout and says what is wrong: poses that are no rotations, intrinsics "
        "in pixels, empty alpha, cameras inside the object or that look elsewhere, missing and damaged files, pictures "
        "of different sizes, numbers that are not finite, cameras that are not those of the pictures. Writes a sheet "
        "with pictures, and the cameras drawn from above and from the side. The exit code is 0 if nothing is wrong, 1 "
        "if something is, 2 if there is no data set.",
    )
    command.set_defaults(run=check_dataset)
    add = command.add_argument
    add(
        "data",
        metavar="DIR",
        help="directory or file: OpenLRM's layout, transforms.json, .tar shards, .npz views, or meshes",
    )
    add("--sheet", metavar="FILE", help=f"write the sheet here (default: {SHEET_NAME} in DIR, or beside the file)")
    add("--no-sheet", action="store_true", help="write no sheet")
    add("--sheet-count", type=whole(1, 200), default=8, metavar="N", help="its objects (default: %(default)s)")
    add("--limit", type=whole(1, 1_000_000_000), metavar="N", help="only the first N objects, by name")
    add("--json", action="store_true", help="print everything as JSON instead of as text")
    add("--debug", action="store_true", help="show tracebacks")


def check_dataset(arguments: argparse.Namespace) -> int:
    """Prints one line per finding, errors first, then the sheet's path; with --json one object with everything."""
    from tqdm import tqdm

    from ..training.dataset_checks import ERROR, CheckedObject, check_object, check_sizes_of, find_objects
    from ..training.dataset_sheet import choose_objects, draw_sheet
    from ..visualization import write_image

    if arguments.no_sheet and arguments.sheet:
        raise ValueError("--sheet and --no-sheet exclude each other.")
    layout, objects, findings = find_objects(arguments.data, arguments.limit)
    path = Path(arguments.data)
    sheet = Path(arguments.sheet) if arguments.sheet else (path if path.is_dir() else path.parent) / SHEET_NAME
    if not arguments.no_sheet and not sheet.parent.is_dir():
        raise OSError(f"the directory to write {str(sheet)!r} to does not exist.")
    checked: list[CheckedObject] = []
    for name, raw in tqdm(objects, unit="object", disable=None):  # a bar on a terminal only
        checked.append(check_object(name, raw))
        findings += checked[-1].findings
        checked[-1].forget_pictures()
    findings += check_sizes_of(checked)
    findings.sort(key=lambda finding: finding.severity != ERROR)
    errors = [finding for finding in findings if finding.severity == ERROR]
    views = sum(len(one.views) for one in checked)
    written = None
    if checked and not arguments.no_sheet:
        # read a second time: to keep the pictures of all objects takes more memory than there may be
        chosen = choose_objects(checked, arguments.sheet_count)
        shown = [check_object(*objects[index]) for index, one in enumerate(checked) if one in chosen]
        write_image(sheet, draw_sheet(shown))
        written = str(sheet)
    if arguments.json:
        listed = [vars(finding) for finding in findings]
        result = {
            "data": arguments.data,
            "layout": layout,
            "objects": len(objects),
            "views": views,
            "ok": not errors,
            "errors": [entry for entry in listed if entry["severity"] == ERROR],
            "warnings": [entry for entry in listed if entry["severity"] != ERROR],
            "sheet": written,
        }
        print(json.dumps(result))
    else:
        for finding in findings:
            print(f"{finding.severity}: {finding}")
        counts = f"{len(errors)} errors, {len(findings) - len(errors)} warnings"
        say(f"{layout}, {len(objects)} objects, {views} views: {counts}")
        if written:
            print(written)
    return WRONG if errors else DONE
