"""The stored form of an app's revision: enough to run it again, or to go back to it, without its commit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from automator67.engine.desired import (
    Access,
    App,
    Mount,
    Origin,
    Place,
    Probe,
    SecretFile,
    SecretRef,
    SecretUse,
    Source,
    Update,
)
from automator67.engine.volumes import Volume

_SKIP = frozenset({"name", "origin", "env", "health", "place", "update", "volumes", "files", "secrets", "access"}) | {
    "source", "policy", "job", "before",
    # The names of an app and who may pass are those of the present commit, whichever revision runs.
    "sites", "tls", "allow", "basic", "backups",
}  # fmt: skip


def to_spec(app: App) -> dict[str, Any]:
    """Return plain JSON data from which ``from_spec`` makes the same app. Secrets stay names."""
    spec = {f.name: _plain(getattr(app, f.name)) for f in fields(App) if f.name not in _SKIP}
    return spec | {
        "name": app.name,
        "origin": [app.origin.path, app.origin.blob],
        "env": [[key, {"secret": v.name} if isinstance(v, SecretRef) else v] for key, v in app.env],
        "health": _flat(app.health) if app.health else None,
        "place": _flat(app.place),
        "update": _flat(app.update),
        "volumes": [_flat(v) for v in app.volumes],
        "files": [_flat(f) for f in app.files],
        "secrets": [_flat(s) for s in app.secrets],
        "access": _flat(app.access) | {"mounts": [_flat(m) for m in app.access.mounts]},
        "source": _flat(app.source) if app.source else None,
    }


def from_spec(spec: Mapping[str, Any]) -> App:
    """Return the app a stored spec describes. Keys that this version does not know are ignored."""
    known = {f.name for f in fields(App)}
    simple = {key: _frozen(value) for key, value in spec.items() if key in known - _SKIP and key != "document"}
    return App(
        name=spec["name"],
        origin=Origin(*spec["origin"]),
        env=tuple((k, SecretRef(v["secret"]) if isinstance(v, dict) else v) for k, v in spec["env"]),
        health=_thaw(Probe, spec["health"]) if spec["health"] else None,
        place=_thaw(Place, spec["place"]),
        update=_thaw(Update, spec["update"]),
        volumes=tuple(_thaw(Volume, v) for v in spec["volumes"]),
        files=tuple(_thaw(SecretFile, f) for f in spec.get("files", ())),
        secrets=tuple(_thaw(SecretUse, s) for s in spec.get("secrets", ())),
        access=_access(spec.get("access", {})),
        source=_thaw(Source, spec["source"]) if spec.get("source") else None,
        document=spec.get("document", {}),
        **simple,
    )


def same_source(spec: Mapping[str, Any], app: App) -> bool:
    """Whether a stored spec was made from the same files: the app's own, and those of its secrets."""
    return bool(spec["origin"][1] == app.origin.blob and spec.get("secrets", []) == [_flat(s) for s in app.secrets])


def _access(data: Mapping[str, Any]) -> Access:
    mounts = tuple(_thaw(Mount, m) for m in data.get("mounts", ()))
    return _thaw(Access, {**data, "mounts": mounts})  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _flat(value: Any) -> dict[str, Any]:
    return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}


def _thaw(kind: Any, data: Mapping[str, Any]) -> Any:
    known = {f.name for f in fields(kind)}
    return kind(**{key: _frozen(value) for key, value in data.items() if key in known})


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value
