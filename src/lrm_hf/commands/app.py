# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""`lrm-hf app`: the page in a browser."""

from __future__ import annotations

import argparse
import ipaddress
from typing import TYPE_CHECKING

from .common import DONE, choose_device, number, quiet, say, whole


if TYPE_CHECKING:
    from ..app import Limits, Studio


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "app",
        help="a page in the browser: pictures in, objects out",
        description="Serves a page where pictures are dropped, objects are turned round and files are downloaded, and "
        "prints its address. Needs the extra `app`. Nothing is loaded from elsewhere. If others can reach it, they can "
        "choose among the models and adapters named here only, unless --any-model is given.",
    )
    command.set_defaults(run=app)
    add = command.add_argument
    add(
        "--adapter",
        action="append",
        default=[],
        metavar="DIR_OR_REPO",
        help="an adapter that may be chosen; may be given several times",
    )
    add_server_options(command, port=7860, queue=20, models="may be given several times; the first is the default")
    add("--any-model", action="store_true", help="whoever opens the page may load any model and adapter")
    add("--keep-models", type=whole(1, 100), default=1, metavar="N", help="in memory at a time (default: %(default)s)")
    add("--keep-mb", type=whole(1, 10**6), default=1024, metavar="MB", help="of objects kept (default: %(default)s)")
    add("--root-path", metavar="PATH", help="where the page lies behind a proxy, such as /objects")
    add("--open", action="store_true", help="open it in a browser")
    add("--debug", action="store_true", help="show tracebacks")


def add_server_options(command: argparse.ArgumentParser, port: int, queue: int, models: str) -> None:
    """What page and endpoint have in common."""
    add = command.add_argument
    add(
        "--model",
        action="append",
        metavar="DIR_OR_REPO",
        help=f"directory or Hub repository, or 'bundled' (the default); {models}",
    )
    add("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all (default: %(default)s)")
    add("--port", type=whole(0, 65535), default=port, help="0: a free one (default: %(default)s)")
    add("--max-queue", type=whole(1, 10000), default=queue, metavar="N", help="that may wait (default: %(default)s)")
    add("--max-upload-mb", type=number(0, 1000), default=20, metavar="MB", help="of a picture (default: %(default)s)")
    add(
        "--max-megapixels",
        type=number(0, 1000),
        default=50,
        metavar="MP",
        help="of a picture (default: %(default)s)",
    )
    add(
        "--max-resolution",
        type=whole(16, 1024),
        default=512,
        metavar="N",
        help="of a mesh's grid (default: %(default)s)",
    )
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps ... (default: a CUDA device if there is one)")


def limits_of(arguments: argparse.Namespace) -> Limits:
    from ..app import Limits
    from ..app.limits import MIB

    return Limits(
        upload_bytes=max(1, round(arguments.max_upload_mb * MIB)),
        pixels=max(1, round(arguments.max_megapixels * 1e6)),
        resolution=arguments.max_resolution,
    )


def app(arguments: argparse.Namespace) -> int:
    """Serves the page until interrupted."""
    from ..app import launch_page

    studio = _studio(arguments)

    def started(address: str) -> None:
        print(address + (arguments.root_path or ""), flush=True)
        if arguments.open:
            import webbrowser

            webbrowser.open(address)

    launch_page(studio, arguments.host, arguments.port, arguments.max_queue, arguments.root_path, started)
    return DONE


def _studio(arguments: argparse.Namespace) -> Studio:
    from ..app import Studio
    from ..app.limits import MIB
    from ..app.results import Results

    quiet(arguments.debug)
    any_model = arguments.any_model or _is_private(arguments.host)
    if not any_model:
        say("others can reach this page: they choose among the models and adapters named here only (see --any-model).")
    studio = Studio(
        arguments.model or ["bundled"],
        adapters=arguments.adapter,
        any_model=any_model,
        device=choose_device(arguments.device),
        keep_models=arguments.keep_models,
        limits=limits_of(arguments),
        results=Results(max_bytes=arguments.keep_mb * MIB),
    )
    studio.load()  # what is wrong with it is found now
    return studio


def _is_private(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
