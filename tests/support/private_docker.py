"""A Docker Engine of a test's own, beside the machine's: to be killed and frozen, or to be another machine's."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cloud import wait_for
from tests.support.images import docker_missing, need_busybox


class PrivateDocker:
    """A Docker Engine beside the machine's own, without networks."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = str(directory / "docker.sock")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> PrivateDocker:
        (self.directory / "run").mkdir(exist_ok=True)
        # After a kill -9 its containerd is gone too, but may still be a zombie that the pid file names.
        (self.directory / "run" / "containerd" / "containerd.pid").unlink(missing_ok=True)
        with (self.directory / "dockerd.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    # Without a network of its own it would take away the bridge of the machine's Docker Engine.
                    "unshare", "--net", "dockerd", "-H", f"unix://{self.socket}",
                    "--data-root", str(self.directory / "data"), "--exec-root", str(self.directory / "run"),
                    "--pidfile", str(self.directory / "pid"),
                    "--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false",
                    "--containerd-namespace", "a67test", "--containerd-plugins-namespace", "a67test-plugins",
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            wait_for("the private Docker Engine", lambda: not docker_missing(self.socket), 40)
        except AssertionError:
            text = (self.directory / "dockerd.log").read_text(errors="replace")[-800:]
            pytest.skip(f"a private Docker Engine cannot be started here: {text}")
        return self

    def stop(self, number: int = signal.SIGTERM) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(number)
            process.wait(60)

    def close(self) -> None:
        self.stop()
        remove_leftovers(self.directory)


def remove_leftovers(directory: Path) -> None:
    """Remove what a Docker Engine with its files in a directory leaves running (after a kill -9) and mounted."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and str(directory).encode() in (entry / "cmdline").read_bytes():
                for child in (entry / "task" / entry.name / "children").read_text().split():
                    os.kill(int(child), signal.SIGKILL)
                os.kill(int(entry.name), signal.SIGKILL)
    for line in reversed(Path("/proc/mounts").read_text().splitlines()):
        if line.split()[1].startswith(str(directory)):
            subprocess.run(["umount", "-l", line.split()[1]], check=False)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def private_docker() -> Iterator[PrivateDocker]:
    """A Docker Engine of the module's own, with a busybox image."""
    if os.geteuid() != 0 or not shutil.which("dockerd") or not shutil.which("unshare"):
        pytest.skip("a private Docker Engine needs root and dockerd")
    # A short path: a Unix socket's may have 107 letters.
    engine = PrivateDocker(Path(tempfile.mkdtemp(prefix="a67d")))
    try:
        engine.start()
        need_busybox(engine.socket)
        yield engine
    finally:
        engine.close()
