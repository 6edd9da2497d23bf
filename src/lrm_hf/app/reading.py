# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Requests that are too large, or trickle in: they are told so early."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any


Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Application = Callable[[MutableMapping[str, Any], Receive, Callable[[Message], Awaitable[None]]], Awaitable[None]]


class ReadingMiddleware:
    """ASGI middleware: a body that is not complete after `seconds` is a 408, one of more than `max_bytes` is answered
    by `too_large`: before it is read if it says so, otherwise as soon as that many have come. What comes after the body
    may take as long as it likes."""

    def __init__(self, app: Application, seconds: float, max_bytes: int, too_large: Callable[[], Application]):
        self.app = app
        self.seconds, self.max_bytes, self.too_large = seconds, max_bytes, too_large

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Receive, send: Callable[[Message], Awaitable[None]]
    ) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        from starlette.exceptions import HTTPException

        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > self.max_bytes:
            await self.too_large()(scope, receive, send)
            return
        end = time.monotonic() + self.seconds
        complete, count = False, 0

        async def receive_in_time() -> Message:
            nonlocal complete, count
            if complete:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, end - time.monotonic()))
            except TimeoutError as error:
                raise HTTPException(
                    408, f"the request did not arrive within {self.seconds:g} s.", {"Connection": "close"}
                ) from error
            count += len(message.get("body", b""))
            if count > self.max_bytes:
                raise HTTPException(413)
            complete = message["type"] != "http.request" or not message.get("more_body", False)
            return message

        await self.app(scope, receive_in_time, send)
