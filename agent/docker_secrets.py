"""What the worker does with an instance's secrets: into the container's environment, and files before it starts."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import docker
from docker.errors import APIError
from docker.types import Mount

from automator67.agent import sealing, secret_files
from automator67.agent.box import Request


class SecretJobError(Exception):
    """An instance cannot get its secrets; the text is for a person and holds no value."""


def opened(request: Request | None) -> sealing.Contents:
    """Return what is in a box; nothing where there is none. Raises SecretJobError."""
    if request is None:
        return sealing.Contents({}, ())
    try:
        return sealing.open_box(request)
    except (sealing.SealError, OSError, ValueError) as e:
        raise SecretJobError(f"its secrets cannot be opened: {e}") from None


def place_files(request: Request | None, contents: sealing.Contents) -> list[Mount]:
    """Write an instance's files, still this user's own, and return how they come into the container."""
    if request is None or not contents.files:
        return []
    try:
        where = _directory(request)
        secret_files.write(where, [(str(n), content) for n, (_, content) in enumerate(contents.files)])
    except secret_files.SecretFilesError as e:
        raise SecretJobError(str(e)) from None
    return [
        Mount(target=path, source=f"{where}/{n}", type="bind", read_only=True)
        for n, (path, _) in enumerate(contents.files)
    ]


def hand_over(client: docker.APIClient, container: str, request: Request | None, contents: sealing.Contents) -> None:
    """Give an instance's files to the user its container runs as."""
    if request is None or not contents.files:
        return
    try:
        owner = _user(client, container)
        secret_files.give(_directory(request), [str(n) for n in range(len(contents.files))], owner)
    except secret_files.SecretFilesError as e:
        raise SecretJobError(str(e)) from None


def _directory(request: Request) -> str:
    return secret_files.directory(request["cloud"], request["node"], request["instance"])


def _user(client: docker.APIClient, container: str) -> tuple[int, int]:
    """Return user and group id a container runs as: numbers, or names of its image's own /etc/passwd."""
    user, _, group = str(client.inspect_container(container)["Config"].get("User") or "0").partition(":")
    if user.isdigit():
        return int(user), int(group) if group.isdigit() else 0
    for line in _read(client, container, "/etc/passwd").splitlines():
        fields = line.split(":")
        if fields[0] == user and len(fields) > 3 and fields[2].isdigit() and fields[3].isdigit():
            return int(fields[2]), int(group) if group.isdigit() else int(fields[3])
    raise SecretJobError(f"the image has no user {user}, to whom its secret files should belong")


def _read(client: docker.APIClient, container: str, path: str) -> str:
    try:
        stream, _ = client.get_archive(container, path)
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
            file: Any = archive.extractfile(archive.next())  # type: ignore[arg-type]
            return str(file.read(2**20).decode(errors="replace"))
    except (APIError, tarfile.TarError, AttributeError):
        return ""
