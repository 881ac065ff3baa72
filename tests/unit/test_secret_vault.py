"""The secrets of a commit: found, opened, refused in words; and the commands that seal them."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from automator67.engine.cli.main import root
from automator67.engine.desired import Origin
from automator67.engine.load import Loader
from automator67.engine.repo.tree import Entry
from automator67.engine.secrets.errors import SecretError
from automator67.engine.secrets.keys import Keyring, PrivateKey
from automator67.engine.secrets.sealing import seal
from automator67.engine.secrets.vault import Opener, Vault


def vault(files: dict[str, str], ring: Keyring, cloud: str = "home") -> tuple[Vault, list[tuple[str, bytes]]]:
    blobs = {hashlib.sha1(t.encode()).hexdigest(): t.encode() for t in files.values()}
    places = {n: Origin(f"secrets/{n}.sealed", hashlib.sha1(t.encode()).hexdigest()) for n, t in files.items()}
    learned: list[tuple[str, bytes]] = []
    return Vault(cloud, places, blobs.__getitem__, Opener(ring, lambda n, v: learned.append((n, v)))), learned


def test_values_open_once_and_are_told_to_who_keeps_them_out_of_texts(tmp_path: Path) -> None:
    ring = Keyring(tmp_path)
    key = ring.ensure().public
    made, learned = vault({"a": seal(key, "home", "a", b"one\n"), "b": seal(key, "home", "b", b"\xff")}, ring)
    assert (made.value("a"), made.text("a"), made.value("a")) == (b"one\n", "one", b"one\n")
    assert made.fingerprint("a") == ring.fingerprint("a", b"one\n")
    assert learned == [("a", b"one\n")]
    with pytest.raises(SecretError, match="secret b is not text"):
        made.text("b")
    with pytest.raises(SecretError, match="there is no secret c; make it: automator67 seal c"):
        made.value("c")


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    ring = Keyring(tmp_path)
    key, other = ring.ensure().public, PrivateKey.new().public
    files = {"bad": "rubbish", "far": seal(other, "home", "far", b"x"), "moved": seal(key, "home", "was", b"x")}
    files["good"] = seal(key, "home", "good", b"x")
    troubles = vault(files, ring)[0].troubles(sorted(files))
    assert len(troubles) == 3
    assert troubles[0].startswith("secrets/bad.sealed:1:1: -----BEGIN")
    assert f"sealed to the key {other.id}, which this engine does not have" in troubles[1]
    assert "sealed as secret was, not as moved" in troubles[2]


def test_without_keys_only_the_names_are_known() -> None:
    made = Vault("home", {"a": Origin("secrets/a.sealed", "b")}, lambda _: b"")
    assert not made.opens
    with pytest.raises(SecretError, match="only the engine has the key"):
        made.value("a")


def test_an_old_key_that_comes_back_opens_again(tmp_path: Path) -> None:
    lost = Keyring(tmp_path / "backup")
    ring = Keyring(tmp_path / "now")
    ring.directory.mkdir()
    made, _ = vault({"a": seal(lost.ensure().public, "home", "a", b"x")}, ring)
    assert made.troubles(["a"])
    (tmp_path / "now" / "key-0001").write_bytes((tmp_path / "backup" / "key-0001").read_bytes())
    assert made.value("a") == b"x"


def test_from_nothing_to_a_sealed_value_on_the_command_line(tmp_path: Path) -> None:
    runner, state, repo = CliRunner(), tmp_path / "state", tmp_path / "repo"
    repo.mkdir()
    (repo / "automator67.yaml").write_text("name: home\n")

    def run(*argv: str, stdin: str | bytes = "", code: int = 0) -> str:
        done = runner.invoke(root, argv, input=stdin)
        assert done.exit_code == code, done.output
        assert "hunter22" not in done.output
        return done.output

    assert "automator67 keys export" in run("seal", "db", "--repo", str(repo), stdin="hunter22", code=1)
    assert "keys init" in run("keys", "export", "--state", str(state), code=1)
    assert "keep a backup" in run("keys", "init", "--state", str(state))
    made = json.loads(run("keys", "show", "--json", "--state", str(state)))["keys"]
    assert made[0]["id"] in run("keys", "export", "--repo", str(repo), "--state", str(state))
    assert run("keys", "export", "--state", str(state)) == (repo / "secrets/engine.pub").read_text()
    assert "would write" in run("seal", "db", "--dry-run", "--repo", str(repo), stdin="hunter22")
    assert not (repo / "secrets/db.sealed").exists()
    assert made[0]["id"] in run("seal", "db", "--repo", str(repo), stdin="hunter22\n")
    assert "cannot be the name" in run("seal", "../x", "--repo", str(repo), stdin="hunter22", code=1)
    assert "is empty" in run("seal", "x", "--repo", str(repo), stdin="", code=1)
    run("seal", "pem", "--repo", str(repo), stdin=b"a\nhunter22\n")
    entries = [
        Entry(str(p.relative_to(repo)), str(p), p.stat().st_size, 0o100644)
        for p in [*(repo / "secrets").iterdir(), repo / "automator67.yaml"]
    ]
    loaded = Loader(Opener(Keyring(state / "secrets"))).load(entries, lambda b: Path(b).read_bytes(), "c")
    assert loaded.problems == ()
    assert loaded.vault is not None
    assert (loaded.vault.value("db"), loaded.vault.value("pem")) == (b"hunter22", b"a\nhunter22\n")


def test_a_terminal_is_asked_without_echo(tmp_path: Path) -> None:
    (tmp_path / "automator67.yaml").write_text("name: home\n")
    ring = Keyring(tmp_path / "keys")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/engine.pub").write_text(ring.ensure().public.text())
    main, side = pty.openpty()
    argv = [sys.executable, "-m", "automator67.engine.cli", "seal", "db", "--repo", str(tmp_path)]
    process = subprocess.Popen(argv, stdin=side, stdout=side, stderr=side, start_new_session=True)
    os.close(side)
    shown = b""
    for _ in range(2):
        while not shown.rstrip().endswith(b":"):
            shown += os.read(main, 1024)
        os.write(main, b"hunter22\n")
        shown += b" -"
    assert process.wait(30) == 0
    shown += os.read(main, 4096)
    os.close(main)
    assert b"hunter22" not in shown
    made, _ = vault({"db": (tmp_path / "secrets/db.sealed").read_text()}, ring)
    assert made.value("db") == b"hunter22"
