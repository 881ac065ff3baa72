"""A 200 MB image carried from one agent's Docker Engine to another's through the engine, without a registry.

    python -m tests.bench.bench_image_transfer

The peer in the same run is ``docker save | docker load`` between the same two Docker Engines, on the same machine: no
TLS, no engine, no checksum. Bars: at most twice as long; the engine's memory grows by at most 32 MiB; a second
image of which only the top layer is new sends less than 1 MiB.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import docker

from tests.support.cloud import GIT, Cloud, wait_for
from tests.support.images import docker_missing, need_busybox
from tests.support.private_docker import PrivateDocker

MEGABYTES = 200
MOST_RATIO, MOST_GROWTH, MOST_SENT = 2.0, 32 * 2**20, 2**20
LOCAL = "/var/run/docker.sock"


def base_image(client: docker.APIClient, name: str, busybox: str) -> None:
    """Make an image with one layer of ``MEGABYTES`` that does not compress."""
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        for file, data in (
            ("Dockerfile", f"FROM {busybox}\nCOPY data /data\n".encode()),
            ("data", os.urandom(MEGABYTES * 10**6)),
        ):
            entry = tarfile.TarInfo(file)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    context.seek(0)
    for event in client.build(fileobj=context, custom_context=True, tag=name, decode=True, rm=True):
        assert "error" not in event, event


def saved_and_loaded(name: str, other: str) -> float:
    """Return the seconds of ``docker save | docker load``."""
    started = time.perf_counter()
    command = f"docker -H unix://{LOCAL} save {name} | docker -H unix://{other} load"
    subprocess.run(["sh", "-c", command], check=True, capture_output=True)
    return time.perf_counter() - started


def memory(pid: int) -> int:
    """Return the resident memory of a process in bytes."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) * 1024  # type: ignore[index]


def carried(cloud: Cloud, source: Path, app: str, base: str, marker: str) -> tuple[float, int, int]:
    """Let the app be built on node one and run on both; return seconds of fetching, bytes sent, the engine's memory."""
    (source / "Dockerfile").write_text(f'FROM {base}\nLABEL made={marker}\nCMD ["sleep", "100000"]\n')
    subprocess.run([*GIT, "add", "-A"], cwd=source, check=True)
    subprocess.run([*GIT, "commit", "-q", "-m", marker], cwd=source, check=True)
    before = len(sent(cloud))
    wait_for("the build", lambda: cloud.log("engine").count("was built on one") > before, 120)
    cloud.start_agent("two", "--docker-socket", cloud.other)  # type: ignore[attr-defined]
    wait_for(f"{app} to be told to start", lambda: starts(cloud) > before, 120)
    started, peak, pid = time.perf_counter(), 0, cloud.processes["engine"].pid
    while len(sent(cloud)) <= before:
        peak = max(peak, memory(pid))
        time.sleep(0.005)
    with contextlib.closing(docker.DockerClient(f"unix://{cloud.other}")) as other:  # type: ignore[attr-defined]
        wait_for("it to be loaded", lambda: len(other.images.list(f"a67/{app}")) > before, 120)
    return time.perf_counter() - started, sent(cloud)[before], peak


def sent(cloud: Cloud) -> list[int]:
    """Return the bytes of all images carried so far."""
    return [int(size) for size in re.findall(r"carried a67/\S+ from one to two: (\d+) bytes", cloud.log("engine"))]


def starts(cloud: Cloud) -> int:
    """Return how often node two was told to start a copy."""
    return len(re.findall(r"reconcile: start \S+ on two", cloud.log("engine")))


@contextlib.contextmanager
def other_engine() -> Iterator[PrivateDocker]:
    """A second Docker Engine, as another machine would have."""
    engine = PrivateDocker(Path(tempfile.mkdtemp(prefix="a67d")))
    try:
        yield engine.start()
    finally:
        engine.close()


def main() -> int:
    """Run the benchmark; return the exit code."""
    if why := docker_missing() or ("" if os.geteuid() == 0 else "a second Docker Engine needs root"):
        print(f"cannot run: {why}")
        return 1
    busybox = need_busybox()
    base = f"a67bench/base:{os.getpid()}"
    client = docker.APIClient(f"unix://{LOCAL}", timeout=300)
    with other_engine() as other, tempfile.TemporaryDirectory() as scratch:
        base_image(client, base, busybox)
        try:
            plain = saved_and_loaded(base, other.socket)
            with contextlib.closing(docker.APIClient(f"unix://{other.socket}", timeout=300)) as far:
                far.remove_image(base, force=True)
            with Cloud(Path(scratch) / "cloud", runtime="docker") as cloud:
                first, again, idle = run(cloud, Path(scratch) / "source", base, other.socket)
            seconds, size, peak = first
        finally:
            for image in [*client.images(f"a67/b{os.getpid()}", quiet=True), base]:
                with contextlib.suppress(docker.errors.APIError):
                    client.remove_image(image, force=True)
    ratio, growth = seconds / plain, peak - idle
    print(f"docker save | docker load   {plain:6.2f} s   {MEGABYTES / plain:6.0f} MB/s")
    print(f"carried through the engine  {seconds:6.2f} s   {size / 1e6 / seconds:6.0f} MB/s   ratio {ratio:.2f}"
          f" (bar {MOST_RATIO})")  # fmt: skip
    print(f"the engine's memory grew by {growth / 2**20:6.1f} MiB (bar {MOST_GROWTH >> 20})")
    print(f"a new top layer sent        {again[1] / 1024:6.0f} KiB (bar {MOST_SENT >> 10}) in {again[0]:.2f} s")
    return 0 if ratio <= MOST_RATIO and growth <= MOST_GROWTH and again[1] <= MOST_SENT else 1


def run(
    cloud: Cloud, source: Path, base: str, socket: str
) -> tuple[tuple[float, int, int], tuple[float, int, int], int]:
    """Carry an image, then one with a new top layer; return both and the engine's memory before."""
    app = f"b{os.getpid()}"
    cloud.poll, cloud.other = "300ms", socket  # type: ignore[attr-defined]
    cloud.push(cloud.base(), "two nodes")
    cloud.start_engine()
    for node in cloud.nodes:
        cloud.join(node)
    cloud.start_agent("one")
    wait_for("node one", lambda: cloud.healthy_nodes() == {"one"})
    subprocess.run([*GIT, "init", "-q", "-b", "main", str(source)], check=True)
    # Built on node one while it is the only one, since it alone has the base; the copy runs on two.
    doc = {"source": {"git": str(source)}, "place": {"require": {"node": "two"}},
           "resources": {"memory": "16Mi"}, "update": {"healthy_for": "0s"}}  # fmt: skip
    cloud.push({f"apps/{app}.yaml": doc}, "an app")
    idle = memory(cloud.processes["engine"].pid)
    first = carried(cloud, source, app, base, "one")
    cloud.kill("agent-two")
    wait_for("node two to be missed", lambda: cloud.healthy_nodes() == {"one"})
    return first, carried(cloud, source, app, base, "two"), idle


if __name__ == "__main__":
    sys.exit(main())
