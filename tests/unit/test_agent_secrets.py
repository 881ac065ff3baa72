"""Secrets on the node: boxes opened by the agent, files that only their owner can read, failures in words."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from automator67.agent import secret_files
from automator67.agent.box import Request
from automator67.agent.opener import completed
from automator67.agent.sealing import SealError, new_key, open_box
from automator67.agent.secret_files import SecretFilesError
from automator67.engine.desired import App
from automator67.engine.instances import content_revision
from automator67.engine.load import Loader
from automator67.engine.secrets.delivery import Delivery
from automator67.engine.secrets.keys import Keyring
from automator67.engine.secrets.sealing import seal
from automator67.engine.secrets.vault import Opener, Vault
from tests.unit.test_load import BASE, Repository

APP = "image: a\nenv: {A: {secret: s}}\nfiles: [{path: /run/s, secret: t}]\n"


def commit(directory: Path, text: str = APP, value: bytes = b"hunter22") -> tuple[App, Vault]:
    """Return an app with two secrets, and the vault of its commit."""
    ring = Keyring(directory / "keys")
    key = ring.ensure().public
    files = {**BASE, "apps/x.yaml": text, "secrets/s.sealed": seal(key, "home", "s", value),
             "secrets/t.sealed": seal(key, "home", "t", b"\0\xff")}  # fmt: skip
    loaded = Repository(files).load(Loader(Opener(ring)))
    assert loaded.desired is not None
    assert loaded.vault is not None
    return loaded.desired.apps["x"], loaded.vault


def node_key(state: Path) -> bytes:
    """Make a node's identity in ``state``; return its public key as a certificate has it."""
    state.mkdir(exist_ok=True)
    pem = new_key()
    (state / "identity.pem").write_bytes(pem)
    public = serialization.load_pem_private_key(pem, None).public_key()
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def asked(state: Path, box: str, **other: str) -> Request:
    fields = {"state": str(state), "cloud": "home", "node": "n1", "instance": "x-0-r", "box": box}
    return Request(**(fields | other))  # type: ignore[typeddict-item]


def test_a_box_opens_on_its_node_for_its_instance_alone(tmp_path: Path) -> None:
    app, vault = commit(tmp_path)
    public = node_key(tmp_path / "n1")
    part = Delivery().part(vault, app, "x-0-r", "n1", public)["sealed"]
    contents = open_box(asked(tmp_path / "n1", part["box"]))
    assert (contents.env, contents.files) == ({"A": "hunter22"}, (("/run/s", b"\0\xff"),))
    assert part["files"] == ["/run/s"]
    assert "hunter22" not in json.dumps(part)
    node_key(tmp_path / "n2")
    broken = base64.b64encode(b"\0" * 200).decode()
    for wrong in (
        asked(tmp_path / "n2", part["box"]), asked(tmp_path / "n1", part["box"], instance="y-0-r"),
        asked(tmp_path / "n1", part["box"], node="n2"), asked(tmp_path / "n1", part["box"], cloud="away"),
        asked(tmp_path / "n1", broken), asked(tmp_path / "n1", "x"),
    ):  # fmt: skip
        with pytest.raises(SealError, match="not for this instance"):
            open_box(wrong)


def test_a_box_is_made_once_per_key_and_not_counted_in_the_desired_revision(tmp_path: Path) -> None:
    app, vault = commit(tmp_path)
    public = node_key(tmp_path / "n1")
    delivery = Delivery()

    def told(made: Delivery, key: bytes) -> tuple[str, str]:
        made.begin()
        part = made.part(vault, app, "x-0-r", "n1", key)
        return part["sealed"]["box"], content_revision({"node": "n1", "instances": [{"id": "x-0-r", **part}]})

    first = told(delivery, public)
    assert told(delivery, public) == told(delivery, public) == first
    restarted = told(Delivery(), public)
    assert (restarted[0] != first[0], restarted[1]) == (True, first[1])
    assert told(delivery, node_key(tmp_path / "joined-again"))[1] != first[1]


def test_what_cannot_be_delivered_keeps_what_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    app, vault = commit(tmp_path)
    delivery = Delivery()
    for _ in range(2):
        assert delivery.part(vault, app, "x-0-r", "n1", b"") == {"keep": True}
    assert len([r for r in caplog.records if "let it join again" in r.getMessage()]) == 1
    plain = App("y", app.origin, "docker")
    assert delivery.part(vault, plain, "y-0-r", "n1", b"") == {}


def test_the_opener_adds_values_and_lets_none_change_the_stamp(tmp_path: Path) -> None:
    app, vault = commit(tmp_path, APP.replace("{A:", "{A67_NODE: {secret: s}, A:"))
    box = Delivery().part(vault, app, "x-0-r", "n1", node_key(tmp_path / "n1"))["sealed"]["box"]
    where = secret_files.directory("test", f"n{os.getpid()}", "x-0-r")
    launch = {"env": {"PATH": "/bin", "A67_NODE": "n1"}, "user": None, "argv": ["true"]}
    doc = {"request": asked(tmp_path / "n1", box), "directory": where, "launch": launch}
    try:
        assert completed(doc)["env"] == {"PATH": "/bin", "A67_NODE": "n1", "A": "hunter22"}
        assert Path(where, "run/s").read_bytes() == b"\0\xff"
    finally:
        secret_files.remove(where)
    done = subprocess.run([sys.executable, "-P", "-m", "automator67.agent.opener"], capture_output=True, text=True,
                          input=json.dumps(doc | {"request": asked(tmp_path / "n1", "x")}))  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["error"].startswith("its secrets cannot be opened: they are not for this instance")


def test_files_are_private_and_written_anew_without_following_what_was_there(tmp_path: Path) -> None:
    where = secret_files.directory("test", f"n{os.getpid()}", "files")
    outside = tmp_path / "outside"
    outside.write_text("stays")
    try:
        secret_files.write(where, [("/a/b/c", b"one"), ("/d", b"two")])
        paths = [Path(where), Path(where, "a/b/c"), Path(where, "d")]
        assert [stat.S_IMODE(p.lstat().st_mode) for p in paths] == [0o700, 0o600, 0o600]
        assert stat.S_IMODE(Path(where).parent.stat().st_mode) == 0o711
        Path(where, "d").unlink()
        Path(where, "d").symlink_to(outside)
        Path(where, "e").symlink_to(tmp_path)
        secret_files.write(where, [("/d", b"three")])
        assert sorted(p.name for p in Path(where).iterdir()) == ["d"]
        assert (Path(where, "d").read_text(), outside.read_text()) == ("three", "stays")
        with pytest.raises(SecretFilesError):
            secret_files.write(where, [("/d", b"x"), ("/d/e", b"x")])
    finally:
        secret_files.remove(where)
    assert not Path(where).exists()
    secret_files.remove(where)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_files_go_to_the_user_of_the_app(tmp_path: Path) -> None:
    where = secret_files.directory("test", f"n{os.getpid()}", "owned")
    try:
        secret_files.write(where, [("/a/b", b"one")], (1234, 1235))
        assert {(p.stat().st_uid, p.stat().st_gid) for p in [Path(where), *Path(where).rglob("*")]} == {(1234, 1235)}
        secret_files.write(where, [("0", b"one")])
        secret_files.give(where, ["0"], (1234, 0))
        assert (Path(where).stat().st_uid, Path(where, "0").stat().st_uid) == (0, 1234)
    finally:
        secret_files.remove(where)


def test_what_a_crash_left_goes_and_nothing_else() -> None:
    node = f"n{os.getpid()}"
    paths = {name: Path(secret_files.directory("test", node, name)) for name in ("gone-0-r", "here-0-r")}
    other = Path(secret_files.directory("test", f"{node}x", "gone-0-r"))
    try:
        for path in (*paths.values(), other):
            secret_files.write(str(path), [("/a", b"one")])
        secret_files.forget_all_but("test", node, {"here-0-r"})
        assert [paths["gone-0-r"].exists(), paths["here-0-r"].exists(), other.exists()] == [False, True, True]
    finally:
        for path in (*paths.values(), other):
            secret_files.remove(str(path))


def test_a_directory_that_somebody_else_made_is_not_used(tmp_path: Path) -> None:
    open_to_all = tmp_path / "base"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    with pytest.raises(SecretFilesError, match="somebody else made it"):
        secret_files.write(f"{open_to_all}/x", [("/a", b"one")])
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(SecretFilesError, match="somebody else made it"):
        secret_files.write(f"{link}/x", [("/a", b"one")])
