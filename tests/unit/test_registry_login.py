"""What a secret says of a registry's login."""

from __future__ import annotations

import base64
import json

import pytest

from automator67.engine.registry_login import BadLogin, user_and_password

BOTH = ("ana", "pa:ss")


def config(host: str, **entry: str) -> str:
    return json.dumps({"auths": {host: entry}})


@pytest.mark.parametrize(
    ("value", "registry"),
    [
        ("ana:pa:ss\n", "a.example"),
        (config("a.example", auth=base64.b64encode(b"ana:pa:ss").decode()), "a.example"),
        (config("https://a.example", username="ana", password="pa:ss"), "a.example"),
        (config("https://index.docker.io/v1/", username="ana", password="pa:ss"), "docker.io"),
    ],
)
def test_both_forms_are_read(value: str, registry: str) -> None:
    assert user_and_password(value, registry) == BOTH


@pytest.mark.parametrize(
    "value",
    ["hunter2", ":hunter2", "hunter2:", "{hunter2", '{"auths": "hunter2"}', config("b.example", auth="hunter2")],
)
def test_what_is_no_login_is_refused_without_showing_it(value: str) -> None:
    with pytest.raises(BadLogin) as refused:
        user_and_password(value, "a.example")
    assert "hunter2" not in str(refused.value)
