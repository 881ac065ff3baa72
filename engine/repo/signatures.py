"""Requires that a commit is signed by somebody on a list: SSH keys (ssh-keygen) or OpenPGP keys (gpg).

The tools check; we only hand them the signature and the signed bytes in private temporary files, and read their
verdict. No key of this machine's user takes part.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from automator67.engine.repo.objects import commit
from automator67.engine.repo.readable import Readable

TOOL_SECONDS = 20.0
_NAMESPACE = "git"


class Unsigned(Exception):
    """The commit may not be used: not signed, not by a listed key, or the signature does not hold. Says which."""


@dataclass(frozen=True, slots=True)
class AllowedSigners:
    """Whose signatures count.

    ``ssh``: lines as in ssh-keygen's ALLOWED SIGNERS format (``ana@example.org ssh-ed25519 AAAA...``). ``gpg``:
    armored public keys.
    """

    ssh: tuple[str, ...] = ()
    gpg: tuple[str, ...] = ()


def verify_tip(repo: Readable, commit_id: str, allowed: AllowedSigners) -> str:
    """Return who signed a commit (full id): the SSH principal, or the fingerprint of the OpenPGP key.

    Raises Unsigned when nobody on the list did, UnknownCommit.
    """
    signature, signed = commit(repo, commit_id).gpg_signature
    short = commit_id[:12]
    if not signature:
        raise Unsigned(f"commit {short} is not signed, and this repository only takes commits signed by a listed key")
    with tempfile.TemporaryDirectory(prefix="a67-signature-") as name:
        place = Path(name)
        _write(place / "signature", signature)
        if signature.lstrip().startswith(b"-----BEGIN SSH SIGNATURE-----"):
            return _verify_ssh(place, signed, allowed.ssh, short)
        if signature.lstrip().startswith(b"-----BEGIN PGP"):
            return _verify_gpg(place, signed, allowed.gpg, short)
    raise Unsigned(f"commit {short} is signed in a way that is not supported; sign with an SSH or OpenPGP key")


def _verify_ssh(place: Path, signed: bytes, allowed: Sequence[str], short: str) -> str:
    if not allowed:
        raise Unsigned(f"commit {short} is signed with an SSH key, and no SSH key is listed as allowed")
    _write(place / "allowed", "".join(f"{line.strip()}\n" for line in allowed).encode())
    tool = ["ssh-keygen", "-Y"]
    options = ["-f", str(place / "allowed"), "-s", str(place / "signature")]
    code, out = _run([*tool, "find-principals", *options], place, b"")
    principals = [line for line in out.splitlines() if line.strip()] if code == 0 else []
    if not principals:
        raise Unsigned(f"commit {short} is signed with an SSH key that is not listed as allowed")
    # Principals of one key may be several, comma separated; any of them serves to check the key.
    who = principals[0].split(",")[0].strip()
    code, _ = _run([*tool, "verify", "-I", who, "-n", _NAMESPACE, *options], place, signed)
    if code != 0:
        raise Unsigned(f"commit {short}: the SSH signature of {who} does not hold for its content")
    return who


def _verify_gpg(place: Path, signed: bytes, allowed: Sequence[str], short: str) -> str:
    if not allowed:
        raise Unsigned(f"commit {short} is signed with an OpenPGP key, and no OpenPGP key is listed as allowed")
    home = place / "gnupg"
    home.mkdir(mode=0o700)
    _write(place / "keys", "\n".join(allowed).encode())
    _write(place / "signed", signed)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--no-tty", "--no-autostart", "--trust-model", "always"]
    code, _ = _run([*gpg, "--import", str(place / "keys")], place, b"")
    if code != 0:
        raise Unsigned("the listed OpenPGP keys cannot be read; give armored public keys")
    files = [str(place / "signature"), str(place / "signed")]
    _, out = _run([*gpg, "--status-fd", "1", "--verify", *files], place, b"")
    status = [line.split()[1:] for line in out.splitlines() if line.startswith("[GNUPG:] ")]
    said = {words[0]: words[1:] for words in status if words}
    if "GOODSIG" in said and "VALIDSIG" in said:
        # The last word is the fingerprint of the primary key, the first that of the (sub)key.
        return said["VALIDSIG"][-1]
    reasons = {
        "EXPKEYSIG": "is signed with an OpenPGP key that has expired",
        "EXPSIG": "carries an OpenPGP signature that has expired",
        "REVKEYSIG": "is signed with an OpenPGP key that was revoked",
        "BADSIG": "carries an OpenPGP signature that does not hold for its content",
        "NO_PUBKEY": "is signed with an OpenPGP key that is not listed as allowed",
    }
    why = next((text for word, text in reasons.items() if word in said), "carries an unreadable OpenPGP signature")
    raise Unsigned(f"commit {short} {why}")


def _run(command: list[str], place: Path, data: bytes) -> tuple[int, str]:
    env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(place), "LC_ALL": "C"}
    try:
        done = subprocess.run(command, cwd=place, env=env, input=data, capture_output=True, timeout=TOOL_SECONDS)
    except FileNotFoundError:
        raise Unsigned(f"signatures cannot be checked: {command[0]} is not installed on this machine") from None
    except subprocess.TimeoutExpired:
        raise Unsigned(f"signatures cannot be checked: {command[0]} did not end in {TOOL_SECONDS:.0f} s") from None
    return done.returncode, done.stdout.decode("utf-8", "replace")


def _write(path: Path, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
