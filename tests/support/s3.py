"""A real S3 server on this machine: ``rclone serve s3`` over a directory."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType

import pytest

from tests.support.cloud import free_port, wait_for

ACCESS, SECRET = "AKIAMARKEDACCESS", "marked-secret-key-of-s3"


class S3:
    """Buckets are directories below ``root``. It may be stopped and started again on the same port."""

    def __init__(self, directory: Path) -> None:
        program = Path(sys.executable).parent / "rclone"
        found = str(program) if program.exists() else shutil.which("rclone")
        if not found:
            pytest.skip("rclone is not on this machine")
        self._program, self._directory = found, directory
        self.root = directory / "buckets"
        (self.root / "backups").mkdir(parents=True)
        self.port = free_port()
        self.url = f"s3+http://127.0.0.1:{self.port}/backups/here"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Listen; returns when it does."""
        argv = [self._program, "serve", "s3", str(self.root), "--addr", f"127.0.0.1:{self.port}"]
        with (self._directory / "s3.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*argv, "--auth-key", f"{ACCESS},{SECRET}", "--config", "/dev/null"], stdout=log, stderr=log
            )

        def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        wait_for("the S3 server", listens)

    def stop(self) -> None:
        """Be away."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Take connections and answer nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Answer again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> S3:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()
