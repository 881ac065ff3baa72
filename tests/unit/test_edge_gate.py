"""What becomes of a request that needs a decision."""

from __future__ import annotations

import base64
import re
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from automator67.agent.edge.gate import Request, Verdict, decide, simple
from automator67.agent.edge.table import Table, parse

SITES: list[dict[str, Any]] = [
    {"host": "shop.test", "app": "shop"},
    {"host": "shop.test", "path": "/admin", "app": "shop", "basic": {"ana": "hash of secret"}},
    {"host": "shop.test", "path": "/api", "app": "api"},
    {"host": "shop.test", "path": "/api/inner", "app": "inner"},
    {"host": "shop.test", "path": "/caf%C3%A9", "app": "cafe"},
    {"host": "paths.test", "path": "/only/", "app": "api"},
    {"host": "*.wild.test", "app": "shop"},
    {"host": "old.test", "redirect": "shop.test"},
    {"host": "few.test", "app": "shop", "allow": ["10.0.0.0/8", "192.0.2.7", "fd00::/8"]},
    {"host": "both.test", "app": "shop", "allow": ["10.0.0.0/8"], "basic": {"ana": "hash of secret"}},
    {"host": "none.test", "app": "none", "path": "/x"},
]


def table(sites: list[dict[str, Any]] | None = None) -> Table:
    apps = {a: [{"instance": f"{a}-0", "node": "one"}] for a in ("shop", "api", "inner", "cafe")}
    return parse({"node": "one", "gateway": {}, "sites": sites or SITES, "apps": apps})


TABLE = table()


def fits(hashed: str, password: str) -> bool:
    return hashed == f"hash of {password}"


def ask(host: str, uri: str = "/", client: str = "203.0.113.9", authorization: str = "") -> Verdict:
    return decide(TABLE, Request(host, uri, client, authorization), fits)


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("uri", "app"),
    [
        ("/", "shop"), ("/x", "shop"), ("/apix", "shop"), ("/ap", "shop"), ("/x/api", "shop"), ("/?/api", "shop"),
        ("/api", "api"), ("/api/", "api"), ("/api?x=/../admin", "api"), ("/api/x//y", "api"), ("/api/%2e", None),
        ("/api/inner", "inner"), ("/api/inner/x", "inner"), ("/api/innermost", "api"), ("/api/x;v=1/y", "api"),
        ("/caf%C3%A9/x", "cafe"), ("/x%20y/100%25", "shop"), ("/a..b/...", "shop"), ("*", "shop"), ("/X/Y", "shop"),
    ],
)  # fmt: skip
def test_the_longest_path_decides_at_whole_segments(uri: str, app: str | None) -> None:
    assert (ask("shop.test", uri).app or None) == app


@pytest.mark.parametrize(
    "uri",
    [
        "//admin", "/./admin", "/x/../admin", "/%61dmin", "/%2561dmin", "/%252561dmin", "/%25252561dmin",
        "/admin;x", "/;x/admin",
        "/Admin", "/ADMIN/x", "/x/%2e%2e/admin", "/x/..%2fadmin", "/x%2f..%2fadmin", "/\\admin", "/%5cadmin",
        "/x\\..\\admin",
        "/admin%00", "/admin%3fx", "/admin%23x", "/admin%2fx", "/.;/admin", "/..;/admin", "/%2e/admin", "/x/.%2e/admin",
        "/api/../admin", "/api/%2e%2e/admin", "/api/..", "/admin/../x", "/admin/%2e%2e/x",
        "/%2e%2e/admin/..;/y", "/api//inner",
        "/api/%69nner", "/%2Fadmin", "///admin", "/%09/../admin", "admin", "http:admin", "", "@other.test/x",
        "/admin\x00",
    ],
)  # fmt: skip
def test_a_path_that_others_may_read_as_another_site_s_is_refused(uri: str) -> None:
    assert ask("shop.test", uri).status == 400


PIECES = st.sampled_from(
    ["/", "//", "\\", "%2f", "%5C", "%252f", ".", "..", "%2e", "%2E%2e", "admin", "ADMIN", "%61dmin",
     "%2561dmin", "api", ";a", "%00",
     "inner", "x", "%", "?", "%3f", "#", "%23", "%25", " ", "%20", "é", "%c3%a9"]
)  # fmt: skip


def readings(uri: str) -> set[str]:
    """Return how apps of all kinds may read a path: any steps, in any order, up to a bound."""
    steps = [
        lambda p: re.sub("%([0-9a-fA-F]{2})", lambda m: chr(int(m[1], 16)), p),
        lambda p: re.sub("/+", "/", p),
        lambda p: p.replace("\\", "/"),
        str.lower,
        lambda p: re.sub("[;][^/]*", "", p),
        lambda p: re.split("[?#\x00]", p)[0],
        _without_dots,
    ]
    found, fresh = set(), {uri.partition("?")[0]}
    while fresh and len(found) < 3000:
        found |= fresh
        fresh = {step(p) for p in fresh for step in steps} - found
    return found


def _without_dots(path: str) -> str:
    kept: list[str] = []
    for segment in path.split("/")[1:]:
        if segment == "..":
            kept = kept[:-1]
        elif segment != ".":
            kept.append(segment)
    return "/" + "/".join(kept)


@given(st.lists(PIECES, max_size=8).map(lambda parts: "/" + "".join(parts)))
@example("/%2e%2e/admin/..;/y")
@example("/;a\\.../admin")
@example("/;a%2f.../admin")
@example("/;a%252f%25/admin%252fADMIN")
def test_no_reading_of_a_path_gets_around_a_rule_or_into_another_app(uri: str) -> None:
    verdict = ask("shop.test", uri)
    if verdict.status == 400:
        return
    for reading in readings(uri):
        meant = ask("shop.test", quote(reading, safe="/*", encoding="latin-1", errors="replace"))
        if meant.status != 400:
            assert (meant.status, meant.app) == (verdict.status, verdict.app), reading


@given(st.text(max_size=40), st.text(max_size=40).map(lambda s: f"/{s}"))
def test_a_host_that_is_not_in_the_table_is_never_passed(host: str, uri: str) -> None:
    verdict = ask(host, uri)
    bare = host.lower().rstrip(".")
    if not TABLE.sites_of(bare) and ":" not in host:
        assert verdict.status in (404, 400)
        assert not verdict.app


@pytest.mark.parametrize("host", ["", ".", "*", "*.wild.test", ".wild.test", "wild.test", "a.b.wild.test",
                                  "shop", "[::1]",
                                  "[::1", "xshop.test", "shop.test.evil.test", "shop.test:80:80"])  # fmt: skip
def test_hosts_that_nobody_has(host: str) -> None:
    assert ask(host).status == 404


@pytest.mark.parametrize("host", ["shop.test", "SHOP.Test", "shop.test:443", "shop.test.", "Shop.TEST.:8443"])
def test_case_port_and_last_dot_do_not_matter(host: str) -> None:
    assert ask(host.replace(".:", ":")).app == "shop"
    assert ask("a." + host.lower().replace("shop", "wild").replace(".:", ":")).app == "shop"


@given(st.sampled_from(["/", "/x", "/x/y?z=1#w", "//evil.test", "/@evil.test", "/\\evil.test", "/%0d%0aSet-Cookie:x"]))
def test_a_redirect_leads_to_its_host_and_nowhere_else(uri: str) -> None:
    verdict = ask("old.test", uri)
    assert verdict == Verdict(308, headers=(("Location", f"https://shop.test{uri}"),))


@pytest.mark.parametrize(
    ("client", "status"),
    [
        ("10.1.2.3", 200), ("::ffff:10.1.2.3", 200), ("192.0.2.7", 200), ("fd00::1", 200),
        ("192.0.2.8", 403), ("11.0.0.0", 403), ("::ffff:11.0.0.1", 403), ("fe80::1", 403), ("::10.1.2.3", 403),
        ("", 403), ("10.1.2", 403), ("10.1.2.3, 9.9.9.9", 403), ("unknown", 403), ("010.1.2.3", 403),
    ],
)  # fmt: skip
def test_only_listed_networks_may_pass(client: str, status: int) -> None:
    assert ask("few.test", client=client).status == status


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (basic("ana:secret"), 200), (basic("ana:secret").replace("Basic", "bAsIc"), 200),
        ("", 401), (basic("ana:wrong"), 401), (basic("bob:secret"), 401), (basic("ana"), 401),
        (basic(":secret"), 401), (basic(""), 401),
        ("Bearer x", 401), ("Basic", 401), ("Basic !!!", 401),
        ("Basic " + base64.b64encode(b"\xff:\xfe").decode(), 401),
        ("Basic " + "A" * 1001, 401), (basic("ANA:secret"), 401),
    ],
)  # fmt: skip
def test_only_people_with_their_password_pass(authorization: str, status: int) -> None:
    verdict = ask("shop.test", "/admin/x", authorization=authorization)
    assert verdict.status == status
    assert (dict(verdict.headers).get("WWW-Authenticate") is not None) == (status == 401)


def test_a_password_with_a_colon_is_whole() -> None:
    t = table([{"host": "a.test", "app": "shop", "basic": {"ana": "hash of a:b:c"}}])
    assert decide(t, Request("a.test", "/", "::1", basic("ana:a:b:c")), fits).status == 200


@given(st.text(max_size=20))
def test_somebody_unknown_costs_as_much_as_somebody_known(user: str) -> None:
    tried = list[tuple[str, str]]()

    def counting(hashed: str, password: str) -> bool:
        tried.append((hashed, password))
        return True

    name = user.partition(":")[0]
    verdict = decide(TABLE, Request("shop.test", "/admin", "::1", basic(f"{name}:pw")), counting)
    assert tried == [("hash of secret", "pw")]
    assert (verdict.status == 200) == (name == "ana")


def test_a_stranger_s_password_is_not_even_looked_at() -> None:
    def never(_hashed: str, _password: str) -> bool:
        raise AssertionError("asked")

    assert decide(TABLE, Request("both.test", "/", "11.0.0.1", basic("ana:secret")), never).status == 403


def test_an_app_without_a_copy_says_sorry_unless_it_is_held() -> None:
    verdict = ask("none.test", "/x")
    assert verdict.status == 503
    assert dict(verdict.headers)["Retry-After"] == "10"
    assert decide(TABLE, Request("none.test", "/x", "", ""), fits, {"none"}) == Verdict(200, "none")
    assert ask("none.test", "/y").status == 404
    assert (ask("paths.test", "/only/x").app, ask("paths.test", "/x").status) == ("api", 404)


def test_hosts_of_one_app_without_rules_need_no_decision() -> None:
    assert simple(table([{"host": "a.test", "app": "shop"}]), "a.test")
    for sites in (
        [{"host": "a.test", "app": "shop", "path": "/x"}],
        [{"host": "a.test", "redirect": "b.test"}],
        [{"host": "a.test", "app": "shop", "allow": ["::/0"]}],
        [{"host": "a.test", "app": "shop", "basic": {"ana": "x"}}],
        [{"host": "a.test", "app": "shop"}, {"host": "a.test", "app": "api", "path": "/x"}],
        [{"host": "*.test", "app": "shop"}],
    ):
        assert not simple(table(sites), "a.test")
