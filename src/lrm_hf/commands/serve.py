# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""`lrm-hf serve`: the HTTP endpoint."""

from __future__ import annotations

import argparse

from .app import add_server_options, limits_of
from .common import DONE, choose_device, number, quiet, say


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "serve",
        help="an HTTP endpoint: POST a picture, get a mesh",
        description="Answers POST /generate (a picture as multipart/form-data) with a mesh, and GET /health. Needs the "
        "extra `serve`. One request is worked on at a time; errors are JSON. It has no passwords and no TLS: put it "
        "behind a proxy that has them.",
    )
    command.set_defaults(run=serve)
    add_server_options(command, port=8000, queue=8, models="one only")
    add = command.add_argument
    add("--timeout", type=number(0, 86400), default=120, metavar="S", help="of a request (default: %(default)s)")
    add("--read-timeout", type=number(0, 3600), default=30, metavar="S", help="of its body (default: %(default)s)")
    add("--quiet", action="store_true", help="no line per request")
    add("--debug", action="store_true", help="show tracebacks")


def serve(arguments: argparse.Namespace) -> int:
    """Serves the endpoint until told to end."""
    from ..app import Studio, run_server

    if arguments.model and len(arguments.model) > 1:
        raise ValueError("--model: the endpoint has one model.")
    quiet(arguments.debug)
    studio = Studio(
        arguments.model or ["bundled"],
        any_model=False,
        device=choose_device(arguments.device),
        limits=limits_of(arguments),
    )
    studio.load()
    run_server(
        studio,
        arguments.host,
        arguments.port,
        arguments.max_queue,
        arguments.timeout,
        arguments.read_timeout,
        started=lambda address: say(f"lrm-hf: POST {address}/generate, GET {address}/health"),
        log_level="warning" if arguments.quiet else "info",
    )
    return DONE
