"""The web process: starting before and after the engine, stopping, dying, what it is told and what it is not."""

from __future__ import annotations

import html
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text, update

from automator67.engine.store.database import StoreReadOnly, open_store
from automator67.engine.store.tables import commits
from automator67.schemas.repository import check_files
from automator67.ui.app import create_app
from automator67.ui.readonly import ReadOnlyStore
from tests.support import deliveries as forge
from tests.support.cloud import free_port, wait_for
from tests.support.stores import postgres_server, store_url
from tests.support.web import COMMIT, SETTINGS, WebProcess, post, sample_store

__all__ = ["postgres_server", "store_url"]


def test_it_waits_for_the_engine_and_then_shows(tmp_path: Path) -> None:
    with WebProcess(tmp_path, SETTINGS) as web, httpx.Client(base_url=web.url, timeout=20) as client:
        early = client.get("/")
        assert early.status_code == 503
        assert "automator67 up" in early.text
        assert client.get("/healthz").status_code == 503
        assert client.get("/api/v1/overview").json() == {"error": client.get("/healthz").json()["error"]}
        assert post(client, "github", forge.github(forge.push())).status_code == 202
        open_store(tmp_path / "store.db").close()
        empty = client.get("/")
        assert empty.status_code == 200
        for expected in (
            "apps/hello.yaml",
            "image: ghcr.io/you/hello:1.0",
            "nodes/hel1.yaml",
            "kind: agent",
            "git push",
        ):
            assert expected in empty.text
        assert client.get("/healthz").json()["status"] == "ok"


def test_no_worker_outlives_its_killed_parent(tmp_path: Path) -> None:
    open_store(tmp_path / "store.db").close()
    with WebProcess(tmp_path) as web:
        assert httpx.get(f"{web.url}/healthz", timeout=20).status_code == 200
        parent = web.process.pid
        children = [int(p) for p in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
        assert children
        # Stopped, it cannot notice anything by itself.
        for child in children:
            os.kill(child, signal.SIGSTOP)
        web.process.kill()
        web.process.wait(10)
        try:
            wait_for("the workers to end", lambda: not any(alive(p) for p in children), 10)
        finally:
            for child in filter(alive, children):
                os.kill(child, signal.SIGKILL)


def alive(pid: int) -> bool:
    """Whether a process is there and no mere remainder."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_what_an_empty_page_tells_to_commit_is_valid(tmp_path: Path) -> None:
    open_store(tmp_path / "store.db").close()
    with WebProcess(tmp_path) as web:
        page = html.unescape(httpx.get(web.url, timeout=20).text)
    snippets = dict(re.findall(r'<span class="mono">(\w+/\w+\.yaml)</span>.*?<code>(.*?)</code>', page, re.DOTALL))
    assert sorted(snippets) == ["apps/hello.yaml", "nodes/hel1.yaml"]
    assert check_files({name: text.encode() for name, text in snippets.items()}).errors == ()


def test_a_commit_that_is_refused_shows_every_problem_with_its_place(tmp_path: Path) -> None:
    store = sample_store(tmp_path / "store.db", time.time(), trouble=False)
    report = check_files({"apps/blog.yaml": b"image: x:1\nprot: 8080\nreplicas: many\n"})
    with store.begin() as tx:
        problems = json.dumps([problem.as_data() for problem in report.problems])
        values = {"state": "invalid", "summary": str(report.problems[0]), "problems": problems}
        tx.execute(update(commits).where(commits.c.id == COMMIT).values(**values))
    store.close()
    with WebProcess(tmp_path) as web, httpx.Client(base_url=web.url, timeout=20) as client:
        assert f"Commit {COMMIT[:7]} is refused" in client.get("/").text
        page = html.unescape(client.get(f"/commits/{COMMIT}").text)
    assert len(report.problems) >= 2
    for problem in report.problems:
        assert f"{problem.file}:{problem.line}:{problem.column}" in page
        assert problem.message in page


def test_a_store_that_is_none_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"this is no database" * 100)
    with WebProcess(tmp_path, SETTINGS) as web, httpx.Client(base_url=web.url, timeout=20) as client:
        answer = client.get("/")
        assert answer.status_code == 503
        assert "Traceback" not in answer.text + web.log


def test_sigterm_stops_it_within_two_seconds(tmp_path: Path) -> None:
    sample_store(tmp_path / "store.db", time.time()).close()
    with WebProcess(tmp_path, SETTINGS) as web, httpx.Client(base_url=web.url, timeout=20) as client:
        assert client.get("/").status_code == 200  # leaves an idle connection open
        (worker,) = web.children()
        assert web.stop() < 2
        assert web.process.returncode == 0
        assert not Path(f"/proc/{worker}").exists()


def test_settings_that_cannot_be_used_end_it_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "web.json").write_text('{"secrets": {"githab": ["hush-hush"]}}')
    done = subprocess.run(
        [sys.executable, "-m", "automator67.ui", "--state", str(tmp_path), "--listen", "127.0.0.1:0"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "unknown forge" in done.stderr
    assert "hush" not in done.stderr


def test_the_command_hands_the_process_none_of_the_engines_secrets(tmp_path: Path) -> None:
    port = free_port()
    environment = {
        **os.environ,
        "A67_FORGE_TOKEN": "hush-token",
        "A67_WEBHOOK_SECRET": "hush-secret",
        "A67_LOG": "info",
    }
    command = [sys.executable, "-m", "automator67.engine.cli", "web"]
    process = subprocess.Popen(
        [*command, "--state", str(tmp_path), "--listen", f"127.0.0.1:{port}"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:

        def up() -> bool:
            try:
                return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=5).status_code == 503
            except httpx.HTTPError:
                return False

        wait_for("the web process", up)
        seen = Path(f"/proc/{process.pid}/environ").read_bytes() + Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert b"automator67.ui" in seen
        assert b"hush" not in seen
        assert b"A67_LOG" in seen
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.mark.parametrize(("proxies", "address"), [(0, "127.0.0.1"), (1, "203.0.113.9")])
def test_behind_a_proxy_its_word_counts_only_when_configured(tmp_path: Path, proxies: int, address: str) -> None:
    forwarded = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
    with (
        WebProcess(tmp_path, SETTINGS | {"trusted_proxies": proxies}) as web,
        httpx.Client(base_url=web.url, timeout=20, headers=forwarded) as client,
    ):
        assert ("strict-transport-security" in client.get("/nope").headers) is bool(proxies)
        client.post("/hooks/github", content=b"{}", headers={"Content-Type": "application/json"})
        wait_for("the refusal in the log", lambda: f"from {address}:" in web.log)


def test_killed_it_can_be_started_again_at_once_on_the_same_port(tmp_path: Path) -> None:
    sample_store(tmp_path / "store.db", time.time()).close()
    port = free_port()
    with WebProcess(tmp_path, SETTINGS, port=port) as first:
        assert httpx.get(first.url, timeout=20).status_code == 200
        os.kill(first.process.pid, signal.SIGKILL)  # what serves is left behind, and ends by itself
        first.process.wait(timeout=20)
        begun = time.monotonic()
        with WebProcess(tmp_path, SETTINGS, port=port) as second:
            assert httpx.get(second.url, timeout=20).status_code == 200
            assert time.monotonic() - begun < 10
            assert second.stop() < 2


def test_every_page_is_the_same_over_either_database(store_url: str) -> None:
    sample_store(store_url, time.time()).close()
    open_readonly = ReadOnlyStore(store_url)
    client = create_app(open_readonly).test_client()
    for path in ("/", "/apps/shop", "/nodes/hel1", f"/commits/{COMMIT[:9]}", "/api/v1/overview", "/healthz"):
        assert client.get(path).status_code == 200, path
    page = client.get("/").text
    assert "4 things need attention" in page
    assert "Blog 1.4.2" in page
    with pytest.raises(StoreReadOnly), open_readonly().read() as tx:
        tx.execute(text("INSERT INTO meta VALUES ('x', 'y')"))
    open_readonly().close()
