"""A plain process that runs in the files of a git source."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from automator67.engine.judge import AppState
from tests.support.cloud import GIT, Cloud, wait_for

pytestmark = pytest.mark.timeout(120)
SERVE = "import pathlib, time\nprint('says', pathlib.Path('words').read_text(), flush=True)\ntime.sleep(1000)\n"


def commit(source: Path, words: str) -> None:
    (source / "app").mkdir(parents=True, exist_ok=True)
    (source / "app" / "main.py").write_text(SERVE)
    (source / "app" / "words").write_text(words)
    subprocess.run([*GIT, "add", "-A"], cwd=source, check=True)
    subprocess.run([*GIT, "commit", "-q", "-m", words], cwd=source, check=True)


def test_the_source_is_its_working_directory_and_is_followed_and_cleared_away(tmp_path: Path) -> None:
    source = tmp_path / "source"
    subprocess.run([*GIT, "init", "-q", "-b", "main", str(source)], check=True)
    commit(source, "one")
    with Cloud(tmp_path / "cloud", nodes=("one",)) as cloud:
        cloud.poll = "300ms"
        app = {
            "source": {"git": str(source), "path": "app"}, "runtime": "process", "command": [sys.executable, "main.py"],
            "resources": {"memory": "64Mi"}, "update": {"healthy_for": "0s"},
        }  # fmt: skip
        cloud.push(cloud.base() | {"apps/words.yaml": app}, "a process")
        cloud.up()

        def healthy(state: AppState) -> bool:
            return state.sync == "synced" and state.health == "healthy"

        def says() -> str:
            return cloud.cli("logs", "words", check=False).stdout

        first = cloud.wait_app("words", healthy)
        wait_for("the first words", lambda: "says one" in says())
        commit(source, "two")
        wait_for("the second words", lambda: "says two" in says())
        second = cloud.wait_app("words", lambda s: healthy(s) and s.rev_running != first.rev_running)
        instances = cloud.agent_state("one") / "instances"
        wait_for("old files to go", lambda: [p.name for p in instances.iterdir()] == [second.instances[0]["id"]])
        cloud.kill("agent-one")
        cloud.start_agent("one")
        wait_for("the node", lambda: cloud.healthy_nodes() == {"one"})
        assert cloud.wait_app("words", healthy).instances[0]["restarts"] == 0
