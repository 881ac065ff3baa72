"""The newcomer's command: it sets everything up, follows a push, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from tests.support.cloud import wait_for
from tests.support.edge import ask
from tests.support.images import busybox

__all__ = ["busybox"]
pytestmark = pytest.mark.timeout(180)


class Demo:
    """A running demo with what it has printed so far."""

    def __init__(self, directory: Path, runtime: str) -> None:
        argv = [sys.executable, "-m", "automator67.engine.cli", "demo", "--dir", str(directory), "--runtime", runtime]
        self.process = subprocess.Popen(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        self.text = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.text += line
        self.process.stdout.close()

    def wait(self, text: str) -> None:
        try:
            wait_for(text, lambda: text in self.text, 60)
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.text}") from None

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(60)
        self._reader.join()
        return code


def stamped(cloud: str) -> list[str]:
    """Return the processes whose environment carries the cloud's stamp, and those that work in its directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"A67_CLOUD={cloud}".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text())
        except OSError:
            continue
    return found


def follow_a_push(directory: Path, demo: Demo) -> str:
    demo.wait("Now change something")
    addresses = re.findall(r"app/hello on \w+: (http://[\d.:]+/)", demo.text)
    assert len(addresses) == 2
    assert all("hello" in httpx.get(a).text for a in addresses)
    public = re.search(r"app/hello: https://hello.localhost:(\d+)/", demo.text)
    assert public is not None
    ca = (directory / "one" / "edge" / "ca.pem").read_text()
    assert "hello" in ask(int(public[1]), ca, "hello.localhost").text
    page = re.search(r"page: (http://[\d.:]+/)", demo.text)
    assert page is not None
    assert "hello" in httpx.get(page[1]).text
    clone = directory / "config"
    file = clone / "apps" / "hello.yaml"
    file.write_text(re.sub(r"GREETING:.*", "GREETING: changed by a push", file.read_text()))
    git = ["git", "-C", str(clone), "-c", "user.name=Ana", "-c", "user.email=ana@example.org"]
    subprocess.run([*git, "commit", "-qam", "hi"], check=True)
    subprocess.run([*git, "push", "-q"], check=True)
    demo.wait("commit: 1 updated")
    wait_for(
        "the change at the public name",
        lambda: {ask(int(public[1]), ca, "hello.localhost").text.strip() for _ in range(4)} == {"changed by a push"},
    )

    def noted() -> bool:
        subprocess.run([*git, "fetch", "-q"], check=True)
        done = subprocess.run([*git, "log", "-1", "--notes=automator67"], check=True, capture_output=True, text=True)
        return "automator67/apply success" in re.sub(" +", " ", done.stdout)

    wait_for("the notes of the commit", noted)
    name = re.search(r"name: (demo-\w+)", (clone / "automator67.yaml").read_text())
    assert name is not None
    return name[1]


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed on this machine")
def test_with_plain_processes(tmp_path: Path) -> None:
    demo = Demo(tmp_path / "demo", "process")
    try:
        cloud = follow_a_push(tmp_path / "demo", demo)
        assert len(stamped(cloud)) == 3
    finally:
        code = demo.stop()
    assert code == 0
    assert "gone: processes, containers, files" in demo.text
    assert not (tmp_path / "demo").exists()
    assert stamped(cloud) == []


@pytest.mark.docker
def test_with_containers(tmp_path: Path, busybox: str) -> None:
    demo = Demo(tmp_path / "demo", "docker")
    try:
        cloud = follow_a_push(tmp_path / "demo", demo)
    finally:
        code = demo.stop()
    assert code == 0
    argv = ["docker", "ps", "-aq", "--filter", f"label=a67.cloud={cloud}"]
    assert subprocess.run(argv, check=True, capture_output=True, text=True).stdout == ""
    assert not (tmp_path / "demo").exists()


def test_an_existing_directory_is_not_touched(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "automator67.engine.cli", "demo", "--dir", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert (done.returncode, "exists already" in done.stderr) == (255, True)
    assert tmp_path.exists()
