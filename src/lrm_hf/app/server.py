# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The HTTP endpoint: a picture in, a mesh out. Every error is JSON, `{"error": {"type": ..., "message": ...}}`."""

from __future__ import annotations

import shutil
import sys
import time
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from . import serving
from .jobs import DeadlineError, Job, QueueFullError, Worker
from .limits import megabytes, read_picture
from .reading import ReadingMiddleware
from .studio import MeshSettings, PictureSettings, Studio, file_stem


if TYPE_CHECKING:
    import fastapi


MEDIA_TYPES = {
    "glb": "model/gltf-binary",
    "gltf": "model/gltf+json",
    "obj": "model/obj",
    "ply": "application/octet-stream",
    "stl": "model/stl",
    "usdz": "model/vnd.usdz+zip",
    "zip": "application/zip",
}
# what a request is told to wait for before the next try, in seconds
RETRY_AFTER = 5
# of a request, beside the picture: fields and what multipart puts between them
ENVELOPE_BYTES = 64 * 1024


def create_server(
    studio: Studio, max_queue: int = 8, timeout: float = 120.0, read_timeout: float = 30.0
) -> fastapi.FastAPI:
    """The endpoint as an ASGI application. It closes `studio` when it is shut down.

    Args:
        studio: what does the work; its default model is the one that is used.
        max_queue: requests that may wait beside the one that is worked on.
        timeout: seconds that a request may wait and be worked on, together.
        read_timeout: seconds within which a request must have arrived.

    Raises:
        ImportError: without fastapi or python-multipart.
        TypeError, ValueError: naming the argument that is out of range.
    """
    try:
        import fastapi
        import python_multipart  # noqa: F401  (fastapi would look for it later, and say less)
    except ImportError as error:
        raise ImportError('the endpoint needs fastapi: pip install "lrm_hf[serve]"') from error
    for name, value in (("timeout", timeout), ("read_timeout", read_timeout)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
            raise ValueError(f"`{name}` must be a positive number of seconds, got {value!r}.")
    from fastapi import Form, UploadFile

    from .. import __version__
    from ..meshing import EXPORT_FORMATS

    worker, limits, begin = Worker(max_queue), studio.limits, time.monotonic()
    max_bytes = limits.upload_bytes + ENVELOPE_BYTES

    def too_large() -> Any:
        message = f"the request is too large; at most {megabytes(limits.upload_bytes)} are allowed."
        return error_response(413, "too_large", message, {"Connection": "close"})

    @asynccontextmanager
    async def lifespan(_: fastapi.FastAPI) -> AsyncIterator[None]:
        await worker.run(lambda job: studio.load(), 3600.0)  # not with the first request
        yield
        worker.close()
        studio.close()

    app = fastapi.FastAPI(
        title="lrm_hf",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # its page is made of files of other servers
        redoc_url=None,
    )
    app.add_middleware(ReadingMiddleware, seconds=read_timeout, max_bytes=max_bytes, too_large=too_large)
    _add_error_handlers(app, too_large)

    @app.get("/health")
    def health() -> dict[str, Any]:
        """Whether it answers, and how busy it is."""
        return {
            "status": "ok",
            "version": __version__,
            "model": studio.models[0],
            "device": str(studio.device),
            "busy": worker.busy,
            "waiting": worker.waiting,
            "seconds_up": round(time.monotonic() - begin, 1),
        }

    async def generate(
        picture: UploadFile,
        format: str = Form("glb"),
        resolution: int = Form(MeshSettings.resolution),
        threshold: float | None = Form(None),
        target_faces: int | None = Form(None),
        texture: int | None = Form(None),
        largest_component: bool = Form(False),
        smooth: int = Form(0),
        watertight: bool = Form(False),
        ground: bool = Form(False),
        foreground_ratio: float | None = Form(None),
        background: str = Form("model"),
        cut_out: str = Form("auto"),
    ) -> fastapi.Response:
        """A mesh of the object in a picture, as the file's bytes."""
        if format not in EXPORT_FORMATS:
            raise ValueError(f"`format` must be one of {', '.join(EXPORT_FORMATS)}, got {format!r}.")
        settings = PictureSettings(foreground_ratio, background, cut_out)
        mesh = MeshSettings(resolution, threshold, target_faces, texture, largest_component, smooth, watertight, ground)
        mesh.check(limits)
        name = picture.filename or "picture"
        content = await picture.read()

        def work(job: Job) -> fastapi.Response:
            image = read_picture(content, limits, name)
            made = studio.make(image, file_stem(name), settings=settings, report=job.check)
            try:
                surface = studio.mesh(made, mesh, job.check)
                job.check()
                path = studio.write(made, format)
                body = path.read_bytes()
            finally:
                shutil.rmtree(made.directory, ignore_errors=True)
            headers = {
                "Content-Disposition": f'attachment; filename="{_ascii(path.name)}"',
                "X-Faces": str(len(surface.faces)),
                "X-Seconds": f"{sum(made.seconds.values()):.3f}",
            }
            return fastapi.Response(body, media_type=MEDIA_TYPES[path.suffix[1:]], headers=headers)

        return await worker.run(work, timeout)

    # names in the signature are looked up in the module, where fastapi is not imported
    generate.__annotations__ |= {"picture": UploadFile, "return": fastapi.Response}
    app.post("/generate", response_class=fastapi.Response)(generate)
    return app


def run_server(
    studio: Studio,
    host: str = "127.0.0.1",
    port: int = 8000,
    max_queue: int = 8,
    timeout: float = 120.0,
    read_timeout: float = 30.0,
    started: Callable[[str], None] = print,
    log_level: str = "info",
) -> None:
    """Serves the endpoint until the process is told to end; requests that are worked on then are finished.

    Args:
        host: address to listen on; "0.0.0.0" for all of them.
        port: 0 for a free one.
        started: told the address once requests are answered.
        log_level: of uvicorn; "info" has a line per request.
        studio, max_queue, timeout, read_timeout: see `create_server`.

    Raises:
        ImportError: without fastapi or uvicorn.
        OSError: if the port is taken.
    """
    app = create_server(studio, max_queue, timeout, read_timeout)
    serving.run(app, serving.open_port(host, port), started, int(timeout) + 1, log_level)


def error_response(
    status: int, kind: str, message: str, headers: dict[str, str] | None = None
) -> fastapi.responses.JSONResponse:
    """What every error looks like."""
    from fastapi.responses import JSONResponse

    return JSONResponse({"error": {"type": kind, "message": message}}, status, headers)


def _add_error_handlers(app: fastapi.FastAPI, too_large: Callable[[], Any]) -> None:
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    kinds = {404: "not_found", 405: "method_not_allowed", 408: "request_timeout"}

    @app.exception_handler(HTTPException)
    async def http_error(_: Any, error: HTTPException) -> Any:
        if error.status_code == 413:
            return too_large()
        kind = kinds.get(error.status_code, "bad_request")
        return error_response(error.status_code, kind, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Any, error: RequestValidationError) -> Any:
        details = [f"`{'.'.join(map(str, item['loc'][1:]))}`: {item['msg']}" for item in error.errors()]
        return error_response(422, "invalid_request", "; ".join(details) + ".")

    async def bad_input(_: Any, error: Exception) -> Any:
        return error_response(422, "invalid_request", " ".join(str(error).split()))

    async def unavailable(_: Any, error: Exception) -> Any:
        traceback.print_exception(error, file=sys.stderr)
        return error_response(500, "unavailable", " ".join(str(error).split()))

    for kind in (ValueError, TypeError):
        app.add_exception_handler(kind, bad_input)
    app.add_exception_handler(ImportError, unavailable)

    @app.exception_handler(QueueFullError)
    async def full(_: Any, __: QueueFullError) -> Any:
        message = "too many requests are waiting; try again later."
        return error_response(503, "busy", message, {"Retry-After": str(RETRY_AFTER)})

    @app.exception_handler(DeadlineError)
    async def late(_: Any, __: DeadlineError) -> Any:
        return error_response(504, "timeout", "the work took longer than is allowed; ask for less, or try again later.")

    @app.exception_handler(MemoryError)
    async def memory(_: Any, error: MemoryError) -> Any:
        return error_response(507, "out_of_memory", " ".join(str(error).split()))

    @app.exception_handler(Exception)
    async def defect(_: Any, error: Exception) -> Any:
        return error_response(500, "internal", "something went wrong; the server's log says more.")


def _ascii(name: str) -> str:
    """A file name that a header can hold."""
    return name.encode("ascii", "replace").decode().replace("?", "_").replace('"', "_")
