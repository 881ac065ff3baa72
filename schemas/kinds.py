"""Which files of a config repository mean what: the directory is the kind, the file name is the name."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import resources
from typing import Any, Literal

from automator67.schemas.sealed import PUBLIC_KEY_FILE

Kind = Literal["cloud", "node", "app", "shard", "bucket", "secret", "query"]

SETTINGS = "automator67.yaml"
FOLDERS: dict[str, Kind] = {
    "nodes": "node", "apps": "app", "shards": "shard", "buckets": "bucket", "secrets": "secret", "queries": "query",
}  # fmt: skip
YAML_KINDS: tuple[Kind, ...] = ("cloud", "app", "node", "shard", "bucket")
_ENDINGS: dict[Kind, tuple[str, ...]] = {
    "secret": (".sealed", ".sops.yaml", ".sops.yml"), "query": (".sql",),
}  # fmt: skip
_YAML = (".yaml", ".yml")
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?\Z")
"""What resources are called."""


@dataclass(frozen=True, slots=True)
class Classified:
    """What a path is; ``trouble`` says why it is not usable, or looks like a mistake (``warning``)."""

    kind: Kind | None = None
    name: str = ""
    trouble: str = ""
    hint: str = ""
    warning: bool = False


def classify(path: str) -> Classified:
    """Return what a path relative to the repository's root (or configured folder) means."""
    if path == SETTINGS:
        return Classified("cloud", "cloud")
    if path in ("automator67.yml", ".automator67.yaml", "automator67.yaml.txt"):
        return _odd("this file is not read", f"call it {SETTINGS}")
    folder, _, rest = path.partition("/")
    if not rest and folder in FOLDERS:
        return Classified(trouble=f"{folder} is not a folder", hint=f"put the files themselves into {folder}/")
    if not rest:
        return Classified()
    if folder not in FOLDERS:
        near = get_close_matches(folder, FOLDERS, n=1, cutoff=0.7)
        if near and path.endswith(_YAML):
            return _odd(f"{folder}/ is not a folder of resources", f"did you mean {near[0]}/?")
        return Classified()
    kind = FOLDERS[folder]
    if "/" in rest:
        return _odd(f"files in folders below {folder}/ are not read", f"move it to {folder}/")
    ending = next((e for e in _ENDINGS.get(kind, _YAML) if rest.endswith(e)), None)
    if ending is None:
        if rest.startswith(".") or rest.endswith((".md", ".txt")) or path == PUBLIC_KEY_FILE:
            return Classified()
        wanted = " or ".join(_ENDINGS.get(kind, _YAML[:1]))
        return _odd(f"this file in {folder}/ is not read", f"its name must end in {wanted}")
    name = rest.removesuffix(ending)
    if kind not in ("query",) and not NAME.match(name):
        hint = "use lower-case letters, digits and inner hyphens, at most 40"
        return Classified(kind, name, f"{name[:60]!r} cannot be the name of a resource", hint)
    return Classified(kind, name)


def _odd(trouble: str, hint: str) -> Classified:
    return Classified(trouble=trouble, hint=hint, warning=True)


@cache
def schema(kind: Kind) -> dict[str, Any]:
    """Return the JSON Schema of a kind as data."""
    text = (resources.files("automator67.schemas") / f"{kind}.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def schema_text(kind: Kind) -> str:
    """Return the JSON Schema of a kind as the text of a file."""
    return json.dumps(schema(kind), indent=2, ensure_ascii=False) + "\n"
