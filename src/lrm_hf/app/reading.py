# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Requests that trickle in must not hold a connection for ever: they have to arrive within a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any


Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Application = Callable[[MutableMapping[str, Any], Receive, Callable[[Message], Awaitable[None]]], Awaitable[None]]


class DeadlineMiddleware:
    """ASGI middleware: a body that is not complete after `seconds` is a 408. What comes after the body, such as that
    the client has gone, may take as long as it likes."""

    def __init__(self, app: Application, seconds: float):
        self.app = app
        self.seconds = seconds

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Receive, send: Callable[[Message], Awaitable[None]]
    ) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        from starlette.exceptions import HTTPException

        end = time.monotonic() + self.seconds
        complete = False

        async def receive_in_time() -> Message:
            nonlocal complete
            if complete:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, end - time.monotonic()))
            except TimeoutError as error:
                raise HTTPException(
                    408, f"the request did not arrive within {self.seconds:g} s.", {"Connection": "close"}
                ) from error
            complete = message["type"] != "http.request" or not message.get("more_body", False)
            return message

        await self.app(scope, receive_in_time, send)
