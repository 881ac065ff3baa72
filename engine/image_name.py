"""Names of images: which registry, which repository, which tag or digest. Pure.

The grammar is that of the distribution project's reference package, as Docker reads it: a first part with a dot, a
colon or the name ``localhost`` is a registry, everything else is on Docker Hub.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

HUB = "docker.io"
BUILT = "a67"
"""The namespace of images that we build; no registry has it, nodes have them from each other."""


@dataclass(frozen=True, slots=True)
class Reference:
    """An image by name. ``digest`` is empty or ``sha256:`` with 64 hex digits."""

    registry: str
    repository: str
    tag: str
    digest: str = ""

    @property
    def built(self) -> bool:
        """Whether it is one of those that we build ourselves."""
        return self.registry == HUB and self.repository.startswith(f"{BUILT}/")


def parse(image: str) -> Reference:
    """Return the parts of an image's name (already checked by the schema); without a tag it is ``latest``."""
    name, _, digest = image.partition("@")
    first, found, rest = name.partition("/")
    if found and ("." in first or ":" in first or first == "localhost"):
        registry, path = first, rest
    else:
        registry, path = HUB, name
    last = path.rpartition("/")[2]
    repository, _, tag = path.rpartition(":") if ":" in last else (path, "", "")
    if registry == HUB and "/" not in repository:
        repository = f"library/{repository}"
    return Reference(registry, repository, tag or ("" if digest else "latest"), digest)


def full_name(image: str) -> str:
    """Return the name with all that it leaves out: ``nginx`` is ``docker.io/library/nginx:latest``."""
    r = parse(image)
    return f"{r.registry}/{r.repository}" + (f":{r.tag}" if r.tag else "") + (f"@{r.digest}" if r.digest else "")


def with_tag(image: str, tag: str) -> str:
    """Return the name as a person wrote it with another tag, and no digest."""
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}:{tag}"


def pinned_name(image: str, digest: str) -> str:
    """Return the name as a person wrote it, with the digest that it means."""
    return f"{image.partition('@')[0]}@{digest}"


def same_but_tag(one: Reference, other: Reference) -> bool:
    """Whether two names differ in nothing but tag and digest."""
    return replace(one, tag="", digest="") == replace(other, tag="", digest="")


def built_name(app: str, commit: str, path: str, dockerfile: str) -> str:
    """Return the name of the image that is built of a folder at a commit: the same content, the same name."""
    return f"{BUILT}/{app}:{_short(commit, path, dockerfile)}"


def tree_key(commit: str, path: str) -> str:
    """Return what a folder at a commit is called when it is sent to nodes (12 hex digits)."""
    return _short(commit, path)


def _short(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
