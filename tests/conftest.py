# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What holds for every test: no network, no state of the user's own, one share of the cores, no GPU unless asked for.

The environment is set here, before any test module imports a library, since huggingface_hub reads it at import.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import tempfile
from ipaddress import ip_address
from typing import Any

import pytest


# A test that talks to a loopback Hub overrides these for its own process or by monkeypatch.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_XET"] = "1"
for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT"):
    os.environ.pop(name, None)

# Neither the user's cache nor the user's token decides what a test sees.
_HF_HOME = tempfile.mkdtemp(prefix="lrm_hf_tests_")
os.environ["HF_HOME"] = _HF_HOME
atexit.register(shutil.rmtree, _HF_HOME, ignore_errors=True)

# Test processes that each take all cores are slower than one process.
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_THREADS = max(1, (os.cpu_count() or 1) // _WORKERS)
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, str(_THREADS))

# Triton decides where a kernel is defined whether it compiles or runs in the interpreter, on the CPU.
import torch  # noqa: E402


if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"


def _is_loopback(host: Any) -> bool:
    if isinstance(host, bytes):
        host = host.decode()
    if host in (None, "", "localhost"):
        return True
    try:
        return ip_address(str(host).split("%")[0]).is_loopback
    except ValueError:
        return False


def _forbid_network(patch: pytest.MonkeyPatch) -> None:
    """Every machine looks offline but for its loopback addresses, so that a test behaves the same wherever it runs."""
    connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def check(sock: socket.socket, address: Any) -> None:
        if sock.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
            raise OSError(f"tests have no network: connection to {address[0]}:{address[1]} refused")

    def guarded_connect(sock: socket.socket, address: Any) -> None:
        check(sock, address)
        connect(sock, address)

    def guarded_connect_ex(sock: socket.socket, address: Any) -> int:
        check(sock, address)
        return connect_ex(sock, address)

    def guarded_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> list[Any]:
        if not _is_loopback(host):
            raise socket.gaierror(socket.EAI_NONAME, f"tests have no network: {host!r} is not looked up")
        return getaddrinfo(host, *args, **kwargs)

    patch.setattr(socket.socket, "connect", guarded_connect)
    patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    patch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        _forbid_network(patch)
        yield


@pytest.fixture(scope="session", autouse=True)
def _torch_threads() -> None:
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_items:
        return
    if not torch.cuda.is_available():
        skip = pytest.mark.skip(reason="needs a CUDA device, torch.cuda.is_available() is False")
        for item in gpu_items:
            item.add_marker(skip)
