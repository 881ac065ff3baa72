"""Files whose existence tells Caddy which gateways may use this node's proxy: named by their certificate's hash."""

from __future__ import annotations

import os
import re

_HASH = re.compile(r"[0-9a-f]{64}")


def set_peers(home: str, wanted: set[str]) -> None:
    """Let only the certificates with these hashes (SHA-256, hex) in. Raises OSError."""
    directory = f"{home}/peers"
    os.makedirs(directory, mode=0o700, exist_ok=True)
    wanted = {h for h in wanted if _HASH.fullmatch(h)}
    there = set(os.listdir(directory))
    for name in wanted - there:
        with open(f"{directory}/{name}", "w"):
            pass
    for name in there - wanted:
        os.unlink(f"{directory}/{name}")
