"""Decides from the bytes of a connection whether a whole HTTP/1.1 request has arrived. Pure.

Only framing is looked at, and loosely: the server behind parses strictly. The aim is that no thread waits for a
client: a thread gets a request when nothing of it is missing, or when it is to be refused for its size.
"""

from __future__ import annotations

import re
from typing import Final, Literal

MAX_HEAD_BYTES: Final = 32 * 1024
MAX_BODY_BYTES: Final = 2**20

State = Literal["more", "continue", "whole", "oversize", "head too large"]

_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*(?:\r\n|$)")
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding:[^\r\n]*chunked")
_EXPECT: Final = re.compile(rb"\r\nexpect:[ \t]*100-continue")
_LAST_CHUNK: Final = b"0\r\n\r\n"


class Arrival:
    """The bytes of one request so far, in ``data``."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._body_at = 0
        self._wanted: int | None = None

    def feed(self, piece: bytes) -> State:
        """Add bytes and return what they make of the request.

        ``more``: not whole yet. ``continue``: not whole, and the client waits for "100 Continue" before it sends
        the rest (said once). ``whole``: hand it over. ``oversize``: the head is there and the body is, or will be,
        longer than any that is read; hand it over to be refused, and do not reuse the connection.
        """
        searched = max(0, len(self.data) - 3)
        self.data += piece
        if self._body_at:
            return self._body()
        end = self.data.find(b"\r\n\r\n", searched)
        if end < 0:
            return "head too large" if len(self.data) > MAX_HEAD_BYTES else "more"
        if end > MAX_HEAD_BYTES:
            return "head too large"
        head = bytes(self.data[: end + 2]).lower()
        self._body_at = end + 4
        if _CHUNKED.search(head):
            self._wanted = None
        else:
            length = _LENGTH.search(head)
            self._wanted = int(length.group(1)) if length else 0
        state = self._body()
        return "continue" if state == "more" and _EXPECT.search(head) else state

    def _body(self) -> State:
        size = len(self.data) - self._body_at
        if self._wanted is None:
            if size > MAX_BODY_BYTES:
                return "oversize"
            return "whole" if self.data.endswith(_LAST_CHUNK) else "more"
        if self._wanted > MAX_BODY_BYTES:
            return "oversize"
        return "whole" if size >= self._wanted else "more"
