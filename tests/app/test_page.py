# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The page's endpoints, called by a script over the loopback, as docs/app.md has it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import requests
import trimesh
from app_parts import save_model, save_pictures, small_studio
from tiny_models import pictures

from lrm_hf import LRMPipeline
from lrm_hf.app import serving
from lrm_hf.app.page import create_page, example_pictures, page_application
from lrm_hf.app.studio import Studio


pytest.importorskip("gradio", reason="needs the extra `app`")
gradio_client = pytest.importorskip("gradio_client")


class Page:
    """A page that is served, and its studio."""

    def __init__(self, address: str, studio: Studio, directory: Path):
        self.address, self.studio, self.directory = address, studio, directory
        self.pictures = save_pictures(directory, 3)

    def client(self) -> Any:
        return gradio_client.Client(self.address, verbose=False, download_files=str(self.directory / "downloads"))

    def gallery(self, *paths: Path) -> list[dict[str, Any]]:
        return [{"image": gradio_client.handle_file(path), "caption": None} for path in paths]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_model(tmp_path_factory.mktemp("page") / "model")


@pytest.fixture(scope="module")
def page(model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lrm_hf.app.studio.TURNTABLE_FRAMES", 4)
        patch.setattr("lrm_hf.app.studio.TURNTABLE_SIZE", 32)
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        studio = small_studio(model)
        application = page_application(create_page(studio), studio)
        with serving.running(application, serving.open_port("127.0.0.1", 0)) as address:
            yield Page(address, studio, tmp_path_factory.mktemp("things"))
        studio.close()


SMALL = {"resolution": 16, "target_faces": 0}


def test_generate_then_everything_else_without_the_model(
    page: Page, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = page.client()
    path, report = client.predict(pictures=page.gallery(page.pictures[0]), **SMALL, api_name="/generate")
    expected = LRMPipeline.from_pretrained(model)(pictures(1)[0], mesh_resolution=16, num_views=0).meshes[0]
    mesh = trimesh.load(path, force="mesh")
    assert Path(path).name == "thing_0.glb"
    assert len(mesh.faces) == len(expected.faces)
    assert report.startswith(f"thing_0: {len(expected.vertices):,} vertices, {len(expected.faces):,} faces. Load ")
    assert "reconstruct" in report and "free" in report

    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("the model ran again")

    monkeypatch.setattr(type(page.studio.load().model), "forward", forbidden)
    monkeypatch.setattr(Studio, "make", forbidden)
    path, report = client.predict(number=0, resolution=16, target_faces=3000, api_name="/mesh")
    assert len(trimesh.load(path, force="mesh").faces) <= 3000
    files = client.predict(number=0, api_name="/files")
    assert [Path(file).name for file in files] == [
        f"thing_0.{suffix}" for suffix in ("glb", "gltf", "obj", "ply", "stl", "usdz")
    ]
    assert all(Path(file).stat().st_size > 1000 for file in files)
    assert len(trimesh.load(files[3]).faces) == len(trimesh.load(path, force="mesh").faces)
    video = client.predict(number=0, api_name="/turntable")
    assert Path(video["video"] if isinstance(video, dict) else video).suffix == ".mp4"
    assert len(client.predict(number=0, api_name="/files")) == 7  # with the turntable
    # a choice as the API announces it
    choices = client.view_api(return_format="dict", print_info=False)["named_endpoints"]["/mesh"]["parameters"]
    texture = next(parameter for parameter in choices if parameter["parameter_name"] == "texture")
    assert "'512'" in texture["python_type"]["type"]
    path, _ = client.predict(number=0, resolution=16, target_faces=3000, texture="512", api_name="/mesh")
    assert trimesh.load(path, force="mesh").visual.material.baseColorTexture.size == (512, 512)


def test_several_pictures_are_several_objects(page: Page) -> None:
    client = page.client()
    client.predict(pictures=page.gallery(*page.pictures), **SMALL, api_name="/generate")
    faces = []
    for number in range(3):
        path, report = client.predict(number=number, **SMALL, api_name="/mesh")
        assert report.startswith(f"thing_{number}: ")
        faces.append(len(trimesh.load(path, force="mesh").faces))
    assert len(set(faces)) == 3
    with pytest.raises(Exception, match="`number` must be from 0 to 2, got 3"):
        client.predict(number=3, **SMALL, api_name="/mesh")


def test_see_is_what_the_model_sees(page: Page) -> None:
    gallery = page.client().predict(
        pictures=page.gallery(page.pictures[0]), foreground_ratio=0.6, background="grey", api_name="/see"
    )
    seen = np.asarray(PIL.Image.open(gallery[0]["image"]).convert("RGB"))
    assert seen.shape == (32, 32, 3) and seen[0, 0].tolist() == [128, 128, 128]


def test_sessions_know_nothing_of_each_other(page: Page) -> None:
    first, second = page.client(), page.client()
    first.predict(pictures=page.gallery(page.pictures[0]), **SMALL, api_name="/generate")
    with pytest.raises(Exception, match="no object yet: generate one first"):
        second.predict(number=0, **SMALL, api_name="/mesh")
    second.predict(pictures=page.gallery(page.pictures[1]), **SMALL, api_name="/generate")
    _, report = first.predict(number=0, **SMALL, api_name="/mesh")
    assert report.startswith("thing_0: ")
    # what is not kept any more is said to be so
    page.studio.results.drop(list(page.studio.results._made))
    with pytest.raises(Exception, match="not kept any more"):
        first.predict(number=0, **SMALL, api_name="/mesh")


def test_objects_of_a_session_make_room_for_its_next_ones(page: Page) -> None:
    client = page.client()
    before = len(page.studio.results)
    for _ in range(3):
        client.predict(pictures=page.gallery(page.pictures[0]), **SMALL, api_name="/generate")
    assert len(page.studio.results) == before + 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no picture at all", "bad.png is not a picture"),
        (b"", "bad.png is an empty file|empty"),
    ],
)
def test_bad_files_are_a_line(page: Page, content: bytes, message: str) -> None:
    path = page.directory / "bad.png"
    path.write_bytes(content)
    with pytest.raises(Exception, match=message):
        page.client().predict(pictures=page.gallery(path), **SMALL, api_name="/generate")


def test_limits_are_told(page: Page) -> None:
    client = page.client()
    with pytest.raises(Exception, match="There is no picture yet"):
        client.predict(pictures=[], **SMALL, api_name="/generate")
    with pytest.raises(Exception, match="9 pictures at a time; at most 8"):
        client.predict(pictures=page.gallery(*page.pictures * 3), **SMALL, api_name="/generate")
    PIL.Image.new("1", (1200, 900)).save(page.directory / "large.png")
    with pytest.raises(Exception, match="large.png has 1200 x 900 pixels"):
        client.predict(pictures=page.gallery(page.directory / "large.png"), **SMALL, api_name="/generate")
    with pytest.raises(Exception, match="expected an adapter and a factor"):
        client.predict(pictures=page.gallery(page.pictures[0]), adapters="0.5", **SMALL, api_name="/generate")
    with pytest.raises(Exception, match="`target_faces`"):
        client.predict(pictures=page.gallery(page.pictures[0]), resolution=16, target_faces=5, api_name="/generate")


def test_uploads_are_limited_before_they_are_kept(page: Page) -> None:
    files = {"files": ("large.png", b"x" * 400_000)}
    answer = requests.post(f"{page.address}/gradio_api/upload", files=files, timeout=60)
    assert answer.status_code == 413


def test_defects_say_nothing_of_themselves(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret path")

    monkeypatch.setattr(Studio, "make", broken)
    with pytest.raises(Exception, match="Something went wrong") as error:
        page.client().predict(pictures=page.gallery(page.pictures[0]), **SMALL, api_name="/generate")
    assert "secret" not in str(error.value)


def test_the_line_is_bounded_and_one_is_worked_on_at_a_time(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten people at once, with room for four in line: some are sent away, the others are served one by one."""
    make, running, most = Studio.make, [0], [0]
    lock = threading.Lock()

    def counted(self: Studio, *args: Any, **kwargs: Any) -> Any:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        try:
            return make(self, *args, **kwargs)
        finally:
            with lock:
                running[0] -= 1

    monkeypatch.setattr(Studio, "make", counted)
    studio = small_studio(model)
    application = page_application(create_page(studio, max_queue=4), studio)
    with serving.running(application, serving.open_port("127.0.0.1", 0)) as address:
        page = Page(address, studio, tmp_path)
        clients = [page.client() for _ in range(10)]
        jobs = [
            client.submit(pictures=page.gallery(page.pictures[0]), **SMALL, api_name="/generate") for client in clients
        ]
        outcomes = []
        for job in jobs:
            try:
                outcomes.append(job.result(timeout=120)[1])
            except Exception as error:
                outcomes.append(str(error))
    studio.close()
    served = [text for text in outcomes if text.startswith("thing_0: ")]
    refused = [text for text in outcomes if "full" in text.lower()]
    assert len(served) + len(refused) == 10 and len(served) >= 4 and refused, outcomes
    assert most[0] == 1


def test_nothing_is_loaded_from_elsewhere(page: Page) -> None:
    """Not even named, but for links that a reader may follow; the browser test looks at what is fetched."""
    html = requests.get(page.address, timeout=60).text
    assert "fonts.googleapis" not in html and "cdnjs" not in html
    config = requests.get(f"{page.address}/config", timeout=60).json()
    assert config["analytics_enabled"] is False
    assert not any(str(sheet).startswith("http") for sheet in config.get("stylesheets", []))


def test_examples_ship_with_the_package() -> None:
    assert [path.stem for path in example_pictures()] == ["barrel", "cactus", "sofa", "teddy_bear"]
    for path in example_pictures():
        picture = PIL.Image.open(path)
        alpha = np.asarray(picture.convert("RGBA"))[..., 3]
        assert picture.size == (384, 384) and 0.05 < (alpha > 128).mean() < 0.8
        assert path.stat().st_size < 20_000
