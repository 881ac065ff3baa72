"""What differs between two versions of a resource's YAML, key by key. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from automator67.engine.desired import App, SecretRef, SecretUse
from automator67.engine.plan.model import FieldChange

_LONG = 80
_DIGEST = len("sha256:") + 12


def field_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[FieldChange, ...]:
    """Return the changed keys in the order of the new document, then those that went away.

    A value that is not there is an empty text. Secrets are references in both documents, so no value can show; values
    of environment variables are not shown either, since people put secrets there all the same.
    """
    before, after = _flatten(old), _flatten(new)
    keys = [*after, *(key for key in before if key not in after)]
    return tuple(
        FieldChange(key, *_shown(key, before.get(key, ""), after.get(key, "")))
        for key in keys
        if before.get(key) != after.get(key)
    )


def pin_changes(spec: Mapping[str, Any], app: App) -> tuple[FieldChange, ...]:
    """Return what the names in an app's file mean now and meant in a stored revision: commit, digest."""
    found = []
    source = spec.get("source") or {}
    if app.source is not None and app.source.commit and app.source.commit != source.get("commit"):
        found.append(FieldChange("source.commit", source.get("commit", "")[:12], app.source.commit[:12]))
    old, new = ((image or "").partition("@")[2] for image in (spec.get("image"), app.image))
    if old != new and "@" not in app.document.get("image", ""):
        found.append(FieldChange("image.digest", old[:_DIGEST], new[:_DIGEST]))
    return tuple(found)


def secret_changes(spec: Mapping[str, Any], app: App) -> tuple[FieldChange, ...]:
    """Return the places of an app whose secret keeps its name but has another value than in a stored revision.

    Values are compared by their fingerprints; where these cannot be made (no key is at hand), by their files.
    """
    if not app.secrets:
        return ()
    old = {s["name"]: s for s in spec.get("secrets", ())}
    before = {key: v["secret"] for key, v in spec["env"] if isinstance(v, Mapping)}
    files = {f["path"]: f["secret"] for f in spec.get("files", ())}
    changed = {s.name for s in app.secrets if s.name in old and _differs(old[s.name], s)}
    found = [f"env.{k}" for k, v in app.env if isinstance(v, SecretRef) and v.name in changed & {before.get(k)}]
    found += [f"files.{f.path}" for f in app.files if f.secret in changed & {files.get(f.path)}]
    return tuple(FieldChange(path, "", "changed", secret=True) for path in found)


def _differs(old: Mapping[str, Any], new: SecretUse) -> bool:
    if old.get("fingerprint") and new.fingerprint:
        return bool(old["fingerprint"] != new.fingerprint)
    return bool(old["blob"] != new.blob)


def _shown(key: str, old: str, new: str) -> tuple[str, str]:
    if key.startswith("env."):
        old, new = (text if text.startswith("secret ") or not text else "a value" for text in (old, new))
        new = "another value" if old == new else new
    return _cut(old), _cut(new)


def _flatten(document: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in document.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and set(value) == {"secret"}:
            flat[path] = f"secret {value['secret']}"
        elif isinstance(value, Mapping) and value:
            flat |= _flatten(value, f"{path}.")
        else:
            flat[path] = _text(value)
    return flat


def _text(value: Any) -> str:
    if value is True or value is False:
        text = str(value).lower()
    elif isinstance(value, (list, tuple)):
        text = "[" + ", ".join(_text(v) for v in value) + "]"
    elif isinstance(value, Mapping):
        text = "{" + ", ".join(f"{k}: {_text(v)}" for k, v in value.items()) + "}"
    else:
        text = str(value)
    return " ".join(text.split())


def _cut(text: str) -> str:
    return text if len(text) <= _LONG else text[: _LONG - 1] + "…"
