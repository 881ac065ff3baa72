"""Durations and sizes as people write them in YAML: ``30s``, ``1h30m``, ``128Mi``, ``5MB``."""

from __future__ import annotations

import re
from typing import Final

DURATION_PATTERN: Final = r"^(0|([0-9]+(ms|s|m|h|d|w))+)$"
SIZE_PATTERN: Final = r"^[0-9]+(\.[0-9]+)?(B|kB|KB|MB|GB|TB|Ki|Mi|Gi|Ti|KiB|MiB|GiB|TiB)?$"

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BYTES: Final = {
    "": 1, "B": 1,
    "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip


def seconds(text: str | int | float) -> float:
    """Return the seconds that a duration such as ``1h30m`` means; a bare number is seconds.

    Raises ValueError when it is not a duration.
    """
    if isinstance(text, bool):
        raise ValueError(f"{text!r} is not a duration; write for example 30s or 5m")
    if isinstance(text, (int, float)):
        return float(text)
    if not re.match(DURATION_PATTERN, text):
        raise ValueError(f"{text!r} is not a duration; write for example 30s, 5m or 1h30m")
    return sum(int(n) * _SECONDS[unit] for n, unit in re.findall(r"([0-9]+)(ms|s|m|h|d|w)", text))


def size_bytes(text: str | int) -> int:
    """Return the bytes that a size such as ``128Mi`` or ``5MB`` means; a bare number is bytes.

    Raises ValueError when it is not a size.
    """
    if isinstance(text, bool):
        raise ValueError(f"{text!r} is not a size; write for example 128Mi or 5MB")
    if isinstance(text, int):
        return text
    if not re.match(SIZE_PATTERN, text):
        raise ValueError(f"{text!r} is not a size; write for example 128Mi or 5MB")
    number, unit = re.match(r"^([0-9.]+)([A-Za-z]*)$", text).groups()  # type: ignore[union-attr]
    return int(float(number) * _BYTES[unit])


def human_bytes(count: float) -> str:
    """Return a count of bytes the way a person writes it in YAML, to one decimal at most: ``1.5Gi``."""
    units = ["B", "Ki", "Mi", "Gi", "Ti"]
    while abs(count) >= 1024 and len(units) > 1:
        count /= 1024
        units.pop(0)
    return f"{count:.1f}".removesuffix(".0") + units[0]


def human_seconds(count: float) -> str:
    """Return seconds the way a person writes a duration, to two units at most: ``1h30m``."""
    rest = round(count)
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        n, rest = divmod(rest, length)
        if n:
            parts.append(f"{n}{unit}")
    return "".join(parts[:2]) or "0s"
