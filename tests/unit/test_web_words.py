"""What the pages say: figures and times for people, links only where they are safe, what is wrong first."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from automator67.engine.alerts.rules import DEFAULT_ON
from automator67.engine.jobs import State
from automator67.ui import reading, text
from automator67.ui.attention import concerns, mood
from automator67.ui.model import App, Commit, Engine, Instance, LeftAlone, Node, Overview, Post, Problem
from automator67.ui.words import _TONES, tone, worst

NOW = 1_763_000_000.0


@pytest.mark.parametrize(
    ("past", "says"),
    [(0, "just now"), (4, "just now"), (42, "42 s ago"), (190, "3 min ago"), (7300, "2 h ago"), (200000, "2 d ago"),
     (-2, "just now"), (-3600 * 16, "in 16 h")],
)  # fmt: skip
def test_how_long_ago(past: float, says: str) -> None:
    assert text.ago(NOW - past, NOW) == says


def test_unknown_times() -> None:
    assert text.ago(0, NOW) == text.clock(0) == "never"
    assert text.iso(0) == ""
    assert text.iso(NOW) == "2025-11-13T02:13:20Z"


@pytest.mark.parametrize(
    ("count", "says"),
    [(None, "–"), (0, "0 B"), (999, "999 B"), (1000, "1 KiB"), (1536, "1.5 KiB"), (48 * 2**20, "48 MiB"),
     (1023 * 2**20, "1 GiB"), (4 * 2**30, "4 GiB"), (12.4 * 2**30, "12 GiB")],
)  # fmt: skip
def test_sizes(count: float | None, says: str) -> None:
    assert text.size(count) == says


def test_shares_and_cores() -> None:
    assert [text.share(u, w) for u, w in ((1, 2), (0, 0), (5, 2), (-1, 2), (1, 3))] == [50, 0, 100, 0, 33]
    assert [text.cores(c) for c in (0.25, 2.0, 0, None, 0.333)] == ["0.25", "2", "0", "–", "0.33"]


@pytest.mark.parametrize("address", ["192.0.2.7:80", "localhost:8080", "[2001:db8::7]:443", "node-1.example.org:1"])
def test_addresses_become_links(address: str) -> None:
    assert text.address_url(address) == f"http://{address}"


@pytest.mark.parametrize(
    "hostile", ["javascript:alert(1)", "a b:80", "host", "host:", "host:80/path", "//evil:80", "a@b:80", "x:80\n", ""]
)
def test_what_is_no_address_becomes_none(hostile: str) -> None:
    assert text.address_url(hostile) == ""
    assert text.resource_url(f"app/{hostile}x/") == ""
    assert text.commit_url(hostile) == ""


@pytest.mark.parametrize("hostile", ["javascript:alert(1)", "a/b", "a b", "", "-a", "a" * 300, "a" * 200 + "!"])
def test_what_is_no_domain_becomes_none(hostile: str) -> None:
    assert text.domain_url(hostile) == ""
    assert text.domain_url("blog.example.org") == "https://blog.example.org"


def test_links_to_resources() -> None:
    assert text.resource_url("app/blog") == "/apps/blog"
    assert text.resource_url("node/hel1") == "/nodes/hel1"
    assert text.resource_url("commit/3f2a91c07b1e") == "/commits/3f2a91c07b1e"
    assert [text.resource_url(r) for r in ("repository", "commit", "app/../x", "shard/main")] == [""] * 4


def app(name: str = "blog", **facts: Any) -> App:
    return App(**{"name": name, "sync": "synced", "health": "healthy", "drift": "none", **facts})


def commit(state: str = "applied", **facts: Any) -> Commit:
    return Commit(**{"id": "3f2a91c07b1e", "author": "Ana", "subject": "s", "committed_at": NOW, "seen_at": NOW,
                     "state": state, **facts})  # fmt: skip


def titles(seen: Overview) -> list[str]:
    return [c.title for c in concerns(seen, NOW)]


def test_all_well() -> None:
    seen = Overview(Engine(reconciled_at=NOW - 5), (app(),), (Node("hel1", "healthy"),), (commit(),))
    assert concerns(seen, NOW) == ()
    assert mood(seen, ()) == ("ok", "Everything is well")


def test_nothing_yet_and_on_the_way() -> None:
    assert mood(Overview(), ()) == ("idle", "Waiting for the first commit")
    first = Overview(apps=(app(sync="progressing", health="missing"),), nodes=(Node("hel1", "healthy"),))
    assert concerns(first, NOW) == ()
    assert mood(first, ())[0] == "busy"
    again = app(sync="progressing", health="missing", rev_running="r1")
    assert titles(Overview(apps=(again,), nodes=first.nodes)) == ["App blog is missing"]
    assert mood(Overview(commits=(commit("applying"),)), ())[0] == "busy"


def test_the_worst_comes_first() -> None:
    seen = Overview(
        Engine(remote_error="connection refused", reconciled_at=NOW - 3600),
        (app("a", drift="drifted"), app("b", health="missing", sync="held"), app("c", health="degraded"), app("d")),
        (Node("hel1", "unavailable", "no heartbeat"), Node("nbg1", "suspect"), Node("x", "revoked"),
         Node("y", "healthy", conditions=("disk_pressure",)), Node("z", "never")),
        (commit("invalid", problems=(Problem("apps/a.yaml:3:1", "unknown key prot"),)),),
    )  # fmt: skip
    assert titles(seen) == [
        "The engine has not looked for 60 minutes",
        "Commit 3f2a91c is refused",
        "Node hel1 is unavailable",
        "App b is missing and held",
        "The repository cannot be read",
        "Node nbg1 is suspect",
        "Node y is short of something",
        "App a is drifted",
        "App c is degraded",
    ]
    assert mood(seen, concerns(seen, NOW)) == ("bad", "9 things need attention")


def test_who_is_left_alone_is_told_once() -> None:
    left = (LeftAlone("node/far", NOW + 30, "Far is in trouble"), LeftAlone("node/gone", NOW + 30, "no answer"),
            LeftAlone("forge", NOW + 30, "502"))  # fmt: skip
    seen = Overview(nodes=(Node("far", "healthy"), Node("gone", "unavailable")), left_alone=left)
    assert titles(seen) == [
        "Node gone is unavailable",
        "far is left alone, since it fails",
        "forge is left alone, since it fails",
    ]
    assert [c.resource for c in concerns(seen, NOW)] == ["node/gone", "node/far", ""]


def test_reasons_are_told() -> None:
    refused = commit("invalid", problems=(Problem("apps/a.yaml:3:1", "unknown key prot"),))
    (one,) = concerns(Overview(commits=(refused,)), NOW)
    assert one.detail == "apps/a.yaml:3:1: unknown key prot"
    copy = Instance("blog-0", "blog", "hel1", detail="image not found")
    broken = app(health="missing", instances=(copy,))
    (one,) = concerns(Overview(apps=(broken,), nodes=(Node("hel1", "healthy"),)), NOW)
    assert one.detail == "image not found"
    unsent = commit(posts=(Post("3f2a91c07b1e", "automator67/plan", "success", "", False, "403 from the forge"),))
    assert titles(Overview(commits=(unsent,))) == ["A status could not be posted"]


def test_apps_without_any_node_are_a_concern() -> None:
    assert titles(Overview(apps=(app(),))) == ["No node has joined yet"]
    assert titles(Overview(commits=(commit(),))) == []


def test_only_the_newest_commit_is_a_concern() -> None:
    assert titles(Overview(commits=(commit("applied"), commit("failed")))) == []
    assert titles(Overview(commits=(commit("failed"), commit("applied")))) == ["Commit 3f2a91c failed"]


def test_an_unknown_word_is_neither_good_nor_bad() -> None:
    assert tone("health", "brand new word") == "idle"
    assert tone("no such kind", "ok") == "idle"
    assert worst() == "ok"
    assert worst("ok", "bad", "warn") == "bad"


def test_every_word_of_the_store_has_a_tone() -> None:
    known = {
        "sync": ("synced", "progressing", "held", "blocked", "out-of-sync"),
        "health": ("healthy", "progressing", "degraded", "missing"),
        "commit": ("pending", "applying", "applied", "failed", "invalid"),
        "post": ("pending", "success", "failure", "error"),
        "step": ("intent", "done", "failed"),
        "node": ("healthy", "maintenance", "suspect", "failing", "unavailable", "recovering", "revoked"),
        "phase": ("pending", "pulling", "starting", "running", "exited", "paused", "failed", "missing"),
        "run": get_args(State),
        "incident": (*DEFAULT_ON[:-1], "suspect", "recovering", "drifted"),
    }
    for kind, words in known.items():
        assert set(words) <= set(_TONES[kind]), kind


@pytest.mark.parametrize("junk", [None, 5, "x", [], [1], {"changes": 5}, {"changes": [{"fields": [7], "reasons": 3}]}])
def test_nothing_in_the_store_breaks_the_reading(junk: Any) -> None:
    reading.plan(junk)
    reading.amounts(junk)
    reading.foreign(junk)
    reading.parsed(json.dumps(junk) + "{")
    assert reading.texts(junk) == ()
    for item in reading.items(junk):
        reading.instance(item)
        reading.problem(item)


@pytest.mark.parametrize("path", ["env", "env.API_KEY", "env.A.B"])
def test_values_of_the_environment_are_left_out_of_a_plan(path: str) -> None:
    fields = [{"path": path, "old": "hush", "new": "hush2"}, {"path": "envoy", "old": "1", "new": "2"}]
    change = {"resource": "app/a", "kind": "update", "reasons": [f"{path} hush → hush2"], "fields": fields}
    assert "hush" not in repr(reading.plan({"changes": [change]}))
    assert "hush" not in repr(reading.plan({"changes": [change | {"fields": []}]}))
    assert reading.plan({"changes": [change]}).changes[0].fields[1].old == "1"
