"""Signed tips, with the real ssh-keygen and gpg: only a listed key that holds lets a commit pass."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from automator67.engine.repo import signatures
from automator67.engine.repo.local import LocalRepository
from automator67.engine.repo.signatures import AllowedSigners, Unsigned, verify_tip
from tests.support.githttp import GIT_ENV, git

needs_ssh = pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="ssh-keygen is not installed")
needs_gpg = pytest.mark.skipif(not shutil.which("gpg"), reason="gpg is not installed")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    git("init", "-q", "-b", "main", path)
    return path


def _ssh_key(tmp_path: Path, name: str) -> Path:
    key = tmp_path / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", key], check=True, timeout=60)
    return key


def _commit_ssh(work: Path, key: Path) -> str:
    options = ["-c", "gpg.format=ssh", "-c", f"user.signingkey={key}"]
    git(*options, "commit", "-q", "-S", "--allow-empty", "-m", "signed", cwd=work)
    return git("rev-parse", "HEAD", cwd=work)


def _line(who: str, key: Path, options: str = "") -> str:
    return " ".join(filter(None, [who, options, key.with_suffix(".pub").read_text().strip()]))


def _tampered(work: Path, commit: str) -> str:
    """Return the same commit, signature included, with another message."""
    text = subprocess.run(["git", "cat-file", "commit", commit], cwd=work, capture_output=True, check=True).stdout
    changed = text.replace(b"signed", b"forged")
    assert changed != text
    return git("hash-object", "-w", "-t", "commit", "--stdin", cwd=work, data=changed)


@needs_ssh
def test_an_ssh_key_on_the_list(work: Path, tmp_path: Path) -> None:
    key, other = _ssh_key(tmp_path, "ana"), _ssh_key(tmp_path, "bob")
    commit = _commit_ssh(work, key)
    repo = LocalRepository(work)
    allowed = AllowedSigners(ssh=("# people", _line("bob@example.org", other), _line("ana@example.org", key)))
    assert verify_tip(repo, commit, allowed) == "ana@example.org"
    several = AllowedSigners(ssh=(_line("a@example.org,b@example.org", key),))
    assert verify_tip(repo, commit, several) == "a@example.org"
    with pytest.raises(Unsigned, match="SSH key that is not listed"):
        verify_tip(repo, commit, AllowedSigners(ssh=(_line("bob@example.org", other),)))
    with pytest.raises(Unsigned, match="no SSH key is listed"):
        verify_tip(repo, commit, AllowedSigners(gpg=("x",)))
    with pytest.raises(Unsigned, match="does not hold"):
        verify_tip(repo, _tampered(work, commit), allowed)


@needs_ssh
def test_an_ssh_key_for_another_purpose_or_out_of_time(work: Path, tmp_path: Path) -> None:
    key = _ssh_key(tmp_path, "ana")
    commit = _commit_ssh(work, key)
    repo = LocalRepository(work)
    assert verify_tip(repo, commit, AllowedSigners(ssh=(_line("ana", key, 'namespaces="git"'),))) == "ana"
    for options in ('namespaces="file"', 'valid-before="20200101"'):
        with pytest.raises(Unsigned):
            verify_tip(repo, commit, AllowedSigners(ssh=(_line("ana", key, options),)))


def test_an_unsigned_commit(work: Path) -> None:
    git("commit", "-q", "--allow-empty", "-m", "x", cwd=work)
    with pytest.raises(Unsigned, match="is not signed"):
        verify_tip(LocalRepository(work), git("rev-parse", "HEAD", cwd=work), AllowedSigners(ssh=("x",)))


@pytest.mark.parametrize("text", ["-----BEGIN SIGNED MESSAGE-----\n x\n -----END SIGNED MESSAGE-----", "nonsense"])
def test_an_unknown_kind_of_signature(work: Path, text: str) -> None:
    tree = git("mktree", cwd=work, data=b"")
    who = "A <a@b> 1700000000 +0000"
    raw = f"tree {tree}\nauthor {who}\ncommitter {who}\ngpgsig {text}\n\nx\n"
    commit = git("hash-object", "-w", "-t", "commit", "--stdin", cwd=work, data=raw.encode())
    with pytest.raises(Unsigned, match="not supported"):
        verify_tip(LocalRepository(work), commit, AllowedSigners(ssh=("x",), gpg=("y",)))


@needs_ssh
def test_a_tool_that_is_missing_or_hangs(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = _ssh_key(tmp_path, "ana")
    commit = _commit_ssh(work, key)
    allowed = AllowedSigners(ssh=(_line("ana", key),))
    empty = tmp_path / "bin"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))
    with pytest.raises(Unsigned, match="ssh-keygen is not installed"):
        verify_tip(LocalRepository(work), commit, allowed)
    (empty / "ssh-keygen").write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    (empty / "ssh-keygen").chmod(0o755)
    monkeypatch.setattr(signatures, "TOOL_SECONDS", 0.3)
    with pytest.raises(Unsigned, match="did not end"):
        verify_tip(LocalRepository(work), commit, allowed)


class _Gpg:
    def __init__(self, home: Path) -> None:
        home.mkdir(mode=0o700)
        self.env = {**GIT_ENV, "GNUPGHOME": str(home)}

    def run(self, *args: str) -> str:
        command = ["gpg", "--batch", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", "", *args]
        done = subprocess.run(command, env=self.env, capture_output=True, check=True, timeout=90)
        return done.stdout.decode()

    def make(self, who: str, expires: str = "0") -> str:
        self.run("--quick-generate-key", who, "ed25519", "sign", expires)
        listing = self.run("--with-colons", "--list-secret-keys", who)
        return next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr"))

    def commit(self, work: Path, key: str) -> str:
        command = ["git", "-c", f"user.signingkey={key}", "commit", "-q", "-S", "--allow-empty", "-m", "signed"]
        subprocess.run(command, cwd=work, env=self.env, check=True, capture_output=True, timeout=90)
        return git("rev-parse", "HEAD", cwd=work)

    def stop(self) -> None:
        subprocess.run(["gpgconf", "--kill", "all"], env=self.env, check=False, capture_output=True, timeout=60)


@pytest.fixture
def gpg(tmp_path_factory: pytest.TempPathFactory) -> _Gpg:
    # The agent's socket path must be short.
    import tempfile

    place = Path(tempfile.mkdtemp(prefix="g", dir="/tmp"))
    made = _Gpg(place / "h")
    yield made
    made.stop()
    shutil.rmtree(place, ignore_errors=True)


@needs_gpg
def test_an_openpgp_key_on_the_list(work: Path, gpg: _Gpg) -> None:
    ana, bob = gpg.make("ana@example.org"), gpg.make("bob@example.org")
    keys = {name: gpg.run("--armor", "--export", name) for name in (ana, bob)}
    commit = gpg.commit(work, ana)
    repo = LocalRepository(work)
    assert verify_tip(repo, commit, AllowedSigners(gpg=(keys[bob], keys[ana]))) == ana
    with pytest.raises(Unsigned, match="OpenPGP key that is not listed"):
        verify_tip(repo, commit, AllowedSigners(gpg=(keys[bob],)))
    with pytest.raises(Unsigned, match="no OpenPGP key is listed"):
        verify_tip(repo, commit, AllowedSigners(ssh=("x",)))
    with pytest.raises(Unsigned, match="does not hold"):
        verify_tip(repo, _tampered(work, commit), AllowedSigners(gpg=(keys[ana],)))
    with pytest.raises(Unsigned, match="cannot be read"):
        verify_tip(repo, commit, AllowedSigners(gpg=("no key",)))


@needs_gpg
def test_an_openpgp_key_that_expired(work: Path, gpg: _Gpg) -> None:
    gpg.run(
        "--faked-system-time", "20200101T000000!", "--quick-generate-key", "old@example.org", "ed25519", "sign", "1d"
    )
    key = next(
        line.split(":")[9]
        for line in gpg.run("--with-colons", "--list-secret-keys").splitlines()
        if line.startswith("fpr")
    )
    wrapper = Path(gpg.env["GNUPGHOME"]) / "gpg-then"
    wrapper.write_text('#!/bin/sh\nexec gpg --faked-system-time "20200101T010000!" "$@"\n')
    wrapper.chmod(0o755)
    command = ["git", "-c", f"gpg.program={wrapper}", "-c", f"user.signingkey={key}", "commit", "-q", "-S"]
    subprocess.run([*command, "--allow-empty", "-m", "x"], cwd=work, env=gpg.env, check=True, capture_output=True)
    exported = gpg.run("--armor", "--export", key)
    with pytest.raises(Unsigned, match="expired"):
        verify_tip(LocalRepository(work), git("rev-parse", "HEAD", cwd=work), AllowedSigners(gpg=(exported,)))
