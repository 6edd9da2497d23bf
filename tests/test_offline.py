# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The promise of tests/conftest.py: no test reaches beyond this machine, and the user's own settings play no part."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest


def test_addresses_beyond_this_machine_are_refused() -> None:
    with pytest.raises(socket.gaierror, match=r"example\.org"):
        socket.create_connection(("example.org", 443), timeout=1)
    # 192.0.2.0/24 is reserved for documentation: nothing answers there in any case.
    with socket.socket() as client, pytest.raises(OSError, match=r"no network: connection to 192\.0\.2\.1:80"):
        client.connect(("192.0.2.1", 80))


def test_loopback_works() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with socket.create_connection(("localhost", server.getsockname()[1]), timeout=5) as client:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"ok")
            assert client.recv(2) == b"ok"


def test_hub_is_offline_with_an_empty_home() -> None:
    from huggingface_hub import constants, get_token

    assert constants.HF_HUB_OFFLINE
    assert Path(constants.HF_HOME) == Path(os.environ["HF_HOME"])
    assert Path.home() / ".cache" not in Path(constants.HF_HOME).parents
    assert get_token() is None
