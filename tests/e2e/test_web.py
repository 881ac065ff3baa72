"""The web process for real: pages over a read-only store, headers, refusals to write, starting and stopping."""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import insert, text, update

from automator67.engine.store.database import StoreReadOnly, open_store
from automator67.engine.store.tables import app_states, events, meta, nodes
from automator67.ui.readonly import ReadOnlyStore
from tests.support.web import COMMIT, OLDER, PLANTED, SETTINGS, WebProcess, sample_store

PAGES = ("/", "/apps/blog", "/apps/shop", "/nodes/hel1", "/nodes/nbg1", f"/commits/{COMMIT}", f"/commits/{OLDER[:8]}")
JSON = ("/api/v1/overview", "/healthz")


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("web")
    sample_store(directory / "store.db", time.time()).close()
    return directory


@pytest.fixture(scope="module")
def web(state: Path) -> Iterator[WebProcess]:
    with WebProcess(state, SETTINGS) as process:
        yield process


@pytest.fixture
def client(web: WebProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=web.url, timeout=20) as one:
        yield one


# --- pages ---------------------------------------------------------------------------------------------------------


def test_the_overview_says_what_is_wrong_first_and_shows_everything(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.status_code == 200
    for expected in (
        "4 things need attention", "Node nbg1 is unavailable", "App shop is held", "exited with code 1 three times",
        "blog.example.org", 'href="http://192.0.2.7:30414"', "deployed", "compared", "memory limit 64Mi → none",
        "Blog 1.4.2, and a shop with &lt;two&gt; replicas", "4 apps healthy, 6 replicas", "1/2",
    ):  # fmt: skip
        assert expected in page.text, expected
    order = [
        page.text.index(f'id="{part}"')
        for part in ("attention", "summary", "apps", "nodes", "alerts", "commits", "events")
    ]
    assert order == sorted(order)


def test_state_is_told_in_words_and_shapes_beside_colour(client: httpx.Client) -> None:
    badges = re.findall(
        r'<span class="badge (\w+)"><svg[^>]*><use href="#i-(\w+)"/></svg>([^<]+)</span>', client.get("/").text
    )
    assert len(badges) > 10
    assert all(tone == shape and word.strip() for tone, shape, word in badges)
    assert {"ok", "warn", "bad"} <= {tone for tone, _, _ in badges}


def test_the_details_of_a_commit_an_app_and_a_node(client: httpx.Client) -> None:
    commit = client.get(f"/commits/{COMMIT[:10]}").text
    for expected in (
        COMMIT,
        "ghcr.io/ana/blog:1.4.1",
        "changed (value not shown)",
        "apps/shop.yaml is new",
        "exited with code 1",
    ):
        assert expected in commit, expected
    app = client.get("/apps/shop").text
    for expected in ("deadbeef0001", "77aa00bb11cc", OLDER[:7], "apps/shop.yaml", "shop-0-77aa00bb11cc"):
        assert expected in app, expected
    runs = client.get("/apps/blog").text
    for expected in (
        "before",
        "succeeded",
        "manual",
        "failed",
        "no such folder",
        "9 s",
        "automator67 logs blog --run N",
    ):
        assert expected in runs, expected
    node = client.get("/nodes/hel1").text
    for expected in ("portainer/portainer-ce:2.21", "1.7 GiB of 4 GiB", "48 MiB", "192.0.2.7", "0.1.0"):
        assert expected in node, expected


def test_alerts_are_shown_with_who_was_told_and_what_is_silenced(client: httpx.Client) -> None:
    page = client.get("/").text
    part = page[page.index('id="alerts"') : page.index('id="commits"')]
    for expected in (
        "node/nbg1",
        "no heartbeat for 2m40s",
        "night-mail",
        "app/wiki",
        "nobody",
        "app/shop",
        "new shelves",
    ):
        assert expected in part, expected
    assert part.index("node/nbg1") < part.index("app/wiki"), "what lasts comes first"
    facts = client.get("/api/v1/overview").json()
    assert [a["told"] for a in facts["alerts"]] == [["night-mail"], []]
    assert facts["quiet"][0]["by"] == "ana"


def test_json_has_the_same_facts(client: httpx.Client) -> None:
    answer = client.get("/api/v1/overview")
    content = answer.json()
    assert content["headline"] == "4 things need attention"
    assert content["concerns"][0]["resource"] == "node/nbg1"
    assert {a["name"]: a["sync"] for a in content["apps"]}["shop"] == "held"
    assert content["engine"]["head"] == COMMIT
    assert content["commits"][0]["posts"][0]["posted"] is True
    again = client.get("/api/v1/overview", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path", [*PAGES, *JSON, "/api/v1/fragment", "/api/v1/fragment/apps/blog", "/nope", "/hooks/github"]
)
def test_no_answer_shows_a_value_of_an_environment(client: httpx.Client, state: Path, path: str) -> None:
    assert PLANTED.encode() in (state / "store.db").read_bytes() + (state / "store.db-wal").read_bytes() * False
    assert PLANTED not in client.get(path).text


@pytest.mark.parametrize("path", [*PAGES, *JSON, "/nope", "/static/style.css", "/hooks/github"])
def test_every_answer_carries_the_headers(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert "set-cookie" not in headers
    assert headers["cache-control"]
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["form-action"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert "strict-transport-security" not in headers


@pytest.mark.parametrize("path", PAGES)
def test_no_page_needs_what_the_policy_forbids(client: httpx.Client, path: str) -> None:
    page = client.get(path).text
    assert " style=" not in page
    assert not re.search(r"\son\w+=", page)
    assert "<style" not in page
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", page))
    assert not re.search(r'(?:src|href)="(?:https?:)?//(?!192\.0\.2|blog\.example)', page)


def test_static_files_may_be_kept_for_good_under_the_hash_of_their_content(client: httpx.Client) -> None:
    page = client.get("/").text
    for name in ("style.css", "live.js", "icon.svg"):
        match = re.search(rf'"(/static/{re.escape(name)}\?v=[0-9a-f]+)"', page)
        assert match, name
        answer = client.get(match.group(1))
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
    assert client.get("/static/../app.py").status_code == 404
    assert client.get("/static/%2e%2e/app.py").status_code == 404


def test_a_fragment_changes_its_version_with_what_it_says_and_not_with_time(client: httpx.Client, state: Path) -> None:
    first = client.get("/api/v1/fragment")
    assert "<html" not in first.text
    etag = first.headers["etag"]
    time.sleep(1.1)  # long enough for every "n s ago" to have moved on
    assert client.get("/api/v1/fragment", headers={"If-None-Match": etag}).status_code == 304
    store = open_store(state / "store.db")
    with store.begin() as tx:
        row = {"at": time.time(), "kind": "note", "resource": "app/wiki", "message": "something new", "commit_id": ""}
        tx.execute(insert(events).values(**row))
    store.close()
    second = client.get("/api/v1/fragment", headers={"If-None-Match": etag})
    assert second.status_code == 200
    assert "something new" in second.text
    versions = [dict(re.findall(r'id="(\w+)" data-version="(\w+)"', answer.text)) for answer in (first, second)]
    assert {part for part in versions[0] if versions[0][part] != versions[1][part]} == {"events"}


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/apps/blgo", "Did you mean &#39;blog&#39;?"),
        ("/nodes/hel2", "Did you mean &#39;hel1&#39;?"),
        ("/commits/ffffffff", "has seen no such commit"),
        ("/commits/%25", "has seen no such commit"),
        ("/apps/%3Cscript%3E", "&lt;script&gt;"),
        ("/nope", "Not found"),
    ],
)
def test_what_is_not_there_is_said_plainly(client: httpx.Client, path: str, says: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert says in answer.text


# --- nothing can be written ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
@pytest.mark.parametrize("path", ["/", "/apps/blog", "/commits/" + COMMIT, "/api/v1/overview", "/healthz", "/nope"])
def test_only_reading_is_answered(client: httpx.Client, method: str, path: str) -> None:
    answer = client.request(method, path)
    assert answer.status_code == 405
    assert {"GET", "HEAD"} == {m.strip() for m in answer.headers["allow"].split(",")}


def test_head_is_answered_without_a_body(client: httpx.Client) -> None:
    answer = client.head("/")
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_webhook_endpoint_takes_nothing_but_post(client: httpx.Client) -> None:
    answer = client.get("/hooks/github")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"


def test_the_connection_of_the_web_process_refuses_to_write(state: Path) -> None:
    store = ReadOnlyStore(state / "store.db")()
    with pytest.raises(StoreReadOnly), store.begin():
        pass
    for statement in ("INSERT INTO meta VALUES ('x', 'y')", "DELETE FROM events", "CREATE TABLE t (x)"):
        with pytest.raises(StoreReadOnly), store.read() as tx:
            tx.execute(text(statement))
    store.close()


def test_the_files_of_the_store_are_opened_for_reading_only(web: WebProcess, client: httpx.Client) -> None:
    client.get("/")
    (worker,) = web.children()
    for fd in Path(f"/proc/{worker}/fd").iterdir():
        try:
            target = str(fd.readlink())
        except FileNotFoundError:
            continue
        if target.endswith("store.db"):
            flags = int(re.search(r"flags:\s+(\d+)", Path(f"/proc/{worker}/fdinfo/{fd.name}").read_text())[1], 8)  # type: ignore[index]
            assert flags & os.O_ACCMODE == os.O_RDONLY


def test_changes_in_the_store_show_at_once(client: httpx.Client, state: Path) -> None:
    store = open_store(state / "store.db")
    with store.begin() as tx:
        tx.execute(
            update(app_states).where(app_states.c.app == "wiki").values(health="missing", reason="no such image")
        )
        tx.execute(update(nodes).where(nodes.c.name == "nbg1").values(state="healthy", state_reason=""))
        tx.execute(update(meta).where(meta.c.key == "remote_error").values(value=""))
    page = client.get("/").text
    assert "App wiki is missing" in page
    assert "no such image" in page
    assert "Node nbg1 is" not in page
    with store.begin() as tx:
        tx.execute(update(app_states).where(app_states.c.app == "wiki").values(health="healthy", reason=""))
        tx.execute(
            update(nodes)
            .where(nodes.c.name == "nbg1")
            .values(state="unavailable", state_reason="no heartbeat for 2m40s")
        )
    store.close()


def test_reading_does_not_wait_for_a_writer(state: Path, client: httpx.Client) -> None:
    writer = sqlite3.connect(state / "store.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE meta SET value = 'elsewhere' WHERE key = 'cloud'")
    begun = time.monotonic()
    page = client.get("/")
    assert page.status_code == 200
    assert "elsewhere" not in page.text
    assert time.monotonic() - begun < 3
    writer.execute("ROLLBACK")
    writer.close()
