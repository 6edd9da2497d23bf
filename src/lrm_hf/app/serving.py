# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Running an ASGI application with uvicorn: until interrupted, or in a thread."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any


START_SECONDS = 60.0


def open_port(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one.

    Raises:
        OSError: if the port is taken, or the address is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise OSError(f"can't listen on {host}, port {port}: {error}") from error


def address_of(listener: socket.socket) -> str:
    """ "http://127.0.0.1:7860", as a browser on this machine takes it."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(
    application: Any,
    listener: socket.socket,
    started: Callable[[str], None],
    graceful_seconds: int = 5,
    log_level: str = "critical",
) -> None:
    """Serves until the process is told to end (SIGINT, SIGTERM); then requests in flight may finish.

    Args:
        application: ASGI.
        listener: of `open_port`; closed at the end.
        started: told the address once requests are answered.
        graceful_seconds: how long requests in flight may take.
        log_level: of uvicorn.
    """
    server = _server(application, started, address_of(listener), graceful_seconds, log_level)
    # uvicorn repeats the signal once it is done: for Ctrl-C that is all there is to say
    with closing(listener), suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


@contextmanager
def running(application: Any, listener: socket.socket, graceful_seconds: int = 5) -> Iterator[str]:
    """Serves in a thread for as long as the block lasts; gives the address.

    Raises:
        RuntimeError: if it does not start.
    """
    server = _server(application, lambda address: None, address_of(listener), graceful_seconds, "critical")
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    with closing(listener):
        thread.start()
        try:
            deadline = time.monotonic() + START_SECONDS
            while not server.started:
                if not thread.is_alive() or time.monotonic() > deadline:
                    raise RuntimeError("the server did not start; what uvicorn has logged says why.")
                time.sleep(0.02)
            yield address_of(listener)
        finally:
            server.should_exit = True
            thread.join(graceful_seconds + START_SECONDS)


def _server(
    application: Any, started: Callable[[str], None], address: str, graceful_seconds: int, log_level: str
) -> Any:
    try:
        import uvicorn
    except ImportError as error:
        raise ImportError('serving needs uvicorn: pip install "lrm_hf[serve]" (or "lrm_hf[app]")') from error

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                started(address)

    return Server(
        uvicorn.Config(
            application, log_level=log_level, timeout_graceful_shutdown=graceful_seconds, access_log=log_level == "info"
        )
    )
