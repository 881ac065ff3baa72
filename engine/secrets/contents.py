"""What an app gets of the secrets it names, and what they make of its revision."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from automator67.engine.desired import App, Origin, SecretRef, SecretUse, revision_hash
from automator67.engine.image_name import parse
from automator67.engine.observed import Revision
from automator67.engine.registry_login import BadLogin, user_and_password
from automator67.engine.secrets.errors import SecretError
from automator67.engine.secrets.vault import Vault

MAX_ENV_BYTES = 128 * 1024 - 1
"""The longest ``NAME=value`` that Linux hands to a program, without the byte that ends it."""
MAX_APP_BYTES = 700_000
"""The most that all secrets of one app may have together: they travel in one message."""


def bound(app: App, vault: Vault) -> App:
    """Return an app of a commit with the secrets it uses, which then count in its revision.

    Where one cannot be had or used, the app is blocked. A vault that opens nothing leaves the files to compare.
    """
    names = secret_names(app)
    if not names:
        return app
    trouble = ""
    uses = []
    for name in names:
        origin, fingerprint = vault.places[name], ""
        if vault.opens:
            try:
                fingerprint = vault.fingerprint(name)
            except SecretError as error:
                trouble = trouble or str(error)
        uses.append(SecretUse(name, origin.path, origin.blob, fingerprint))
    if vault.opens and not trouble:
        try:
            contents(app, vault.value)
        except SecretError as error:
            trouble = str(error)
    # What lets us into a registry is no part of what runs: a new password rolls nothing.
    inside = set(_inside(app))
    values = [[use.name, use.fingerprint or use.blob] for use in uses if use.name in inside]
    rev = revision_hash({"shape": app.rev, "secrets": values})
    return replace(app, secrets=tuple(uses), blocked=trouble, shape=app.rev, rev=rev)


def assumed(app: App, deployed: Revision | None) -> App:
    """Return an app whose secrets no key here opens as deployed, where its files say that nothing has changed."""
    spec = deployed.spec if deployed is not None else {}
    blobs = {s["name"]: s["blob"] for s in spec.get("secrets", ())}
    same = spec.get("shape") == app.shape and blobs == {use.name: use.blob for use in app.secrets}
    return replace(app, rev=deployed.rev) if deployed is not None and app.secrets and same else app


def secret_names(app: App) -> tuple[str, ...]:
    """Return the names of the secrets that an app uses: in its environment, as files, for its registry."""
    return tuple(sorted({*_inside(app), *([app.registry] if app.registry else [])}))


def contents(app: App, value: Callable[[str], bytes]) -> dict[str, Any]:
    """Return what an instance gets: ``{"env": {NAME: text}, "files": [{"path", "content": base64}]}``, and where its
    image's registry asks for a login, ``"login": [user, password]``.

    Raises SecretError, also for a value that the place it is meant for cannot take.
    """
    env = {key: _text(key, v.name, value(v.name)) for key, v in app.env if isinstance(v, SecretRef)}
    files = [{"path": f.path, "content": base64.b64encode(value(f.secret)).decode()} for f in app.files]
    total = sum(len(text.encode()) for text in env.values()) + sum(len(value(f.secret)) for f in app.files)
    if total > MAX_APP_BYTES:
        raise SecretError(f"its secrets have {total} bytes together, more than {MAX_APP_BYTES}")
    return {"env": env, "files": files} | ({"login": _login(app, value)} if app.registry else {})


def contents_of_revision(app: App, vault: Vault) -> dict[str, Any]:
    """Return the same for an app of this or an earlier commit, with the values of that commit. Raises SecretError."""
    origins = {use.name: Origin(use.path, use.blob) for use in app.secrets}

    def value(name: str) -> bytes:
        if name not in origins:
            raise SecretError(f"where secret {name} was written is not known any more")
        return vault.value_at(name, origins[name])

    return contents(app, value)


def _inside(app: App) -> list[str]:
    names = {value.name for _, value in app.env if isinstance(value, SecretRef)}
    return sorted(names | {f.secret for f in app.files})


def _login(app: App, value: Callable[[str], bytes]) -> list[str]:
    try:
        return list(user_and_password(value(app.registry).decode(), parse(app.image or "").registry))
    except ValueError as error:
        what = error if isinstance(error, BadLogin) else "it is not text"
        raise SecretError(f"registry: secret {app.registry} cannot be used: {what}") from None


def _text(key: str, name: str, value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise SecretError(f"env.{key}: secret {name} is not text; give it to the app as a file (files:)")
    if len(key) + 1 + len(value) > MAX_ENV_BYTES:
        raise SecretError(f"env.{key}: secret {name} is too long for the environment; give it as a file (files:)")
    return text
