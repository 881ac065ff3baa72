"""What places get of secrets: opened from where a revision's commit wrote them, and nothing half."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest

from automator67.engine.desired import Origin, SecretFile, SecretRef, SecretUse
from automator67.engine.instances import place_part
from automator67.engine.nodes.registry import Registry
from automator67.engine.place_desk import PlaceDesk
from automator67.engine.places.protocol import Opened, PlaceError
from automator67.engine.places.swarm.place import _login
from automator67.engine.secrets.errors import SecretError
from automator67.engine.secrets.vault import Vault
from tests.support.world import app


class Known(Vault):
    """Values by the id of the file they are written in."""

    def __init__(self, values: Mapping[str, bytes]) -> None:
        self.values = values

    def value_at(self, name: str, origin: Origin) -> bytes:
        if origin.blob not in self.values:
            raise SecretError(f"{origin.path}: it is sealed to another key")
        return self.values[origin.blob]


def desk(values: Mapping[str, bytes]) -> PlaceDesk:
    registry: Any = Registry
    return PlaceDesk(registry, lambda: Known(values), lambda _: None, lambda data: data, lambda: 30.0)


def message(registry: str = "", *names: str) -> dict[str, Any]:
    uses = tuple(SecretUse(name, f"secrets/{name}.sealed", f"blob-{name}") for name in ("db", "cert", *names))
    wanted = app(
        env=(("DB", SecretRef("db")), ("PLAIN", "x")), files=(SecretFile("/run/cert", "cert"),), secrets=uses,
        registry=registry,
    )  # fmt: skip
    return {"image": "registry.example.org/blog:1", **place_part(wanted)}


VALUES = {"blob-db": b"postgres://", "blob-cert": b"\x00\x01", "blob-login": b"ana:pass:word"}


def test_secrets_are_opened_as_their_commit_wrote_them() -> None:
    assert desk(VALUES).opened(message()) == Opened({"DB": "postgres://"}, (("/run/cert", b"\x00\x01"),))
    assert desk({}).opened({"image": "x", **place_part(app())}) == Opened()


def test_a_login_is_for_the_registry_of_the_image() -> None:
    opened = desk(VALUES).opened(message("login", "login"))
    assert opened.login == ("ana", "pass:word", "registry.example.org")
    header = json.loads(base64.urlsafe_b64decode(_login(opened)["X-Registry-Auth"]))
    assert header == {"username": "ana", "password": "pass:word", "serveraddress": "registry.example.org"}
    assert "pass" not in repr(opened)
    assert _login(Opened()) == {}


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({}, "secrets/db.sealed: it is sealed to another key"),
        (VALUES | {"blob-login": b"no colon"}, "registry: secret login cannot be used"),
        (VALUES | {"blob-login": b"\xff\xfe"}, "it is not text"),
    ],
)
def test_what_cannot_be_had_is_said_without_the_value(values: dict[str, bytes], why: str) -> None:
    with pytest.raises(PlaceError, match=why) as found:
        desk(values).opened(message("login", "login"))
    assert "no colon" not in str(found.value)
