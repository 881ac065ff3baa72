"""The agent's commands that are over soon: join, purge, unit."""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from automator67.agent import naming, unit
from automator67.agent.options import Arguments
from automator67.agent.state import StateError, lock, membership

# Seconds for what is under way at a proxy to be answered.
_EDGE_PATIENCE = 40
_UNIT = Path("/etc/systemd/system/automator67-agent.service")


def do(arguments: Arguments) -> int:
    """Do one command; return the exit code."""
    try:
        if arguments.command == "join":
            return _join(arguments)
        if arguments.command == "purge":
            return _purge(arguments)
        sys.stdout.write(_unit_text(arguments))
    except StateError as e:
        sys.stderr.write(f"{e}\n")
        return 1
    except OSError as e:
        sys.stderr.write(f"{e.strerror or e}{': ' + str(e.filename) if e.filename else ''}\n")
        return 1
    return 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _join(arguments: Arguments) -> int:
    from automator67.agent.joining import JoinError, join

    url, token = arguments.positional
    if token == "-":  # noqa: S105
        token = sys.stdin.readline()
    state = arguments.values["--state"]
    try:
        join(url, token, state, _say)
    except JoinError as e:
        sys.stderr.write(f"not joined: {e}\n")
        return 1
    run = _run_argv(arguments)
    if "--install" in arguments.flags:
        return _install(arguments)
    if "--run" in arguments.flags:
        _say("7. running the agent now")
        os.execv(sys.executable, run)  # noqa: S606
    _say(f"Now run it:  {' '.join(run)}")
    _say(f"As a service: python -m automator67.agent unit --state {state} > {_UNIT}, then systemctl enable --now")
    return 0


def _run_argv(arguments: Arguments) -> list[str]:
    argv = [sys.executable, "-P", "-m", "automator67.agent", "run"]
    for name, value in arguments.values.items():
        if value:
            argv += [name, value]
    return argv


def _unit_text(arguments: Arguments) -> str:
    v = arguments.values
    runtime = v["--runtime"]
    if runtime == "auto":
        # What is confined depends on it, so the unit says it outright.
        runtime = "docker" if Path(v["--docker-socket"]).exists() else "process"
    more = [f"--docker-socket {v['--docker-socket']}"] if v["--docker-socket"] != "/var/run/docker.sock" else []
    more += [f"--policy {unit.quoted(v['--policy'])}"] if v["--policy"] else []
    more += [f"--name-prefix {v['--name-prefix']}"] if v["--name-prefix"] else []
    return unit.unit(sys.executable, v["--state"], runtime, " ".join(more))


def _install(arguments: Arguments) -> int:
    try:
        _UNIT.write_text(_unit_text(arguments))
        _say(f"7. wrote {_UNIT}")
        for words in (["daemon-reload"], ["enable", "--now", _UNIT.name]):
            subprocess.run(["systemctl", *words], check=True, timeout=120)
    except (OSError, subprocess.SubprocessError) as e:
        sys.stderr.write(
            f"joined, but not installed as a service: {e}; run it with: {' '.join(_run_argv(arguments))}\n"
        )
        return 1
    _say(f"8. started; see it with: systemctl status {_UNIT.stem}")
    return 0


def _purge(arguments: Arguments) -> int:
    state = arguments.values["--state"]
    member = membership(state)
    held = lock(state)
    with_volumes = "--volumes" in arguments.flags
    try:
        # First what would bring it all back.
        for name in ("desired.sealed", "memory.json"):
            Path(state, name).unlink(missing_ok=True)
        problems = _purge_processes(arguments, member.cloud, member.node)
        socket = arguments.values["--docker-socket"]
        if arguments.values["--runtime"] != "process" and Path(socket).exists():
            problems += _purge_docker(socket, member.cloud, member.node, with_volumes)
        if not _stop_edge(f"{state}/edge"):
            problems.append("the proxy of this node did not end")
        if with_volumes:
            from automator67.agent.trees import remove_tree

            remove_tree(f"{state}/volumes")
    finally:
        os.close(held)
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    return 1 if problems else 0


def _stop_edge(home: str) -> bool:
    from automator67.agent.edges import running_edge, stop_edge

    stop_edge(home)
    for _ in range(_EDGE_PATIENCE * 20):
        if not running_edge(home):
            shutil.rmtree(home, ignore_errors=True)
            return True
        time.sleep(0.05)
    return False


def _purge_processes(arguments: Arguments, cloud: str, node: str) -> list[str]:
    from automator67.agent.processes import Processes

    done: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
    prefix = arguments.values["--name-prefix"] or naming.default_prefix(cloud)
    processes = Processes(arguments.values["--state"], cloud, node, prefix, done.put)
    processes.load()
    found = processes.seen()
    for s in found:
        processes.stop(s.instance, s.stop_timeout)
    problems = []
    for _ in found:
        _, instance, _, error, _ = done.get()
        if error:
            problems.append(f"{instance}: {error}")
        else:
            _say(f"removed process {instance}")
    return problems


def _purge_docker(socket: str, cloud: str, node: str, with_volumes: bool) -> list[str]:
    from concurrent.futures import ThreadPoolExecutor

    import docker
    from docker.errors import DockerException

    from automator67.agent.docker_jobs import JobError, do

    client = docker.APIClient(base_url=f"unix://{socket}", version="auto", timeout=30)
    problems: list[str] = []

    def remove(container: dict[str, Any]) -> None:
        name = container["Names"][0].lstrip("/")
        timeout = client.inspect_container(container["Id"])["Config"].get("StopTimeout")
        try:
            do(
                "remove",
                {
                    "container": container["Id"],
                    "stop_timeout": 10 if timeout is None else timeout,
                    "files": {"cloud": cloud, "node": node, "instance": container["Labels"][naming.INSTANCE]},
                },
                socket,
                _say,
            )
            _say(f"removed container {name}")
        except (JobError, DockerException, OSError) as e:
            problems.append(f"{name}: {e}")

    stamp = {"label": [f"{naming.CLOUD}={cloud}", f"{naming.NODE}={node}"]}
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(remove, client.containers(all=True, filters=stamp)))
        for volume in (client.volumes(filters=stamp).get("Volumes") or []) if with_volumes else []:
            client.remove_volume(volume["Name"])
            _say(f"removed volume {volume['Name']}")
    except DockerException as e:
        problems.append(f"the Docker Engine: {' '.join(str(e).split())[:200]}")
    finally:
        client.close()
    return problems
