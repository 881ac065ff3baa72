"""Asks instances whether they are well: over HTTP, by a TCP connection, or by a command inside. Each has a deadline."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import time
from typing import Any, NamedTuple

from automator67.agent.address import address_of
from automator67.agent.docker_http import DockerApi, Frames
from automator67.agent.http1 import Connection
from automator67.agent.launching import launch
from automator67.agent.model import Probe, Seen, Wanted
from automator67.agent.process_files import ProcessError

# Where a proxy publishes a container's port it accepts first and closes when nobody listens behind it.
_PROXY_VERDICT = 0.1


class Result(NamedTuple):
    """The outcome of one probe; ``detail`` says why it failed."""

    passed: bool
    detail: str = ""


def ask(probe: Probe, w: Wanted, seen: Seen, docker: DockerApi, launch_doc: dict[str, Any] | None) -> Result:
    """Probe an instance once. Never raises; takes at most the probe's timeout and a little.

    ``launch_doc`` is how a command probe runs beside a process (launching.launch_document).
    """
    try:
        if probe.kind == "command":
            if seen.runtime == "docker":
                return _docker_command(docker, seen.handle, probe)
            return _process_command(launch_doc, probe) if launch_doc else Result(False, "it does not run")
        address = address_of(w, seen, probe.port)
        if not address:
            return Result(False, f"port {probe.port or w.port} is not published: there is nothing to ask")
        return _http(address, probe) if probe.kind == "http" else _tcp(address, probe)
    except TimeoutError:
        return Result(False, f"{_what(probe)}: no answer within {probe.timeout:g} s")
    except OSError as e:
        return Result(False, f"{_what(probe)}: {e.strerror or e}")
    except (ProcessError, ValueError, KeyError, TypeError) as e:
        return Result(False, f"{_what(probe)}: {e}")


def _what(probe: Probe) -> str:
    if probe.kind == "http":
        return f"GET {probe.target}"
    return "TCP connection" if probe.kind == "tcp" else f"probe command {probe.command[0]}"


def _connect(address: str, timeout: float) -> socket.socket:
    host, _, port = address.rpartition(":")
    # As bytes: text would go through the IDNA codec, whose tables take a megabyte.
    place: Any = (host.strip("[]").encode(), int(port))
    return socket.create_connection(place, timeout=timeout)


def _http(address: str, probe: Probe) -> Result:
    deadline = time.monotonic() + probe.timeout
    conn = Connection(_connect(address, probe.timeout), address)
    try:
        headers = {"User-Agent": "automator67-probe", "Connection": "close"}
        conn.send("GET", probe.target, b"", deadline, headers)
        status, _ = conn.head(deadline)
    finally:
        conn.close()
    return Result(True) if 200 <= status < 400 else Result(False, f"GET {probe.target}: status {status}")


def _tcp(address: str, probe: Probe) -> Result:
    with _connect(address, probe.timeout) as sock:
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        if poll.poll(min(probe.timeout, _PROXY_VERDICT) * 1000) and not sock.recv(1):
            return Result(False, "TCP connection: closed at once; nothing listens behind the published port")
    return Result(True)


def _docker_command(docker: DockerApi, container: str, probe: Probe) -> Result:
    deadline = time.monotonic() + probe.timeout
    body = json.dumps({"Cmd": probe.command, "AttachStdout": True, "AttachStderr": True}).encode()
    made = docker.call("POST", f"/containers/{container}/exec", probe.timeout, body)
    if made.status != 201:
        return Result(False, f"{_what(probe)}: the Docker Engine answers {made.status}")
    exec_id = str(made.json()["Id"])
    said = b""
    try:
        left = max(0.01, deadline - time.monotonic())
        reply = docker.call("POST", f"/exec/{exec_id}/start", left, b'{"Detach":false}')
        said = b"".join(data for _, data in Frames().feed(reply.body))
    except TimeoutError:
        _end_exec(docker, exec_id)
        raise
    code = (docker.get(f"/exec/{exec_id}/json", 2.0) or {}).get("ExitCode")
    return _verdict(probe, code if isinstance(code, int) else -1, said)


def _end_exec(docker: DockerApi, exec_id: str) -> None:
    """Kill a command that takes too long, where this user may: the engine has no call for it."""
    doc = docker.get(f"/exec/{exec_id}/json", 2.0) or {}
    if doc.get("Running") and int(doc.get("Pid") or 0) > 1:
        with contextlib.suppress(OSError):
            os.kill(int(doc["Pid"]), signal.SIGKILL)


def _process_command(doc: dict[str, Any], probe: Probe) -> Result:
    deadline = time.monotonic() + probe.timeout
    pid = launch(doc)
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return _verdict(probe, os.waitstatus_to_exitcode(status), b"")
        if time.monotonic() > deadline:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise TimeoutError
        time.sleep(0.02)


def _verdict(probe: Probe, code: int, said: bytes) -> Result:
    if code == 0:
        return Result(True)
    lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
    words = f": {lines[-1].strip()[:200]}" if lines else ""
    return Result(False, f"{_what(probe)}: exit code {code}{words}")
