"""Runs restic, which makes and restores the snapshots of volumes (https://restic.readthedocs.io, from 0.14 on).

Everything secret is in the environment of the child alone. The child dies with the worker: a snapshot that was not
completed is not in the repository, and what it has uploaded serves the next attempt.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

Progress = Callable[[str], None]

HOST = "automator67"
"""What snapshots name as their host: volumes move between nodes, and their snapshots belong together."""
_BUCKET = "bucket:"
_NONE_YET = ("does not exist", "no such file or directory", "NoSuchKey", "file does not exist", "NoSuchBucket")
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
"""Loaded here: between fork and exec nothing must be."""
_SILENCE = 900.0
"""How long restic may say nothing (seconds): it is told to speak every few."""
_LAST_LINES = 12
_SFTP = re.compile(
    r"sftp://(?P<user>[A-Za-z_][\w.-]*@)?(?P<host>[A-Za-z0-9][\w.-]*|\[[\da-fA-F:.]+\])(:(?P<port>\d+))?/", re.A
)


class ResticError(Exception):
    """What restic was asked for was not done; one line."""


class Snapshot(NamedTuple):
    """A snapshot of a repository; ``at`` is in seconds since the epoch."""

    id: str
    at: float
    tags: tuple[str, ...]


class Count(NamedTuple):
    """How many regular files a tree has, and how many bytes they hold."""

    files: int
    bytes: int


class Restic:
    """One repository. ``env`` opens it; ``state`` is where the cache goes, and where this node's certificate is with
    which the ``engine`` (HOST:PORT) lets it into the buckets of the cloud."""

    def __init__(self, program: str, name: str, env: Mapping[str, str], state: str, engine: str) -> None:
        self._program = program
        self._options = _sftp_options(name)
        if name.startswith(_BUCKET):
            name = f"s3:https://{engine}/{name.removeprefix(_BUCKET)}"
            self._options = ["--cacert", f"{state}/ca.pem", "--tls-client-cert", f"{state}/identity.pem"]
        own = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR", "SSL_CERT_FILE") if key in os.environ}
        self._env = own | {
            "RESTIC_REPOSITORY": name, "RESTIC_CACHE_DIR": f"{state}/restic-cache", "RESTIC_PROGRESS_FPS": "0.5",
        } | dict(env)  # fmt: skip

    def make(self) -> None:
        """Make the repository. Raises ResticError."""
        self._done(["init"])

    def snapshots(self) -> list[Snapshot] | None:
        """Return all snapshots, the oldest first; None where there is no repository yet. Raises ResticError."""
        code, out, err = self._run(["snapshots", "--json", "--no-lock"])
        if code == 0:
            return _listed(json.loads(out or "[]"))
        if "config" in err and any(word in err for word in _NONE_YET):
            return None
        raise ResticError(self._words(err))

    def backup(self, directory: str, tag: str, progress: Progress) -> tuple[str, list[str]]:
        """Make a snapshot of a directory under its last name; return its id and what could not be read.

        Raises ResticError. Files that vanished meanwhile are none of the troubles: an app may be at work.
        """
        parent, name = os.path.split(directory)
        troubles: list[str] = []
        words = ["backup", "--json", "--host", HOST, "--tag", tag, "--one-file-system", "--", name]

        def said(doc: dict[str, Any]) -> None:
            if doc.get("message_type") == "status":
                done, total = doc.get("bytes_done", 0), doc.get("total_bytes", 0)
                progress(f"{int(doc.get('percent_done', 0) * 100)} % of {total / 2**20:.1f} MiB read ({done} bytes)")

        code, lines = self._follow(words, parent, said)
        errors = [doc for doc in map(_json, lines) if doc.get("message_type") == "error"]
        for doc in errors:
            text = json.dumps(doc.get("error"))
            if "no such file" not in text and not (isinstance(doc.get("error"), dict) and doc["error"].get("Err") == 2):
                troubles.append(f"{doc.get('item', '')}: {_said(doc.get('error'))}")
        if code not in (0, 3) or (code == 3 and not errors):
            raise ResticError(self._words("\n".join(lines)))
        summary = next((doc for doc in map(_json, lines) if doc.get("message_type") == "summary"), {})
        return str(summary.get("snapshot_id", "")), troubles

    def keep_last(self, count: int) -> list[Snapshot]:
        """Forget all but the newest snapshots, and what only they had; return those that stay. Raises ResticError."""
        words = ["forget", "--json", "--group-by", "", "--keep-last", str(count), "--prune"]
        code, out, err = self._run(words, 4 * _SILENCE)
        if code != 0 and "lock" in err:
            # Removes locks only whose owner is certainly gone, such as one that was killed on this node.
            self._done(["unlock"])
            code, out, err = self._run(words, 4 * _SILENCE)
        if code != 0:
            raise ResticError(self._words(err))
        groups = json.loads(out.splitlines()[0] if out.strip() else "[]") or []
        return _listed([s for group in groups for s in group.get("keep") or ()])

    def forget(self, snapshot: str) -> None:
        """Forget one snapshot. Raises ResticError."""
        self._done(["forget", snapshot])

    def count(self, snapshot: str) -> Count:
        """Return what a snapshot holds. Raises ResticError."""
        files = size = 0
        for line in self._done(["ls", "--json", "--no-lock", snapshot]).splitlines():
            doc = _json(line)
            if doc.get("type") == "file":
                files, size = files + 1, size + int(doc.get("size", 0))
        return Count(files, size)

    def restore(self, snapshot: str, target: str, progress: Progress) -> None:
        """Restore a snapshot into a directory, and read all of it again to compare. Raises ResticError."""
        over = threading.Event()

        def tell() -> None:
            while not over.wait(2.0):
                progress(f"{tree_count(target).bytes / 2**20:.1f} MiB restored")

        threading.Thread(target=tell, daemon=True).start()
        try:
            # Without a lock: that of a node that died must not stand in the way.
            self._done(["restore", "--no-lock", "--verify", "--target", target, snapshot], silence=24 * 3600.0)
        finally:
            over.set()

    def _done(self, words: list[str], silence: float = _SILENCE) -> str:
        code, out, err = self._run(words, silence)
        if code != 0:
            raise ResticError(self._words(err or out))
        return out

    def _run(self, words: list[str], timeout: float = _SILENCE) -> tuple[int, str, str]:
        child = self._start(words, None, subprocess.PIPE)
        try:
            out, err = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            raise ResticError(f"restic {words[0]} did not end within {timeout / 60:.0f} minutes") from None
        return child.returncode, out, err

    def _follow(self, words: list[str], cwd: str, said: Callable[[dict[str, Any]], None]) -> tuple[int, list[str]]:
        """Run to the end and hand on what is said on the way; return the code and the lines that are no status."""
        child = self._start(words, cwd, subprocess.STDOUT)
        lines: list[str] = []
        assert child.stdout is not None
        last = [time.monotonic()]
        over = threading.Event()
        threading.Thread(target=_kill_when_silent, args=(child, last, over), daemon=True).start()
        try:
            for line in child.stdout:
                last[0] = time.monotonic()
                doc = _json(line)
                if doc.get("message_type") == "status":
                    said(doc)
                elif line.strip():
                    lines.append(line.strip())
            return child.wait(), lines
        finally:
            over.set()
            child.stdout.close()

    def _start(self, words: list[str], cwd: str | None, err: int) -> subprocess.Popen[str]:
        try:
            return subprocess.Popen(
                [self._program, *self._options, *words], cwd=cwd, env=self._env, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=err, text=True, errors="replace", preexec_fn=_die_with_parent,
            )  # fmt: skip
        except OSError as e:
            raise ResticError(f"restic cannot be started: {e.strerror}") from None

    def _words(self, said: str) -> str:
        """Return in one line why restic failed, without the values it was given."""
        lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("{")]
        fatal = [line for line in lines if line.startswith("Fatal")]
        others = [line for line in lines if "error" in line and line not in fatal]
        if fatal and "There were" in fatal[-1] and others:
            fatal = [f"{fatal[-1]}, such as: {others[0]}"]
        # What ssh said, which knows better why it could not log in.
        ssh = [line for line in lines if line.startswith("subprocess") and "Warning:" not in line]
        fatal = ssh[-1:] or fatal
        text = " ".join(fatal or lines[-_LAST_LINES:]) or said.strip() or "it gave no reason"
        if "x509: certificate is valid for" in text or "doesn't contain any IP SANs" in text:
            return f"the engine's certificate does not name it as this node knows it; start it with --name ({text})"
        if "wrong password" in text:
            return "the password does not open the repository: it was made with another one"
        for key, value in self._env.items():
            if key in ("RESTIC_PASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY") and value:
                text = text.replace(value, "***")
        return f"restic: {' '.join(text.split())[:400]}"


def _sftp_options(name: str) -> list[str]:
    """Return how restic calls ssh for ``sftp://USER@HOST:PORT/PATH``: so that it never asks anybody for a password.

    Raises ResticError for a name that ssh could take for something else.
    """
    if not name.startswith("sftp:"):
        return []
    found = _SFTP.match(name)
    if found is None:
        raise ResticError("the name of the SFTP repository cannot be used")
    port = f" -p {found['port']}" if found["port"] else ""
    host = (found["user"] or "") + found["host"].strip("[]")
    return ["-o", f"sftp.command=ssh -oBatchMode=yes -oConnectTimeout=20{port} {host} -s sftp"]


def _listed(found: list[dict[str, Any]] | None) -> list[Snapshot]:
    listed = [Snapshot(str(s["id"]), _epoch(str(s["time"])), tuple(s.get("tags") or ())) for s in found or ()]
    return sorted(listed, key=lambda s: s.at)


def tree_count(directory: str) -> Count:
    """Return what a directory holds below itself; what vanishes meanwhile is not counted."""
    files = size = 0
    for entry in _walk(directory):
        try:
            if entry.is_file(follow_symlinks=False):
                files, size = files + 1, size + entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
    return Count(files, size)


def _walk(directory: str) -> Iterator[os.DirEntry[str]]:
    todo = [directory]
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    yield entry
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
        except OSError:
            continue


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _kill_when_silent(child: subprocess.Popen[str], last: list[float], over: threading.Event) -> None:
    while not over.wait(10.0):
        if time.monotonic() - last[0] > _SILENCE:
            child.kill()
            return


def _json(line: str) -> dict[str, Any]:
    try:
        doc = json.loads(line)
    except ValueError:
        return {}
    return doc if isinstance(doc, dict) else {}


def _said(error: object) -> str:
    if isinstance(error, dict):
        number = error.get("Err")
        if isinstance(number, int):
            return os.strerror(number)
        return str(error.get("message") or error.get("Op") or "it cannot be read")
    return str(error)


def _epoch(text: str) -> float:
    from datetime import datetime

    # Nanoseconds are more than Python reads.
    head, dot, rest = text.partition(".")
    digits = "".join(c for c in rest[:9] if c.isdigit())[:6]
    zone = rest.lstrip("0123456789") if dot else ""
    stamp = f"{head}.{digits or '0'}{zone}" if dot else text
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()
