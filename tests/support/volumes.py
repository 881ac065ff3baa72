"""A node with one volume, and jobs about it as an engine asks for them: the worker's part, without an agent."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from automator67.agent.sealing import new_key
from automator67.agent.volume_jobs import do
from automator67.engine.secrets.delivery import encrypted

CHILD = (
    "import json,sys\n"
    "from automator67.agent.volume_jobs import do\n"
    "args=json.load(open(sys.argv[1]))\n"
    "for job in sys.argv[2:]: do(job, args, '', lambda text: None)\n"
)


class Node:
    """A state directory with one volume of the process runtime, and jobs for it as an engine would ask for them."""

    def __init__(self, directory: Path, repository: Path | str, password: str = "right") -> None:
        self.state, self.repository, self.password = directory, repository, password
        directory.mkdir(exist_ok=True)
        identity = directory / "identity.pem"
        if not identity.exists():
            identity.write_bytes(new_key())
        key = load_pem_private_key(identity.read_bytes(), None)
        self._key = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.volume = directory / "volumes" / "a67-db-0-data"
        self.volume.mkdir(parents=True, exist_ok=True)
        (directory / "volumes" / "a67-db-0-data.json").write_text(json.dumps({"cloud": "c", "node": "n", "app": "db"}))

    def args(self, run: str, snapshot: str = "latest", **more: Any) -> dict[str, Any]:
        local = isinstance(self.repository, Path)
        name = f"{self.repository}/here" if local else self.repository
        place = {"repository": name, "env": {"RESTIC_PASSWORD": self.password}}
        plain = json.dumps({**place, "path": str(self.repository) if local else ""}).encode()
        box = encrypted(plain, "n", self._key, b"automator67 volume 1\0c\0n\0" + run.encode())
        return {
            "runtime": "process", "name": self.volume.name, "state": str(self.state), "cloud": "c", "node": "n",
            "run": run, "box": box, "snapshot": snapshot, "keep": 3, "files": -1, "bytes": -1, "labels": {},
            "policy": {"mounts": [str(self.repository)]}, "engine": "", "doc": {"cloud": "c", "node": "n", "app": "db"},
        } | more  # fmt: skip

    def do(self, job: str, run: str, **more: Any) -> dict[str, Any]:
        return do(f"volume {job}", self.args(run, **more), "", lambda _: None)

    def start(self, run: str, *jobs: str, **more: Any) -> subprocess.Popen[bytes]:
        file = self.state / "args.json"
        file.write_text(json.dumps(self.args(run, **more)))
        words = [f"volume {job}" for job in jobs]
        return subprocess.Popen([sys.executable, "-c", CHILD, str(file), *words], start_new_session=True)

    def fill(self, word: str) -> dict[str, str]:
        for n in range(40):
            (self.volume / f"{n}").write_text(f"{word} {n}" * 1000)
        return self.holds()

    def holds(self) -> dict[str, str]:
        return {p.name: p.read_text() for p in self.volume.iterdir()}

    def beside(self) -> list[str]:
        return [p.name for p in self.volume.parent.iterdir() if p.name not in ("a67-db-0-data", "a67-db-0-data.json")]
