"""The short-lived worker: does what needs the Docker SDK or cryptography, so that the resident process stays small.

Jobs come as JSON lines on standard input, answers go as JSON lines to standard output; several jobs run at the same
time. It ends when its input ends. Secrets travel over these pipes only.

    {"id": 7, "job": "create", "args": {...}}
    {"id": 7, "progress": "pulling: 3 of 7 layers"}          any number of times
    {"id": 7, "ok": true, "result": ...}  or  {"id": 7, "ok": false, "error": "in words"}
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

Progress = Callable[[str], None]

_AT_ONCE = 4
_LONG = frozenset({"build", "export", "volume backup", "volume restore"})
"""Jobs that may take an hour: each has a thread of its own, so that nobody waits for one."""


def main() -> None:
    """Work until standard input ends."""
    # What libraries print must not get between the answers.
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    say_lock = threading.Lock()

    def say(message: dict[str, Any]) -> None:
        with say_lock:
            out.write(json.dumps(message) + "\n")

    docker_socket = sys.argv[1] if len(sys.argv) > 1 else ""
    if docker_socket:
        # Ready by the time the first job needs it.
        threading.Thread(target=_warm_up, daemon=True).start()
    jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def work() -> None:
        while True:
            say(_answer(jobs.get(), docker_socket, say))

    for _ in range(_AT_ONCE):
        threading.Thread(target=work, daemon=True).start()
    for line in sys.stdin:
        job = json.loads(line)
        if job["job"] in _LONG:
            threading.Thread(target=lambda j=job: say(_answer(j, docker_socket, say)), daemon=True).start()
        else:
            jobs.put(job)
    # The agent is gone or wants us gone. What is half done is found and finished by the next look.
    os._exit(0)


def _warm_up() -> None:
    import automator67.agent.docker_jobs  # noqa: F401


def _answer(message: dict[str, Any], docker_socket: str, say: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    number = message["id"]
    try:
        result = _do(message["job"], message["args"], docker_socket, lambda text: say({"id": number, "progress": text}))
    except Exception as e:
        return {"id": number, "ok": False, "error": _one_line(e)}
    return {"id": number, "ok": True, "result": result}


def _do(job: str, args: dict[str, Any], docker_socket: str, progress: Progress) -> Any:
    if job in ("open", "seal", "renewal", "install"):
        return _with_key(job, args)
    if job == "policy":
        from automator67.agent import policy_file

        return policy_file.read(args["path"])
    if job == "edge request":
        from automator67.agent import sealing

        return {"csr": sealing.edge_request(args["home"], args["node"])}
    if job == "tree":
        from automator67.agent import tree_jobs

        return tree_jobs.fetch(args, progress)
    if job.startswith("volume "):
        from automator67.agent import volume_jobs

        return volume_jobs.do(job, args, docker_socket, progress)
    from automator67.agent import docker_jobs, image_jobs

    if job == "build":
        return image_jobs.build(docker_socket, args, progress)
    if job == "export":
        return image_jobs.export(docker_socket, args, progress)
    return docker_jobs.do(job, args, docker_socket, progress)


def _with_key(job: str, args: dict[str, Any]) -> Any:
    from automator67.agent import sealing
    from automator67.agent.state import read, write_private

    state = args["state"]
    identity = Path(state, "identity.pem").read_bytes()
    if job == "renewal":
        return sealing.renewal(identity, args["name"])
    if job == "install":
        return sealing.install(state, args["certificate"], args["ca"])
    about = args["about"].encode()
    if job == "seal":
        write_private(f"{state}/desired.sealed", sealing.seal(identity, args["plain"].encode(), about))
        return None
    valid = sealing.validity(identity)
    sealed = read(f"{state}/desired.sealed")
    try:
        plain = sealing.unseal(identity, sealed, about).decode() if sealed else None
    except sealing.SealError as e:
        return {"valid": valid, "plain": None, "problem": str(e)}
    return {"valid": valid, "plain": plain, "problem": ""}


def _one_line(e: Exception) -> str:
    text = str(e) or type(e).__name__
    if isinstance(e, OSError) and e.strerror:
        text = f"{e.strerror}: {e.filename}" if e.filename else e.strerror
    return " ".join(text.split())[:500]


if __name__ == "__main__":
    main()
