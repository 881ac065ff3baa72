"""What the agent costs its node: memory at rest with ten containers, CPU at rest, and how long joining takes.

    python -m tests.bench.bench_agent

The peer in the same run is a bare ``python3 -c 'input()'``. Bars: 22 MiB resident with ten containers, 15 s after the
last worker ended; from the join command to the first heartbeat below 5 s.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.fake_engine import AGENT, Agent, FakeEngine, container_instance, http_probe, wait_for
from tests.support.images import docker_missing, need_busybox

CONTAINERS = 10
CALM = 15.0
WATCHED = 30.0
MOST_RESIDENT = 22.0
MOST_JOINING = 5.0


def memory(pid: int) -> dict[str, float]:
    """Return Rss, Pss and Uss (private) of a process in MiB."""
    sums = {"Rss": 0, "Pss": 0, "Private_Clean": 0, "Private_Dirty": 0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in sums:
            sums[name] += int(rest.split()[0])
    return {
        "RSS": sums["Rss"] / 1024,
        "PSS": sums["Pss"] / 1024,
        "USS": (sums["Private_Clean"] + sums["Private_Dirty"]) / 1024,
    }


def cpu_seconds(pid: int) -> float:
    """Return the CPU time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def bare() -> dict[str, float]:
    """Return the memory of an interpreter that does nothing."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        time.sleep(1)
        return memory(process.pid)
    finally:
        process.communicate(b"\n")


def children(pid: int) -> str:
    """Return the ids of a process's children."""
    found = ""
    for task in Path(f"/proc/{pid}/task").iterdir():
        # Threads come and go with the probes.
        with contextlib.suppress(FileNotFoundError):
            found += (task / "children").read_text()
    return found.strip()


def joining(engine: FakeEngine) -> float:
    """Return the seconds from the join command to the first heartbeat."""
    agent = Agent(engine, "joiner", ["--runtime", "process"])
    engine.agents.append(agent)
    token = engine.token("joiner")
    argv = [*AGENT, "join", engine.url, "-", "--run", *agent.options]
    began = time.perf_counter()
    with agent.log.open("wb") as log:
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)
    assert process.stdin is not None
    process.stdin.write(token.encode() + b"\n")
    process.stdin.close()
    agent.process = process
    wait_for("the first heartbeat", lambda: engine.last("joiner"), 60)
    took = time.perf_counter() - began
    agent.kill()
    return took


def main() -> int:
    """Run the benchmark; return the exit code."""
    if why := docker_missing():
        print(f"cannot run: {why}")
        return 1
    image = need_busybox()
    directory = Path(tempfile.mkdtemp(prefix="a67bench"))
    engine = FakeEngine(directory)
    try:
        joined = joining(engine)
        agent = engine.agent("n1", runtime="docker").start()
        wanted = [
            container_instance("web", image, "httpd", "-f", "-p", "8080", "-h", "/etc", slot=n, port=8080,
                               health=http_probe("/passwd"))
            for n in range(CONTAINERS)
        ]  # fmt: skip
        engine.want("n1", *wanted)
        for w in wanted:
            engine.wait_instance("n1", w["id"], 120, phase="running", health="healthy")
        assert agent.process is not None
        pid = agent.process.pid
        wait_for("the worker to end", lambda: not children(pid), 60)
        time.sleep(CALM)
        used, began = cpu_seconds(pid), time.monotonic()
        time.sleep(WATCHED)
        busy = (cpu_seconds(pid) - used) / (time.monotonic() - began)
        mine, peer = memory(pid), bare()
    finally:
        engine.close()
        shutil.rmtree(directory, ignore_errors=True)
    print(f"agent at rest, {CONTAINERS} containers probed every 10 s, {CALM:g} s after its last worker:")
    for name, amount in mine.items():
        print(f"  {name} {amount:5.1f} MiB   bare interpreter {peer[name]:5.1f} MiB   ratio {amount / peer[name]:.2f}")
    print(f"  CPU over {WATCHED:g} s: {busy * 100:.2f} % of a core")
    print(f"join command to first heartbeat: {joined:.2f} s (bar {MOST_JOINING:g} s)")
    good = mine["RSS"] <= MOST_RESIDENT and joined < MOST_JOINING
    print(f"resident {mine['RSS']:.1f} MiB (bar {MOST_RESIDENT:g} MiB): {'kept' if good else 'MISSED'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
