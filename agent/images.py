"""Which images may go when the disk fills. Pure; times in seconds since the epoch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

UNUSED_FOR = 24 * 3600.0


class Image(NamedTuple):
    """An image on this node. ``since``: when it was made or last tagged, whichever is later."""

    id: str
    tags: tuple[str, ...]
    since: float


def images_to_remove(
    images: Iterable[Image], in_use: Iterable[str], ours: Mapping[str, tuple[str, float]], now: float
) -> list[str]:
    """Return tags and ids to remove.

    ``in_use``: ids of images that any container has, running or not. ``ours``: images that our apps have used, as
    (app, when last wanted). Taken are: dangling images, and images our apps used, when neither was needed for a
    day; never the two that each app used last (the present one and the one to go back to), never an image that
    nobody but a person brought here.
    """
    used = set(in_use)
    kept = _last_two(ours)
    out: list[str] = []
    for image in images:
        if image.id in used:
            continue
        if not image.tags:
            if now - image.since > UNUSED_FOR:
                out.append(image.id)
            continue
        for tag in image.tags:
            if tag in ours and tag not in kept and now - max(ours[tag][1], image.since) > UNUSED_FOR:
                out.append(tag)
    return out


def full_name(image: str) -> str:
    """Return an image's name as the Docker Engine lists it: with a tag, without the default registry."""
    for default in ("docker.io/library/", "docker.io/"):
        image = image.removeprefix(default)
    last = image.rpartition("/")[2]
    if "@" in last:
        # One pulled by digest has no tag there.
        name, _, digest = last.partition("@")
        return f"{image.removesuffix(last)}{name.partition(':')[0]}@{digest}"
    return image if ":" in last else f"{image}:latest"


def _last_two(ours: Mapping[str, tuple[str, float]]) -> set[str]:
    by_app: dict[str, list[tuple[float, str]]] = {}
    for image, (app, at) in ours.items():
        by_app.setdefault(app, []).append((at, image))
    return {image for uses in by_app.values() for _, image in sorted(uses, reverse=True)[:2]}
