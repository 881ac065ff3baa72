"""SOPS documents: which secrets a file ``secrets/*.sops.yaml`` holds, told without opening it. Pure.

Every encrypted top-level key is a secret. Its name is the key in lower case with hyphens, since that is how names of
resources are written here: ``DB_PASSWORD`` is the secret ``db-password``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from automator67.schemas.findings import position
from automator67.schemas.problem import Problem
from automator67.schemas.source import Path, positions, read_yaml

ENCRYPTED = re.compile(
    r"ENC\[AES256_GCM,data:([A-Za-z0-9+/=]*),iv:([A-Za-z0-9+/=]+),tag:([A-Za-z0-9+/=]+),type:([a-z]+)\]\Z"
)
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?\Z")


def secret_name(key: str) -> str:
    """Return the name of the secret that a top-level key holds; it may be no valid name."""
    return key.lower().replace("_", "-").replace(".", "-")


def secret_keys(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the encrypted top-level keys of a document, by the names of their secrets."""
    found: dict[str, str] = {}
    for key, value in document.items():
        if key != "sops" and isinstance(value, str) and ENCRYPTED.match(value):
            found.setdefault(secret_name(str(key)), str(key))
    return found


def read_names(path: str, data: bytes) -> tuple[tuple[str, ...], tuple[Problem, ...]]:
    """Return the names of the secrets in a SOPS file, and what is wrong with it."""
    source = read_yaml(path, data)
    if source.problems:
        return (), tuple(source.problems)
    document = source.value
    if not isinstance(document, dict) or not isinstance(document.get("sops"), dict):
        hint = f"encrypt it before it is committed: sops encrypt --in-place {path}; what it says counts as known by now"
        return (), (Problem("sops", path, 1, 1, "", "this file is not encrypted by SOPS", hint),)
    where: Mapping[Path, tuple[int, int]] = positions(path, data)
    keys = secret_keys(document)
    problems = []
    for key, value in document.items():
        name = secret_name(str(key))
        if key == "sops" or not isinstance(value, str) or not ENCRYPTED.match(value):
            continue
        if not _NAME.match(name):
            text, hint = "this cannot be the name of a secret", "use letters, digits, hyphens and _, at most 40"
        elif keys[name] != key:
            text, hint = f"{keys[name]} is the secret {name} already", "rename one of the two"
        else:
            continue
        problems.append(Problem("sops", path, *position(where, (str(key),)), str(key), text, hint))
    return tuple(name for name in keys if _NAME.match(name)), tuple(problems)
