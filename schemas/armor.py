"""Text armour of sealed secrets and keys: a label, headers, base64, in the manner of PEM. Pure.

Lines before the first dashes are remarks for people. What is read is strict: one block, known line lengths, canonical
base64; whatever else there is, is an error with its line.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass

_BEGIN = re.compile(r"-----BEGIN AUTOMATOR67 ([A-Z ]+)-----\Z")
_HEADER = re.compile(r"([A-Z][A-Za-z-]*): ([!-~](?:[ -~]*[!-~])?)\Z")
_WIDTH = 64


class ArmorError(ValueError):
    """The text is not one block of armour; ``line`` (from 1) says where."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Block:
    """What a block says: its label, its headers with the line of each, and its content."""

    label: str
    headers: Mapping[str, str]
    lines: Mapping[str, int]
    body: bytes


def write_block(label: str, headers: Mapping[str, str], body: bytes, remarks: tuple[str, ...] = ()) -> str:
    """Return the text of a block, after remarks, each of which gets a line that begins with ``#``."""
    encoded = base64.b64encode(body).decode()
    lines = [f"# {remark}" for remark in remarks]
    lines.append(f"-----BEGIN AUTOMATOR67 {label}-----")
    lines += [f"{key}: {value}" for key, value in headers.items()]
    lines.append("")
    lines += [encoded[at : at + _WIDTH] for at in range(0, len(encoded), _WIDTH)]
    return "\n".join([*lines, f"-----END AUTOMATOR67 {label}-----", ""])


def read_block(data: bytes, label: str) -> Block:
    """Return the one block of a text, which must have this label. Raises ArmorError."""
    try:
        lines = data.decode("ascii").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ArmorError(line, "there is something other than plain ASCII text") from None
    start = 0
    while start < len(lines) and (not lines[start] or lines[start].startswith("#")):
        start += 1
    found = _BEGIN.match(lines[start]) if start < len(lines) else None
    if found is None:
        raise ArmorError(min(start + 1, len(lines)), f"-----BEGIN AUTOMATOR67 {label}----- is missing")
    if found[1] != label:
        raise ArmorError(start + 1, f"this is a {found[1].lower()}, not a {label.lower()}")
    headers, where, at = _headers(lines, start + 1)
    end = f"-----END AUTOMATOR67 {label}-----"
    if end not in lines[at:]:
        raise ArmorError(len(lines), f"{end} is missing: the file is cut off")
    stop = lines.index(end, at)
    if any(lines[stop + 1 :]):
        raise ArmorError(stop + 2, "there is something after the end")
    return Block(label, headers, where, _body(lines, at, stop))


def _headers(lines: list[str], at: int) -> tuple[dict[str, str], dict[str, int], int]:
    """Return headers, their lines, and the index of the line after the empty one that ends them."""
    headers: dict[str, str] = {}
    where: dict[str, int] = {}
    while at < len(lines) and lines[at]:
        found = _HEADER.match(lines[at])
        if found is None or found[1] in headers:
            raise ArmorError(at + 1, "this line is not a header, such as Version: 1, and no empty line came before it")
        headers[found[1]], where[found[1]] = found[2], at + 1
        at += 1
    return headers, where, at + 1


def _body(lines: list[str], at: int, stop: int) -> bytes:
    for number in range(at, stop):
        long, last = len(lines[number]) > _WIDTH, number == stop - 1
        if long or (not last and len(lines[number]) < _WIDTH):
            raise ArmorError(number + 1, f"this line does not have {_WIDTH} characters: the content was changed")
    try:
        text = "".join(lines[at:stop])
        body = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ArmorError(at + 1, "the content is not base64") from None
    if not body or base64.b64encode(body).decode() != text:
        raise ArmorError(at + 1, "the content is not canonical base64" if body else "there is no content")
    return body
