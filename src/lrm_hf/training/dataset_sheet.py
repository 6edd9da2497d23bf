# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""A sheet to look at: objects of a data set, their pictures, and their cameras drawn from above and from the side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .dataset_checks import ERROR, CheckedObject, CheckedView


TILE, PLOT, GAP, LINE = 112, 232, 8, 16
COLUMNS, ROWS = 4, 2
MESSAGES = 4  # lines of text below an object
INK, PAPER, GRID, BOX = (32, 32, 32), (255, 255, 255), (222, 222, 222), (150, 150, 150)
GOOD, FIRST, DOUBTFUL, BAD = (90, 130, 90), (30, 90, 200), (225, 160, 0), (205, 30, 30)
FRUSTUM = 0.28  # length of a drawn camera, as a share of its distance


def draw_sheet(objects: Sequence[CheckedObject]) -> Image.Image:
    """One block per object: its name, up to eight of its pictures on a chequered ground, its cameras from above (x to
    the right, the source's side -y below) and from the side (seen from +x: y to the right, z up), and what is wrong.

    The first view is blue, others green, those with errors red, those with warnings yellow; the square is the box
    [-1, 1]^3 that the field fills.

    Raises:
        ValueError: if `objects` is empty.
    """
    if not objects:
        raise ValueError("`objects` is empty: there is nothing to draw.")
    blocks = [_block(checked) for checked in objects]
    width = max(block.width for block in blocks) + 2 * GAP
    sheet = Image.new("RGB", (width, sum(block.height + GAP for block in blocks) + GAP), PAPER)
    top = GAP
    for block in blocks:
        sheet.paste(block, (GAP, top))
        top += block.height + GAP
    return sheet


def choose_objects(objects: Sequence[CheckedObject], count: int) -> list[CheckedObject]:
    """The ones with errors first, then those with warnings, then evenly from all others."""
    ranked = sorted(objects, key=lambda checked: _worst(checked), reverse=True)
    troubled = [checked for checked in ranked if checked.findings][:count]
    fine = [checked for checked in objects if not checked.findings]
    left = min(count - len(troubled), len(fine))
    return troubled + [fine[index * len(fine) // left] for index in range(left)]


def _worst(checked: CheckedObject) -> int:
    return max((2 if finding.severity == ERROR else 1 for finding in checked.findings), default=0)


def _block(checked: CheckedObject) -> Image.Image:
    font = ImageFont.load_default(12)
    colours = {view.name: _colour(checked, index, view) for index, view in enumerate(checked.views)}
    messages = [(BAD if finding.severity == ERROR else DOUBTFUL, str(finding)) for finding in checked.findings]
    messages.sort(key=lambda message: message[0] != BAD)
    if len(messages) > MESSAGES:
        messages = [*messages[: MESSAGES - 1], (INK, f"... and {len(messages) - MESSAGES + 1} more")]
    width = COLUMNS * (TILE + GAP) + 2 * (PLOT + GAP)
    body = max(ROWS * (TILE + LINE), PLOT + LINE)
    block = Image.new("RGB", (width, LINE + body + LINE * len(messages) + GAP), PAPER)
    draw = ImageDraw.Draw(block)
    count = f"{len(checked.views)} views"
    draw.text((0, 0), f"{checked.name}   ({count})", INK, font)
    for place, view in enumerate(_shown(checked, colours)):
        row, column = divmod(place, COLUMNS)
        left, top = column * (TILE + GAP), LINE + row * (TILE + LINE)
        block.paste(_tile(view, colours[view.name]), (left, top))
        draw.text((left, top + TILE), _short(view.name), colours[view.name], font)
    left = COLUMNS * (TILE + GAP)
    for name, across, up in (("from above", (0, 1.0), (1, 1.0)), ("from the side", (1, 1.0), (2, 1.0))):
        block.paste(_plot(checked.views, colours, across, up), (left, LINE))
        axes = "x right, y up" if name == "from above" else "y right, z up"
        draw.text((left, LINE + PLOT), f"{name} ({axes})", INK, font)
        left += PLOT + GAP
    for line, (colour, message) in enumerate(messages):
        draw.text((0, LINE + body + line * LINE), _fitting(message, width, font), colour, font)
    draw.line([(0, block.height - 1), (width, block.height - 1)], GRID)
    return block


def _colour(checked: CheckedObject, index: int, view: CheckedView) -> tuple[int, int, int]:
    severities = {finding.severity for finding in checked.findings if finding.view == view.name}
    if ERROR in severities:
        return BAD
    if severities:
        return DOUBTFUL
    return FIRST if index == 0 else GOOD


def _shown(checked: CheckedObject, colours: dict[str, tuple[int, int, int]]) -> list[CheckedView]:
    """The first view, bad ones, and as many of the others as there is room for, in order."""
    room = COLUMNS * ROWS
    views = checked.views
    if len(views) <= room:
        return views
    chosen = {0} | {index for index, view in enumerate(views) if colours[view.name] in (BAD, DOUBTFUL)}
    chosen = set(sorted(chosen)[:room])
    others = [index for index in range(len(views)) if index not in chosen]
    left = room - len(chosen)
    chosen |= {others[step * len(others) // left] for step in range(left)} if left else set()
    return [views[index] for index in sorted(chosen)]


def _tile(view: CheckedView, colour: tuple[int, int, int]) -> Image.Image:
    squares = (np.indices((TILE, TILE)) // 8).sum(axis=0) % 2
    ground = Image.fromarray(np.where(squares[..., None] == 0, 255, 235).repeat(3, axis=-1).astype(np.uint8))
    draw = ImageDraw.Draw(ground)
    if view.picture is None:
        draw.line([(0, 0), (TILE, TILE)], BAD, 2)
        draw.line([(0, TILE), (TILE, 0)], BAD, 2)
    else:
        picture = Image.fromarray(np.ascontiguousarray(view.picture))
        # blended with premultiplied colours, so that no halo comes from under transparent pixels
        picture = picture.convert("RGBa")
        scale = TILE / max(picture.size)
        fitted = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(fitted, Image.Resampling.BOX if scale < 1 else Image.Resampling.NEAREST)
        picture = picture.convert("RGBA")
        ground.paste(picture, ((TILE - picture.width) // 2, (TILE - picture.height) // 2), picture)
    draw.rectangle([(0, 0), (TILE - 1, TILE - 1)], outline=colour, width=2)
    return ground


def _plot(
    views: Sequence[CheckedView],
    colours: dict[str, tuple[int, int, int]],
    across: tuple[int, float],
    up: tuple[int, float],
) -> Image.Image:
    """Cameras in the plane of two axes, each (index, sign)."""
    scale_to = max([1.3] + [float(np.abs(view.pose[:3, 3]).max()) for view in views if view.pose is not None]) * 1.12
    plot = Image.new("RGB", (2 * PLOT, 2 * PLOT), PAPER)  # halved at the end: lines without steps
    draw = ImageDraw.Draw(plot)

    def place(point: np.ndarray) -> tuple[float, float]:
        x, y = point[across[0]] * across[1] / scale_to, point[up[0]] * up[1] / scale_to
        return PLOT * (1 + x), PLOT * (1 - y)

    for end in (np.array([scale_to] * 3), -np.array([scale_to] * 3)):
        for axis in (across[0], up[0]):
            draw.line([place(np.zeros(3)), place(end * (np.arange(3) == axis))], GRID, 2)
    corner = np.ones(3)
    low, high = place(-corner), place(corner)
    draw.rectangle([(low[0], high[1]), (high[0], low[1])], outline=BOX, width=2)
    # bad ones last, so that none of them hides behind another
    order = sorted(views, key=lambda view: [GOOD, FIRST, DOUBTFUL, BAD].index(colours[view.name]))
    for view in order:
        if view.pose is None:
            continue
        colour, centre = colours[view.name], view.pose[:3, 3]
        corners = [place(point) for point in _frustum(view)]
        for point in corners:
            draw.line([place(centre), point], colour, 2)
        draw.line([*corners, corners[0]], colour, 2)
        x, y = place(centre)
        draw.ellipse([(x - 5, y - 5), (x + 5, y + 5)], fill=colour)
    return plot.resize((PLOT, PLOT), Image.Resampling.BOX)


def _frustum(view: CheckedView) -> list[np.ndarray]:
    """World points of the picture's corners, a short way in front of the camera."""
    pose = view.pose if view.pose is not None else np.eye(4)
    k = view.intrinsics if view.intrinsics is not None else np.array([[1.0, 0, 0.5], [0, 1.0, 0.5], [0, 0, 1]])
    length = FRUSTUM * max(float(np.linalg.norm(pose[:3, 3])), 0.3)
    points = []
    for u, v in ((0, 0), (1, 0), (1, 1), (0, 1)):
        local = np.array([(u - k[0, 2]) / k[0, 0], -(v - k[1, 2]) / k[1, 1], -1.0]) * length
        points.append(pose[:3, :3] @ local + pose[:3, 3])
    return points


def _short(name: str) -> str:
    return name if len(name) <= 16 else f"...{name[-13:]}"


def _fitting(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + " ...") > width:
        text = text[:-1]
    return text + " ..."
