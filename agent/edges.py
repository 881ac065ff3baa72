"""Gives the edge of this node what it needs: certificates, the table, a process. For the main thread.

What the engine says of routes is joined with where the instances listen here and whether they are healthy, which this
node knows first. The edge itself is a process of its own that outlives the agent.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from automator67.agent.helper import Helper
from automator67.agent.link import Link, LinkError
from automator67.agent.retry import chance, request_delay
from automator67.agent.state import make_directory, read_json, write_json, write_private

_TIMEOUT = 20.0
_SHORTEST_RETRY, _LONGEST_RETRY = 2.0, 300.0
_LIFE = 365 * 86400.0

Json = Mapping[str, Any]


class Edges:
    """``options`` is where to listen and whom to ask for certificates, as the command line said.

    ``post`` gets ("edge certified", answer or None, error), to be handed to ``take_certificates``; the worker's answer
    to the job tagged ("edge request",) goes to ``take_request``. ``status`` is what the edge says of itself.
    """

    def __init__(
        self,
        state: str,
        options: Json,
        link: Link,
        helper: Helper,
        post: Callable[[tuple[Any, ...]], None],
        say: Callable[[str], None],
    ) -> None:
        self._home, self._options = f"{state}/edge", options
        self._link, self._helper, self._post, self._say = link, helper, post, say
        self._wanted: Json | None = None
        self._known = False
        self._node = ""
        self._local: dict[str, dict[str, Any]] = {}
        self._certificates = read_json(f"{self._home}/certificates.json") or {}
        self._engine_time = time.time()
        self._asking = False
        self._failures = 0
        self._not_before = self._start_at = 0.0
        self._written: Json | None = None
        self._status_at = 0
        self.status: dict[str, Any] = {}

    def want(self, node: str, edge: Json | None) -> None:
        """Take up what the engine says of this node's edge; None: it has none."""
        self._node, self._wanted, self._known = node, edge, True

    def see(self, instances: list[dict[str, Any]]) -> None:
        """Take up what a report says of the instances here."""
        self._local = {
            i["id"]: {"address": i["address"], "up": i["phase"] == "running" and i["health"] in ("none", "healthy")}
            for i in instances
            if i["address"]
        }

    def tick(self, now: float, epoch: float) -> float:
        """Do what is due; return when to look again (``now``: monotonic seconds, ``epoch``: of the engine's clock)."""
        self._engine_time = epoch
        if self._wanted is None:
            if self._known:
                self._stop()
            return float("inf")
        asked = self._ask(now) if self._certificates_due(self._wanted, epoch) else float("inf")
        if not self._certificates:
            return asked
        self._write(self._wanted)
        if now >= self._start_at and not running_edge(self._home):
            self._start_at = now + _SHORTEST_RETRY
            self._start()
        self._read_status()
        return min(asked, now + 1.0)

    def take_request(self, ok: bool, result: Any, error: str) -> None:
        """Send the signing request that the worker made."""
        if not ok:
            self._fail(error)
            return
        threading.Thread(target=self._send, args=({"proto": 1, "csr": result["csr"]},), daemon=True).start()

    def take_certificates(self, answer: Json | None, error: str) -> None:
        """Install what the engine certified."""
        if answer is None:
            self._fail(error)
            return
        # Caddy reads its own certificate only when it loads its configuration: not for a new name of a site.
        keep = bool(self._certificates) and not self._ends_soon(self._engine_time)
        try:
            for name in ("site",) if keep else ("ca", "site", "identity"):
                write_private(f"{self._home}/{name}.pem", str(answer[name]).encode())
            expires = self._certificates["expires"] if keep else float(answer["expires"])
            self._certificates = {"names": list(answer["names"]), "expires": expires}
            # Written last: without it the certificates count as not there.
            write_json(f"{self._home}/certificates.json", self._certificates)
        except (KeyError, TypeError, ValueError, OSError) as e:
            self._fail(f"{type(e).__name__}: {e}")
            return
        self._asking, self._failures, self._not_before = False, 0, 0.0
        self._written = None

    def _certificates_due(self, wanted: Json, epoch: float) -> bool:
        missing = set(wanted.get("names", ())) - set(self._certificates.get("names", ()))
        return bool(missing) or self._ends_soon(epoch)

    def _ends_soon(self, epoch: float) -> bool:
        return epoch > float(self._certificates.get("expires", 0.0)) - _LIFE / 3

    def _ask(self, now: float) -> float:
        if self._asking:
            return float("inf")
        if now < self._not_before:
            return self._not_before
        self._asking = True
        make_directory(self._home)
        self._helper.submit("edge request", {"home": self._home, "node": self._node}, ("edge request",), 30.0)
        return float("inf")

    def _send(self, doc: Json) -> None:
        answer, error = None, "the engine's answer holds no certificates"
        try:
            answer = self._link.once("POST", "/v1/edge", doc, _TIMEOUT)
        except LinkError as e:
            error = str(e)
        good = isinstance(answer, dict) and {"identity", "site", "names", "ca", "expires"} <= answer.keys()
        self._post(("edge certified", answer if good else None, error))

    def _fail(self, why: str) -> None:
        self._asking = False
        self._failures += 1
        delay = request_delay(self._failures, _SHORTEST_RETRY, _LONGEST_RETRY, chance())
        self._not_before = time.monotonic() + delay
        self._say(f"the proxy of this node got no certificate: {why}")

    def _write(self, wanted: Json) -> None:
        """Write the table when it has changed, and tell the edge."""
        routed = {t["instance"] for targets in wanted.get("apps", {}).values() for t in targets}
        table = {
            **wanted,
            "node": self._node,
            "local": {i: place for i, place in self._local.items() if i in routed},
            **self._options,
        }
        if table == self._written:
            return
        try:
            write_json(f"{self._home}/table.json", table)
        except OSError as e:
            self._say(f"the table of this node's proxy cannot be written: {e.strerror}")
            return
        self._written = table
        if pid := running_edge(self._home):
            os.kill(pid, signal.SIGHUP)

    def _start(self) -> None:
        log = os.open(f"{self._home}/edge.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-P", "-m", "automator67.agent.edge", self._home],
                os.environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)],
                setsid=True,
            )
            self._helper.unreaped.add(pid)
            self._say("the proxy of this node starts")
        except OSError as e:
            self._say(f"the proxy of this node cannot be started: {e.strerror}")
        finally:
            os.close(log)

    def _stop(self) -> None:
        self._known = False
        if stop_edge(self._home):
            self._say("this node needs no proxy any more")
        self.status, self._written, self._status_at = {}, None, 0

    def _read_status(self) -> None:
        try:
            at = os.stat(f"{self._home}/status.json").st_mtime_ns
        except FileNotFoundError:
            return
        if at != self._status_at:
            self._status_at = at
            found = read_json(f"{self._home}/status.json") or {}
            self.status = {k: found[k] for k in ("proxy", "https", "fingerprint", "problem") if k in found}


def running_edge(home: str) -> int:
    """Return the process id of the edge that serves from a directory, 0 when there is none: it holds its lock."""
    try:
        fd = os.open(f"{home}/lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return 0
    except OSError:
        text = os.pread(fd, 20, 0)
        return int(text) if text.isdigit() else 0
    finally:
        os.close(fd)


def stop_edge(home: str) -> bool:
    """Ask the edge of a directory, if one serves, to end with its Caddy; return whether there was one."""
    pid = running_edge(home)
    if pid:
        os.kill(pid, signal.SIGTERM)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{home}/status.json")
    return pid > 0
