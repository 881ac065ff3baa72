"""Reading the table, Caddy's configuration from it, small HTTP, remembered passwords, peers."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import argon2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automator67.agent.edge import passwords
from automator67.agent.edge.config import Acme, Files, Ports, caddy_config
from automator67.agent.edge.http import _parse
from automator67.agent.edge.passwords import Passwords
from automator67.agent.edge.peers import set_peers
from automator67.agent.edge.table import TableError, parse

FILES = Files("/var/lib/edge", "/var/lib/edge/admin.sock", "/var/lib/edge/caddy.log")
PORTS = Ports(5301, 5302, 5303, 5304, 5305, ":6768", ":80", ":443")
TOKEN = "tokentokentoken"


def site(**keys: Any) -> dict[str, Any]:
    return {"sites": [{"host": "a.test", "app": "web"} | keys]}


@pytest.mark.parametrize(
    "wrong",
    [
        {"node": None, "sites": 3}, {"sites": [{}]}, {"sites": ["a"]}, site(host=""), site(path="x"), site(tls="none"),
        site(allow=["10.0.0.0/33"]), site(allow=["everybody"]), site(allow=[[]]), site(basic={"ana": ""}),
        site(basic=["ana"]),
        {"apps": {"web": [{"instance": "w0"}]}}, {"apps": {"web": [{"instance": "w0", "node": "one", "weight": -1}]}},
        {"apps": {"web": [{"instance": "w0", "node": "one", "weight": "many"}]}}, {"apps": []}, {"apps": {"web": 1}},
        {"nodes": {"two": "10.0.0.2"}}, {"nodes": {"two": "10.0.0.2:x"}}, {"nodes": {"two": ":1"}},
        {"nodes": {"two": "a:0"}},
        {"nodes": {"two": "10.0.0.2:70000"}}, {"nodes": {"two": "10.0.0.2:²"}},
        {"local": {"w0": {"address": "127.0.0.1", "up": True}}}, {"local": {"w0": {"address": "somewhere:80",
        "up": True}}},
        {"local": {"w0": {"up": True}}},
    ],
)  # fmt: skip
def test_a_table_that_makes_no_sense_is_refused_as_a_whole(wrong: dict[str, Any]) -> None:
    with pytest.raises(TableError, match="the edge's table cannot be understood") as caught:
        parse({"node": "one"} | wrong)
    assert "\n" not in str(caught.value)


def test_a_table_without_its_node_is_none() -> None:
    with pytest.raises(TableError, match="node"):
        parse({})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["gateway", "sites", "apps", "nodes", "peers", "local", "ports"]), JSON))
def test_no_json_raises_anything_else(doc: dict[str, Any]) -> None:
    with contextlib.suppress(TableError):
        parse({"node": "one"} | doc)


def test_what_is_left_out_has_its_usual_meaning() -> None:
    t = parse({"node": "one"} | site(host="A.Test", path="/x/", allow=["10.1.2.3/8"]))
    assert t.gateway is None
    assert t.sites_of("a.test")[0] == ("a.test", "/x", "web", "", ("10.0.0.0/8",), {}, "acme")
    assert parse({"node": "one", "apps": {"w": [{"instance": "i", "node": "n"}]}}).apps["w"][0].weight == 1


def test_a_wildcard_stands_for_one_more_label_and_a_name_goes_before_it() -> None:
    t = parse({"node": "one", "sites": [{"host": "*.a.test", "app": "wild"}, {"host": "b.a.test", "app": "own"}]})
    found = {
        h: [s.app for s in t.sites_of(h)]
        for h in ("b.a.test", "c.a.test", "a.test", "d.c.a.test", ".a.test", "*.a.test")
    }
    assert found == {
        "b.a.test": ["own"],
        "c.a.test": ["wild"],
        "a.test": [],
        "d.c.a.test": [],
        ".a.test": [],
        "*.a.test": [],
    }


def test_the_longest_path_comes_first() -> None:
    t = parse({"node": "one", "sites": [{"host": "a", "path": p, "app": "x"} for p in ("/a", "", "/a/b/c", "/a/b")]})
    assert [s.path for s in t.sites_of("a")] == ["/a/b/c", "/a/b", "/a", ""]


def config(gateway: Acme | None = Acme("", "", "")) -> str:  # noqa: B008
    return json.dumps(caddy_config(FILES, PORTS, TOKEN, gateway, "f" * 64))


def test_the_configuration_is_frozen() -> None:
    assert config() == config()
    assert set(json.loads(config())["apps"]["http"]["servers"]) == {"public", "gate", "mesh", "far", "plain", "proxy"}
    # Without public traffic: only the proxy, and nobody signs anything.
    assert set(json.loads(config(None))["apps"]["http"]["servers"]) == {"proxy"}
    assert "automation" not in json.loads(config(None))["apps"]["tls"]


def test_the_token_is_only_in_questions_to_the_edge() -> None:
    def places(value: Any, path: str = "") -> list[str]:
        if isinstance(value, dict):
            return [p for k, v in value.items() for p in places(v, f"{path}.{k}")]
        if isinstance(value, list):
            return [p for v in value for p in places(v, path)]
        return [path] if TOKEN in str(value) else []

    found = places(json.loads(config()))
    assert sorted(p.rpartition(".")[2] for p in found) == ["endpoint", "uri", "url"]
    assert TOKEN not in config(None)


def test_only_the_public_servers_listen_to_the_world_and_proxies_want_a_certificate() -> None:
    servers = json.loads(config())["apps"]["http"]["servers"]
    assert {name: s["listen"] for name, s in servers.items()} == {
        "public": [":443"], "plain": [":80"], "proxy": [":6768"], "gate": ["127.0.0.1:5303"],
        "mesh": ["127.0.0.1:5304"], "far": ["127.0.0.1:5305"],
    }  # fmt: skip
    policy = servers["proxy"]["tls_connection_policies"][0]
    assert policy["client_authentication"]["mode"] == "require_and_verify"
    assert policy["protocol_min"] == "tls1.3"


def test_one_handler_speaks_either_tls_or_not() -> None:
    servers = json.loads(config())["apps"]["http"]["servers"]
    tls = {
        name: {"tls" in h["transport"] for r in server["routes"] for h in r["handle"] if "dynamic_upstreams" in h}
        for name, server in servers.items()
    }
    assert tls == {"public": {False}, "gate": {False}, "mesh": {True}, "far": {True}, "plain": set(), "proxy": {False}}


def test_a_certificate_authority_may_be_named() -> None:
    issuer = json.loads(config(Acme("https://ca.test/directory", "/root.pem", "ana@example.org")))
    assert issuer["apps"]["tls"]["automation"]["policies"][0]["issuers"] == [{
        "module": "acme", "ca": "https://ca.test/directory", "trusted_roots_pem_files": ["/root.pem"],
        "email": "ana@example.org",
    }]  # fmt: skip
    assert json.loads(config())["apps"]["tls"]["automation"]["policies"][0]["issuers"] == [{"module": "acme"}]


@pytest.mark.parametrize(
    "head",
    [
        b"", b"GET /\r\n\r\n", b"POST / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\n",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"GET /  HTTP/1.1\r\n\r\n",
        b"\xff\x00\r\n\r\n", b"GET / SPDY\r\n\r\n",
    ],
)  # fmt: skip
def test_what_is_no_question_is_none(head: bytes) -> None:
    assert _parse(head) is None


@given(st.binary(max_size=200))
def test_no_head_raises(data: bytes) -> None:
    _parse(data + b"\r\n\r\n")


HASHED = argon2.PasswordHasher(time_cost=1, memory_cost=64).hash("secret")


def test_passwords_that_fit_are_remembered_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Passwords()
    assert not known.remembered(HASHED, "secret")
    assert not known.fits(HASHED, "wrong")
    assert known.fits(HASHED, "secret")
    assert known.remembered(HASHED, "secret")
    assert not known.remembered(HASHED, "wrong")
    assert not known.remembered(HASHED + "x", "secret")
    monkeypatch.setattr(passwords.time, "monotonic", lambda: 1e12)
    assert not known.remembered(HASHED, "secret")
    assert b"secret" not in repr(vars(known)).encode()


@pytest.mark.parametrize(
    "hashed",
    ["", "secret", "$argon2id$", pytest.param(HASHED[:-5], id="cut off"), "$2y$10$abcdefghijklmnopqrstuv", "é"],
)
def test_a_hash_that_cannot_be_read_fits_nothing(hashed: str) -> None:
    assert not Passwords().fits(hashed, "secret")


def test_peers_are_files_named_by_hash_and_nothing_else(tmp_path: Path) -> None:
    one, two = "a" * 64, "b" * 64
    set_peers(str(tmp_path), {one, two, "../../evil", "A" * 64, "", "a" * 63})
    assert {p.name for p in (tmp_path / "peers").iterdir()} == {one, two}
    set_peers(str(tmp_path), {two})
    assert {p.name for p in (tmp_path / "peers").iterdir()} == {two}
    assert (tmp_path / "peers").stat().st_mode & 0o777 == 0o700
