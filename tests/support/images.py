"""A small image for tests with containers, made from the static busybox of this machine: no registry is needed."""

from __future__ import annotations

import io
import socket
import subprocess
import tarfile
from pathlib import Path

import docker
import pytest
from docker.errors import ImageNotFound

BUSYBOX = "busybox:1.36.1"
_BINARY = Path("/bin/busybox")


def docker_missing(path: str = "/var/run/docker.sock") -> str:
    """Return why containers cannot be used here, or nothing when they can."""
    try:
        # Not by the SDK: its client leaves sockets open when nobody answers.
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(20)
            sock.connect(path)
            sock.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            answer = sock.recv(64)
    except OSError:
        return "no Docker Engine answers on this machine"
    return "" if b" 200 " in answer else "the Docker Engine on this machine does not work"


def need_busybox(path: str = "/var/run/docker.sock") -> str:
    """Have the image in the Docker Engine, importing it if it is absent, and return its name.

    Skips the test, saying why, where that cannot be done.
    """
    if why := docker_missing(path):
        pytest.skip(why)
    client = docker.APIClient(base_url=f"unix://{path}", version="auto", timeout=60)
    try:
        client.inspect_image(BUSYBOX)  # type: ignore[no-untyped-call]
    except ImageNotFound:
        if not _BINARY.exists():
            pytest.skip(f"no static busybox at {_BINARY} to make an image from")
        name, tag = BUSYBOX.split(":")
        client.import_image_from_data(_root(), repository=name, tag=tag, changes=['CMD ["sh"]', "ENV PATH=/bin"])
    finally:
        client.close()
    return BUSYBOX


@pytest.fixture(scope="session")
def busybox() -> str:
    """The name of an image with busybox's commands, present in this machine's Docker Engine."""
    return need_busybox()


def _root() -> bytes:
    """Return a tar of a root file system: busybox, its commands as links, and what programs expect to find."""
    applets = subprocess.run([str(_BINARY), "--list"], check=True, capture_output=True, text=True).stdout.split()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for directory, mode in (("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777), ("root", 0o700), ("var/www", 0o755)):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        binary = tarfile.TarInfo("bin/busybox")
        binary.size, binary.mode = _BINARY.stat().st_size, 0o755
        with _BINARY.open("rb") as file:
            tar.addfile(binary, file)
        for applet in applets:
            if applet != "busybox":
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
        for name, text in (
            ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"),
            ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
        ):
            file_entry = tarfile.TarInfo(name)
            file_entry.size, file_entry.mode = len(text), 0o644
            tar.addfile(file_entry, io.BytesIO(text.encode()))
    return out.getvalue()
