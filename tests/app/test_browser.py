# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The page in a real browser: Chromium without a window, drawing with the CPU."""

from __future__ import annotations

import base64
import io
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import trimesh

from lrm_hf.app import serving
from lrm_hf.app.limits import Limits
from lrm_hf.app.page import create_page, example_pictures, page_application
from lrm_hf.app.studio import Studio


pytestmark = pytest.mark.browser
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# so that WebGL is there without a GPU; root can't have Chromium's sandbox
SWITCHES = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
# milliseconds; only ever waited for where something is broken, or the machine is very busy
PATIENCE = 240_000
# pixels at the top of the viewer
STRIP = 50


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("gradio", reason="needs the extra `app`")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lrm_hf.app.studio.TURNTABLE_FRAMES", 4)
        patch.setattr("lrm_hf.app.studio.TURNTABLE_SIZE", 64)
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        studio = Studio(limits=Limits(resolution=64))
        application = page_application(create_page(studio), studio)
        with serving.running(application, serving.open_port("127.0.0.1", 0)) as address:
            yield address
        studio.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium on the PATH")
    switches = [*SWITCHES, "--no-sandbox"] if os.geteuid() == 0 else SWITCHES
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=switches)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Opens the page as another person; what it asks other servers for fails the test."""
    contexts, elsewhere = [], []

    def open_page(**options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        local = (address, "data:", "blob:")
        page.on("request", lambda request: None if request.url.startswith(local) else elsewhere.append(request.url))
        page.goto(address)
        page.wait_for_selector("#generate")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert elsewhere == []


def upload(page: Any, path: Path) -> None:
    page.locator("#pictures input[type=file]").first.set_input_files(str(path))


def generate(page: Any) -> None:
    page.wait_for_selector("#seen img")
    page.locator("button#generate").click()
    page.wait_for_selector("#files a")


def drawn(page: Any) -> np.ndarray:
    """What the 3D viewer shows, float in [0, 1], without the strip in which its label and buttons lie over it."""
    canvas = page.locator("#viewer canvas")
    canvas.scroll_into_view_if_needed()
    return np.asarray(PIL.Image.open(io.BytesIO(canvas.screenshot())).convert("RGB"))[STRIP:] / 255


def keep_screenshots(page: Any, name: str) -> None:
    """What is seen, and the whole page, where $LRM_HF_SCREENSHOTS names a directory: to be looked at."""
    folder = os.environ.get("LRM_HF_SCREENSHOTS")
    if folder:
        page.screenshot(path=str(Path(folder, f"{name}_seen.png")))
        page.screenshot(path=str(Path(folder, f"{name}.png")), full_page=True)


def wait_until_drawn(page: Any) -> np.ndarray:
    """The viewer's picture once an object is in it. Its ground is light grey."""
    deadline = time.monotonic() + PATIENCE / 1000
    while (picture := drawn(page)).min(axis=2).min() > 0.8:
        assert time.monotonic() < deadline, "the viewer stays empty"
        page.wait_for_timeout(200)
    return picture


def test_upload_generate_turn_and_download(visit: Callable[..., Any], tmp_path: Path) -> None:
    page = visit()
    rows, columns = np.mgrid[:128, :128] - 63.5
    pixels = np.zeros((128, 128, 4), dtype=np.uint8)
    pixels[..., 0], pixels[..., 2] = 200 * (columns < 0), 200 * (columns > 0)
    pixels[..., 3] = 255 * (np.hypot(rows, columns) < 50)
    ball = tmp_path / "my ball.png"
    PIL.Image.fromarray(pixels).save(ball)
    upload(page, ball)
    generate(page)

    picture = wait_until_drawn(page)
    object_pixels = picture[picture.max(axis=2) < 0.9]
    assert len(object_pixels) > 0.03 * picture.shape[0] * picture.shape[1]
    # from the side that the picture shows: red on the left, blue on the right
    left, right = np.array_split(picture, 2, axis=1)
    for half, strong, weak in ((left, 0, 2), (right, 2, 0)):
        mean = half[half.max(axis=2) < 0.9].mean(axis=0)
        assert mean[strong] > mean[weak] + 0.1

    box = page.locator("#viewer canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 150, box["y"] + box["height"] / 2 + 40, steps=5)
    page.mouse.up()
    page.wait_for_timeout(500)
    assert np.abs(drawn(page) - picture).max() > 0.2  # another view of it

    names = page.locator("#files a").evaluate_all("links => links.map(link => link.download)")
    assert [Path(name).suffix for name in names] == [".glb", ".gltf", ".obj", ".ply", ".stl", ".usdz"]
    with page.expect_download() as download:
        page.locator("#files a").first.click()
    path = tmp_path / "downloaded.glb"
    download.value.save_as(path)
    assert download.value.suggested_filename == "my_ball.glb"
    mesh = trimesh.load(path, force="mesh")
    assert 1000 < len(mesh.faces) <= 40_000

    assert f"{len(mesh.faces):,} faces" in page.locator("#report").inner_text()
    page.wait_for_selector("#turntable video")

    # fewer faces, without the model
    field = page.get_by_label("number input for Faces at most")
    field.fill("2000")
    field.press("Enter")
    page.locator("button#remesh").click()
    page.wait_for_function("() => /\\b(2,000|1,9\\d\\d) faces/.test(document.querySelector('#report').innerText)")


def test_bad_file_is_a_message_and_the_page_goes_on(visit: Callable[..., Any], tmp_path: Path) -> None:
    page = visit()
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    upload(page, bad)
    toast = page.get_by_test_id("toast-body").filter(has_text="bad.png is not a picture that can be read")
    toast.first.wait_for()
    page.locator("#examples button").first.click()
    generate(page)
    assert page.locator("#report").inner_text().startswith("barrel: ")


def test_two_people_at_once(visit: Callable[..., Any]) -> None:
    pages = [visit(), visit()]
    for page, number in zip(pages, (2, 3), strict=True):
        page.locator("#examples button").nth(number).click()
        page.wait_for_selector("#seen img")
    for page in pages:
        page.locator("button#generate").click()
    for page, name in zip(pages, ("sofa", "teddy_bear"), strict=True):
        page.wait_for_selector("#files a")
        assert page.locator("#report").inner_text().startswith(f"{name}: ")
        names = page.locator("#files a").evaluate_all("links => links.map(link => link.download)")
        assert all(file.startswith(f"{name}.") for file in names)
        wait_until_drawn(page)
        keep_screenshots(page, name)


def test_pasted_pictures_and_no_mouse(visit: Callable[..., Any]) -> None:
    page = visit()
    content = base64.b64encode(example_pictures()[0].read_bytes()).decode()
    page.evaluate(
        """(content) => {
          const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
          const clipboard = new DataTransfer();
          clipboard.items.add(new File([bytes], "pasted.webp", { type: "image/webp" }));
          document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData: clipboard, bubbles: true }));
        }""",
        content,
    )
    page.wait_for_selector("#seen img")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id || document.activeElement.parentElement.id") == "generate":
            break
    else:
        pytest.fail("Tab does not lead to the button")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.wait_for_selector("#files a")
    assert page.locator("#report").inner_text().startswith("pasted: ")


def test_phone(visit: Callable[..., Any]) -> None:
    page = visit(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    page.locator("#examples button").nth(3).tap()
    generate(page)
    wait_until_drawn(page)
    # nothing sticks out to the right, nothing is too small to read or to hit
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("parseFloat(getComputedStyle(document.querySelector('#report')).fontSize)") >= 12
    for button in page.locator("#examples button, button#generate, button#remesh").all():
        box = button.bounding_box()
        assert box["height"] >= 40 and box["x"] >= 0 and box["x"] + box["width"] <= 390
    keep_screenshots(page, "phone")
