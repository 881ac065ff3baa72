"""A real git smart-HTTP server on loopback: ``git http-backend`` behind a threaded server that can misbehave."""

from __future__ import annotations

import base64
import gzip
import os
import ssl
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from tests.support.quiet_server import QuietServer

Fault = Literal["500", "truncate", "garbage", "stall", "hang", "refuse", "missing"]

GIT_ENV = {
    **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "Ana",
    "GIT_AUTHOR_EMAIL": "ana@example.org",
    "GIT_COMMITTER_NAME": "Ana",
    "GIT_COMMITTER_EMAIL": "ana@example.org",
    "GIT_TERMINAL_PROMPT": "0",
}


def git(*args: str | Path, cwd: Path | None = None, data: bytes | None = None) -> str:
    """Run git with a neutral configuration and return what it prints; an error carries git's own words."""
    done = subprocess.run(["git", *args], cwd=cwd, env=GIT_ENV, input=data, capture_output=True, timeout=120)
    if done.returncode:
        raise AssertionError(f"git {' '.join(map(str, args))}: {done.stderr.decode(errors='replace')}")
    return done.stdout.decode(errors="replace").strip()


def commit_files(repo: Path, files: dict[str, str | None], message: str = "change", branch: str = "main") -> str:
    """Add a commit to a branch of a bare or other repository and return its id; None as content deletes a file."""
    parent = git("-C", repo, "for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")
    stream = [f"commit refs/heads/{branch}", "committer Ana <ana@example.org> now"]
    stream += [f"data {len(message.encode())}", message, *([f"from {parent}"] if parent else [])]
    for path, content in files.items():
        if content is None:
            stream.append(f"D {path}")
        else:
            stream += [f"M 100644 inline {path}", f"data {len(content.encode())}", content]
    git("-C", repo, "fast-import", "--quiet", "--force", "--date-format=now", data="\n".join([*stream, ""]).encode())
    return git("-C", repo, "rev-parse", f"refs/heads/{branch}")


@dataclass(frozen=True, slots=True)
class ServedRepo:
    """A bare repository on disk, and the URL under which the server shows it."""

    path: Path
    url: str


class GitServer:
    """Serves bare repositories below a directory over HTTP (or HTTPS with ``certificate``, a PEM of key and chain).

    With ``token`` every request needs it as the password of basic authentication. ``requests`` lists what came in
    as (method, path, Authorization header or ""). Use it as a context manager.
    """

    def __init__(self, root: Path, *, token: str | None = None, certificate: Path | None = None) -> None:
        self.root = root / "served"
        self.root.mkdir(parents=True, exist_ok=True)
        self.token = token
        self.requests: list[tuple[str, str, str]] = []
        self.fault: Fault | None = None
        self.redirect: str | None = None
        self.renamed: dict[str, str] = {}
        """Paths that answer with a redirect to another path of this server."""
        self.before_push: Callable[[str], object] | None = None
        """Called when a client that pushes asks for the "refs", and when it sends its "pack"."""
        self.stalled = threading.Event()
        self._released = threading.Event()
        self._http = QuietServer(("127.0.0.1", 0), _handler_for(self))
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        scheme = "https" if certificate else "http"
        self.url = f"{scheme}://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.heal()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def create(self, name: str) -> ServedRepo:
        """Make an empty bare repository that accepts pushes."""
        path = self.root / f"{name}.git"
        git("init", "-q", "--bare", "-b", "main", path)
        git("-C", path, "config", "http.receivepack", "true")
        return ServedRepo(path, f"{self.url}/{name}.git")

    def fail(self, fault: Fault) -> None:
        """Misbehave on every request from now on.

        ``truncate`` cuts a fetched pack short, ``garbage`` scrambles it, ``stall`` sends half of it and then nothing
        more, ``hang`` never answers, ``refuse`` is 403, ``missing`` is 404.
        """
        self._released.clear()
        self.stalled.clear()
        self.fault = fault

    def heal(self) -> None:
        """Behave again, and let go of the requests that hang."""
        self.fault = None
        self.redirect = None
        self._released.set()

    def redirect_to(self, url: str) -> None:
        """Answer every request with a redirect to the same path below another URL."""
        self.redirect = url

    def wait_released(self) -> None:
        """Block until ``heal`` is called, at most two minutes."""
        self._released.wait(120)


def _handler_for(server: GitServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body in one segment: else Nagle's algorithm and delayed acknowledgements cost 40 ms an answer.
        wbufsize = -1
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self._body())

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                body = b""
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

        def _answer(self, body: bytes) -> None:
            given = self.headers.get("Authorization", "")
            server.requests.append((self.command, self.path, given))
            if server.redirect and not (server.token and not self._knows_token(given)):
                self._send(302, [("Location", server.redirect + self.path)], b"")
            elif renamed := next((old for old in server.renamed if self.path.startswith(old)), ""):
                place = self.path.replace(renamed, server.renamed[renamed], 1)
                self._send(301, [("Location", server.url + place)], b"")
            elif server.fault == "hang":
                server.wait_released()
                self.close_connection = True
            elif server.fault == "500":
                self._send(500, [], b"out of order\n")
            elif server.fault == "refuse":
                self._send(403, [], b"not for you\n")
            elif server.fault == "missing":
                self._send(404, [], b"no such thing\n")
            elif server.token and not self._knows_token(given):
                self._send(401, [("WWW-Authenticate", 'Basic realm="git"')], b"who are you?\n")
            else:
                self._git(body)

        def _knows_token(self, given: str) -> bool:
            kind, _, value = given.partition(" ")
            return kind == "Basic" and base64.b64decode(value).decode().partition(":")[2] == server.token

        def _git(self, body: bytes) -> None:
            path, _, query = self.path.partition("?")
            if server.before_push and self.path.endswith("git-receive-pack"):
                server.before_push("pack" if self.command == "POST" else "refs")
            env = {
                **GIT_ENV,
                "GIT_PROJECT_ROOT": str(server.root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "REMOTE_USER": "tester",
                "REMOTE_ADDR": "127.0.0.1",
            }
            done = subprocess.run(["git", "http-backend"], env=env, input=body, capture_output=True, timeout=120)
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            lines = [line.partition(": ") for line in head.decode().splitlines()]
            headers = [(name, value) for name, _, value in lines if value]
            status = next((int(value.split()[0]) for name, value in headers if name == "Status"), 200)
            if path.endswith("git-upload-pack") and server.fault in ("truncate", "garbage", "stall"):
                self._spoil(content)
                return
            self._send(status, [(n, v) for n, v in headers if n != "Status"], content)

        def _spoil(self, content: bytes) -> None:
            kind = [("Content-Type", "application/x-git-upload-pack-result")]
            start = content.find(b"PACK")
            if start < 0:
                self._send(200, kind, content)
                return
            self.close_connection = True
            if server.fault == "stall":
                half = start + (len(content) - start) // 2
                self._send(200, [*kind, ("Content-Length", str(len(content)))], content[:half], length=False)
                self.wfile.flush()
                server.stalled.set()
                server.wait_released()
            elif server.fault == "truncate":
                # No length: the end of the connection is the end of the answer.
                self._send(200, [*kind, ("Connection", "close")], content[: start + 40], length=False)
            else:
                # Behind the pack header and a first entry, so that only the checksum or inflation can tell.
                bad = bytes(byte ^ 0x5A for byte in content[start + 14 :])
                self._send(200, [*kind, ("Connection", "close")], content[: start + 14] + bad)

        def _send(self, status: int, headers: list[tuple[str, str]], content: bytes, *, length: bool = True) -> None:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            if length:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    return Handler
