"""A real image registry on this machine, with a login where asked for."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from pathlib import Path
from types import TracebackType

import docker
import pytest

from tests.support.cloud import free_port, wait_for

USER, PASSWORD = "ana", "correct-horse-battery"


class Registry:
    """The distribution project's registry; ``login``: it wants ``USER`` and ``PASSWORD``."""

    def __init__(self, directory: Path, *, login: bool = False) -> None:
        if not shutil.which("docker-registry") or not shutil.which("htpasswd"):
            pytest.skip("docker-registry and htpasswd are not on this machine")
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        config = {
            "version": "0.1",
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": str(directory / "data")}, "delete": {"enabled": True}},
            "http": {"addr": self.host},
        }
        directory.mkdir(parents=True, exist_ok=True)
        if login:
            made = subprocess.run(
                ["htpasswd", "-Bbn", USER, PASSWORD], check=True, capture_output=True, text=True
            ).stdout  # fmt: skip
            (directory / "htpasswd").write_text(made)
            config["auth"] = {"htpasswd": {"realm": "here", "path": str(directory / "htpasswd")}}
        (directory / "config.yaml").write_text(json.dumps(config))
        self._directory = directory
        self._login = {"username": USER, "password": PASSWORD} if login else {}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["docker-registry", "serve", str(self._directory / "config.yaml")], stdout=log, stderr=log
            )  # fmt: skip

        def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        wait_for("the registry", listens)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def push(self, image: str, name: str, marker: str = "") -> str:
        """Push a copy of an image that this machine has, made different by ``marker``; return its digest."""
        client = docker.from_env()
        try:
            repository, _, tag = f"{self.host}/{name}".rpartition(":")
            container = client.api.create_container(image, labels={"marker": marker})["Id"]
            client.api.commit(container, repository, tag, changes=[f"LABEL marker={marker or 'none'}"])
            client.api.remove_container(container)
            said = client.api.push(repository, tag=tag, auth_config=self._login, stream=True, decode=True)
            lines = list(said)
            client.api.remove_image(f"{repository}:{tag}", force=True)
            return next(str(line["aux"]["Digest"]) for line in lines if "aux" in line)
        finally:
            client.close()

    def __enter__(self) -> Registry:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()
