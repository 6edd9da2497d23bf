# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Files as three.js shows them in headless Chromium.

Needs a Chromium and a folder of npm packages with three.js in it (`npm install three gltf-validator`), which the
environment variable `LRM_HF_NODE_MODULES` names. Both stay on loopback. As a program it makes one picture:

    python tests/browser/three_viewer.py owl.glb owl.png
"""

from __future__ import annotations

import base64
import io
import json
import math
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
from PIL import Image

from lrm_hf.cameras import Cameras, orbit_cameras, world_to_gltf


NODE_MODULES = os.environ.get("LRM_HF_NODE_MODULES", "")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
TIMEOUT = 120  # seconds for one picture; software rendering on a busy machine takes some

Z_UP = ("ply", "stl")


def missing() -> str | None:
    """Why no picture can be made here."""
    if not (Path(NODE_MODULES) / "three" / "build").is_dir() or not NODE_MODULES:
        return "LRM_HF_NODE_MODULES names no folder with three.js in it (npm install three)"
    return None if CHROMIUM else "there is no Chromium on the PATH"


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, *args: Any, files: Path, answers: queue.Queue[str], **kwargs: Any) -> None:
        self.files, self.answers = files, answers
        super().__init__(*args, **kwargs)

    def translate_path(self, path: str) -> str:
        path = unquote(path.split("?")[0].split("#")[0])
        if path == "/":
            return str(Path(__file__).with_suffix(".html"))
        root, _, rest = path.lstrip("/").partition("/")
        base = {"files": self.files, "three": Path(NODE_MODULES) / "three"}.get(root, Path("/nowhere"))
        return str(base / rest) if ".." not in Path(rest).parts else "/nowhere"

    def do_POST(self) -> None:
        self.answers.put(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


def show(
    path: Path,
    cameras: Cameras,
    size: int = 256,
    ambient: float = math.pi,
    sun: tuple[float, float, float, float] | None = None,
) -> tuple[np.ndarray, dict[str, Any]]:
    """The file from cameras of the package's frame, shape `(views,)` and of one focal length, on white:
    `(views, size, size, 3)` in [0, 1], and what three.js says of the object.

    Args:
        ambient: light from everywhere; pi shows a matt surface in its own colour.
        sun: direction that more light comes from, in the file's frame, and its strength.
    """
    poses = cameras.cam2world.numpy().astype(float)
    if path.suffix[1:] not in Z_UP:
        poses[:, :3] = world_to_gltf(poses[:, :3].swapaxes(1, 2)).swapaxes(1, 2)
    fov = math.degrees(2 * math.atan(0.5 / float(cameras.intrinsics[0, 1, 1])))
    wanted = {
        "file": path.name,
        "size": size,
        "fov": fov,
        "cam2world": poses.reshape(-1, 16).tolist(),
        "ambient": ambient,
        "sun": sun,
    }
    answers: queue.Queue[str] = queue.Queue()
    handler = partial(_Handler, files=path.parent, answers=answers)
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/#{quote(json.dumps(wanted))}"
        options = ["--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        browser = subprocess.Popen(
            [str(CHROMIUM), *options, "--no-first-run", f"--user-data-dir={profile}", url],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            answer = json.loads(answers.get(timeout=TIMEOUT))
        except queue.Empty:
            raise RuntimeError(f"Chromium gave no picture within {TIMEOUT} s") from None
        finally:
            browser.terminate()
            browser.wait(timeout=30)
            server.shutdown()
    if "error" in answer:
        raise RuntimeError(f"three.js could not show {path.name}: {answer['error']}")
    pictures = [Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) for url in answer.pop("pictures")]
    return np.stack([np.asarray(picture.convert("RGB")) for picture in pictures]) / 255.0, answer


if __name__ == "__main__":
    if missing():
        sys.exit(missing())
    shown, description = show(Path(sys.argv[1]), orbit_cameras(1), size=512)
    Image.fromarray(np.round(shown[0] * 255).astype(np.uint8)).save(sys.argv[2])
    print(json.dumps(description))
