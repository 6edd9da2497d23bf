# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The endpoint: meshes, typed errors, limits; in the process (TestClient) and over the loopback (uvicorn)."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import requests
import trimesh
from app_parts import png, save_model, small_studio
from tiny_models import pictures

from lrm_hf import LRMPipeline
from lrm_hf.app import serving
from lrm_hf.app.server import create_server
from lrm_hf.app.studio import Studio


fastapi = pytest.importorskip("fastapi", reason="needs the extra `serve`")
TestClient = pytest.importorskip("fastapi.testclient").TestClient
SRC = Path(__file__).parents[2] / "src"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_model(tmp_path_factory.mktemp("server") / "model")


@pytest.fixture(scope="module")
def client(model: str) -> Iterator[Any]:
    app = create_server(small_studio(model, any_model=False))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def post(client: Any, content: bytes | None = None, name: str = "my owl.png", **fields: Any) -> Any:
    content = png(pictures(1)[0]) if content is None else content
    return client.post("/generate", files={"picture": (name, content)}, data={"resolution": 24, **fields})


def test_health(client: Any, model: str) -> None:
    answer = client.get("/health")
    assert answer.status_code == 200
    body = answer.json()
    assert body["status"] == "ok" and body["model"] == model and body["device"] == "cpu"
    assert body["busy"] is False and body["waiting"] == 0


def test_same_mesh_as_the_pipeline(client: Any, model: str) -> None:
    answer = post(client)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "model/gltf-binary"
    assert answer.headers["content-disposition"] == 'attachment; filename="my_owl.glb"'
    expected = LRMPipeline.from_pretrained(model)(pictures(1)[0], mesh_resolution=24, num_views=0).meshes[0]
    mesh = trimesh.load(io.BytesIO(answer.content), file_type="glb", force="mesh")
    assert len(mesh.faces) == len(expected.faces) == int(answer.headers["x-faces"])
    x, y, z = np.asarray(expected.bounds).T  # glTF is y up, facing +z
    np.testing.assert_allclose(mesh.bounds.T, [x, z, [-y[1], -y[0]]], atol=1e-6)


@pytest.mark.parametrize("suffix", ["obj", "ply", "stl"])
def test_other_formats(client: Any, suffix: str) -> None:
    answer = post(client, format=suffix, target_faces=5000, largest_component=True)
    assert answer.status_code == 200, answer.text
    mesh = trimesh.load(io.BytesIO(answer.content), file_type=suffix, force="mesh")
    assert 4 < len(mesh.faces) <= 5000
    assert f'.{suffix}"' in answer.headers["content-disposition"]


def test_no_files_are_left(model: str) -> None:
    studio = small_studio(model)
    root = studio.results.new_directory().parent
    with TestClient(create_server(studio)) as client:
        post(client)
        post(client, b"no picture")
        assert [path for path in root.rglob("*") if path.is_file()] == []
        assert len(list(root.iterdir())) == 1  # that of `new_directory`
    assert not root.exists()


def error_of(answer: Any) -> dict[str, str]:
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"error"} and set(body["error"]) == {"type", "message"}
    return body["error"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format": "fbx"}, "`format` must be one of glb"),
        ({"resolution": 65}, "`resolution` must be from 16 to 64"),
        ({"resolution": "many"}, "`resolution`: Input should be a valid integer"),
        ({"target_faces": 3}, "`target_faces`"),
        ({"background": "pink"}, "`background` must be one of"),
        ({"threshold": 1e6}, "threshold"),
    ],
)
def test_fields_out_of_range(client: Any, fields: dict[str, Any], message: str) -> None:
    answer = post(client, **fields)
    assert answer.status_code == 422
    error = error_of(answer)
    assert error["type"] == "invalid_request" and message in error["message"]


def test_what_is_no_picture(client: Any) -> None:
    for content, message in (
        (b"no picture", "bad.png is not a picture"),
        (b"", "bad.png is an empty file"),
        (png(PIL.Image.new("1", (1200, 900))), "bad.png has 1200 x 900 pixels; at most 1 million"),
    ):
        answer = post(client, content, "bad.png")
        assert answer.status_code == 422 and message in error_of(answer)["message"]
    answer = client.post("/generate", data={"resolution": 24})
    assert answer.status_code == 422 and "`picture`: Field required" in error_of(answer)["message"]


def test_paths_and_methods(client: Any) -> None:
    assert error_of(client.get("/nothing"))["type"] == "not_found"
    answer = client.get("/generate")
    assert answer.status_code == 405 and error_of(answer)["type"] == "method_not_allowed"


def test_too_large(client: Any) -> None:
    answer = post(client, b"x" * 500_000)
    assert answer.status_code == 413
    assert error_of(answer)["type"] == "too_large"


def test_defects_say_nothing_of_themselves(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret path")

    monkeypatch.setattr(Studio, "make", broken)
    answer = post(client)
    assert answer.status_code == 500
    assert error_of(answer) == {"type": "internal", "message": "something went wrong; the server's log says more."}

    def full(*_: Any, **__: Any) -> None:
        raise MemoryError("lower `resolution`")

    monkeypatch.setattr(Studio, "make", full)
    answer = post(client)
    assert answer.status_code == 507 and error_of(answer)["message"] == "lower `resolution`"


@contextlib.contextmanager
def slow_server(model: str, monkeypatch: pytest.MonkeyPatch, **arguments: Any) -> Iterator[tuple[str, Any, Any]]:
    """A real server whose work waits until it is told to go on."""
    begun, go = threading.Event(), threading.Event()
    make = Studio.make

    def wait_and_make(self: Studio, *args: Any, **kwargs: Any) -> Any:
        begun.set()
        assert go.wait(60)
        return make(self, *args, **kwargs)

    monkeypatch.setattr(Studio, "make", wait_and_make)
    app = create_server(small_studio(model), **arguments)
    with serving.running(app, serving.open_port("127.0.0.1", 0)) as address:
        try:
            yield address, begun, go
        finally:
            go.set()


def request(address: str) -> requests.Response:
    files = {"picture": ("a.png", png(pictures(1)[0]))}
    return requests.post(f"{address}/generate", files=files, data={"resolution": 16}, timeout=60)


def test_full_line_and_health_meanwhile(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with slow_server(model, monkeypatch, max_queue=0) as (address, begun, go):
        answers: list[requests.Response] = []
        thread = threading.Thread(target=lambda: answers.append(request(address)))
        thread.start()
        assert begun.wait(60)
        assert requests.get(f"{address}/health", timeout=60).json()["busy"] is True
        busy = request(address)
        assert busy.status_code == 503 and busy.headers["retry-after"] == "5"
        assert busy.json()["error"]["type"] == "busy"
        go.set()
        thread.join(60)
        assert answers[0].status_code == 200 and answers[0].content[:4] == b"glTF"


def test_time_over(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with slow_server(model, monkeypatch, timeout=0.2) as (address, _, _go):
        late = request(address)
        assert late.status_code == 504 and late.json()["error"]["type"] == "timeout"


def raw(address: str, head: bytes) -> bytes:
    """What comes back for the beginning of a request, over a socket."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(head)
        received = b""
        while part := connection.recv(65536):
            received += part
            if b"\r\n\r\n" in received and received.endswith(b"}"):
                break
        return received


def test_bodies_that_trickle_or_never_end(model: str) -> None:
    app = create_server(small_studio(model), read_timeout=0.3)
    with serving.running(app, serving.open_port("127.0.0.1", 0)) as address:
        head = b"POST /generate HTTP/1.1\r\nHost: here\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        begin = b'--x\r\nContent-Disposition: form-data; name="picture"; filename="a.png"\r\n\r\nabc'
        answer = raw(address, head + b"Content-Length: 5000\r\n\r\n" + begin)
        assert answer.startswith(b"HTTP/1.1 408") and b'"request_timeout"' in answer
        # without a length, the bytes themselves are counted
        chunk = b"186A0\r\n" + b"y" * 100_000 + b"\r\n"
        answer = raw(
            address, head + b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n" % len(begin) + begin + b"\r\n" + chunk * 5
        )
        assert answer.startswith(b"HTTP/1.1 413") and b'"too_large"' in answer


def test_the_command_serves_and_ends_on_sigterm(model: str) -> None:
    """What is worked on when the signal comes is still answered."""
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    command = [sys.executable, "-m", "lrm_hf.cli", "serve", "--port", "0", "--model", model, "--device", "cpu"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stderr is not None
            line = next(line for line in process.stderr if "POST http" in line)
            address = line.split("POST ")[1].split("/generate")[0]
            answer = request(address)
            assert answer.status_code == 200 and answer.content[:4] == b"glTF"
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode in (0, -signal.SIGTERM)


def test_a_taken_port_is_named() -> None:
    with (
        contextlib.closing(serving.open_port("127.0.0.1", 0)) as taken,
        pytest.raises(OSError, match=f"can't listen on 127.0.0.1, port {taken.getsockname()[1]}"),
    ):
        serving.open_port("127.0.0.1", taken.getsockname()[1])


@pytest.mark.parametrize(("name", "value"), [("timeout", 0), ("read_timeout", float("inf")), ("max_queue", -1)])
def test_arguments_out_of_range(model: str, name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"`{name.replace('queue', 'waiting')}`"):
        create_server(small_studio(model), **{name: value})
