"""A stand-in for the engine's endpoint, for tests of the agent alone: TLS 1.3, records what it is told, serves a
desired state that the test sets, and can be stopped, started again and made to refuse."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Doc = dict[str, Any]


def wait_for(what: str, look: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Return what ``look`` returns as soon as that is true; fail the test after ``seconds``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds:g} s for {what}")


class Authority:
    """A CA with one server certificate, and node certificates of any life."""

    def __init__(self, directory: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])
        self._name = name
        now = datetime.now(UTC)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=30))
            .not_valid_after(now + timedelta(days=365))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM).decode()
        self.file = directory / "test-ca.pem"
        self.file.write_text(self.pem)
        self._directory = directory

    @property
    def fingerprint(self) -> str:
        """What a join token begins with."""
        return hashlib.sha256(self.certificate.public_bytes(serialization.Encoding.DER)).hexdigest()[:32]

    def server_file(self, start: datetime, end: datetime) -> Path:
        """Return a file with key and certificate of a server, valid between two times."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        certificate = self._sign(key.public_key(), names, ExtendedKeyUsageOID.SERVER_AUTH, start, end)
        path = self._directory / f"server-{secrets.token_hex(4)}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate
        )
        return path

    def node_certificate(self, csr_pem: str, cloud: str, node: str, start: datetime, end: datetime) -> str:
        """Return a node's certificate for the key of a CSR."""
        csr = x509.load_pem_x509_csr(csr_pem.encode())
        assert csr.is_signature_valid
        uri = x509.UniformResourceIdentifier(f"spiffe://automator67/{cloud}/node/{node}")
        key = csr.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        names = x509.SubjectAlternativeName([uri])
        return self._sign(key, names, ExtendedKeyUsageOID.CLIENT_AUTH, start, end).decode()

    def _sign(
        self,
        key: ec.EllipticCurvePublicKey,
        names: x509.SubjectAlternativeName,
        use: x509.ObjectIdentifier,
        start: datetime,
        end: datetime,
    ) -> bytes:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")]))
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(names, critical=False)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            .sign(self._key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )


class FakeEngine:
    """The endpoint. ``directory`` holds its files and those of the agents started by ``agent``."""

    def __init__(self, directory: Path, cloud: str | None = None, next_s: float = 30.0) -> None:
        self.directory = directory
        self.cloud = cloud or f"t{secrets.token_hex(4)}"
        self.next_s = next_s
        self.lease_s = 150.0
        self.authority = Authority(directory)
        self.changed = threading.Condition()
        self.heartbeats: list[Doc] = []
        self.renewals: list[Doc] = []
        self.lines: dict[str, list[Doc]] = {}
        self.task_ended: set[str] = set()
        self.revoked: set[str] = set()
        self.refuse: dict[str, int] = {}
        self.life = timedelta(hours=24)
        self.backdate = timedelta(minutes=5)
        self.server_valid = (datetime.now(UTC) - timedelta(days=1), datetime.now(UTC) + timedelta(days=90))
        self.ask_renewal = False
        self.hold_back = False
        self._tokens: dict[str, str] = {}
        self._desired: dict[str, tuple[str, list[Doc]]] = {}
        self._tasks: dict[str, list[Doc]] = {}
        self.close_task: set[str] = set()
        self._server: _Server | None = None
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = int(s.getsockname()[1])
        self.agents: list[Agent] = []
        self.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen (again), on the same port."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self.authority.server_file(*self.server_valid))
        context.load_verify_locations(self.authority.file)
        context.verify_mode = ssl.CERT_OPTIONAL
        self._server = _Server(("127.0.0.1", self.port), context, self)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Vanish: stop listening and break every connection."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.break_all()
            server.server_close()
        with self.changed:
            self.changed.notify_all()

    def close(self) -> None:
        """End the agents that were started here, with what they run, and then this."""
        for agent in self.agents:
            agent.close()
        self.stop()

    def token(self, node: str) -> str:
        """Return a new join token for a node."""
        token_id, secret = secrets.token_hex(8), secrets.token_hex(16)
        self._tokens[f"{token_id}.{secret}"] = node
        return f"a67.{self.authority.fingerprint}.{token_id}.{secret}"

    def want(self, node: str, *instances: Doc) -> str:
        """Set a node's complete desired state and return its revision."""
        rev = secrets.token_hex(6)
        with self.changed:
            self._desired[node] = (rev, list(instances))
            self.changed.notify_all()
        return rev

    def ask_logs(self, node: str, instance: str, tail: int = 100, follow: bool = False, since: float = 0) -> str:
        """Ask a node for a log and return the task's id; lines arrive in ``lines``."""
        task = {
            "id": f"t{secrets.token_hex(4)}",
            "kind": "logs",
            "instance": instance,
            "tail": tail,
            "follow": follow,
            "since": since,
        }
        with self.changed:
            self._tasks.setdefault(node, []).append(task)
            self.changed.notify_all()
        return str(task["id"])

    def last(self, node: str) -> Doc | None:
        """Return the last heartbeat of a node."""
        return next((h for h in reversed(self.heartbeats) if h["node"] == node), None)

    def latest(self, node: str) -> Doc:
        """Return the last heartbeat of a node that has sent one."""
        beat = self.last(node)
        assert beat is not None, f"{node} has sent no heartbeat"
        return beat

    def instance(self, node: str, name: str) -> Doc | None:
        """Return an instance as it was last reported."""
        beat = self.last(node)
        return next((i for i in beat["instances"] if i["id"] == name), None) if beat else None

    def wait_instance(self, node: str, name: str, seconds: float = 30.0, **fields: object) -> Doc:
        """Wait until an instance is reported with certain fields."""

        def look() -> Doc | None:
            found = self.instance(node, name)
            return found if found and all(found.get(k) == v for k, v in fields.items()) else None

        try:
            found: Doc = wait_for(f"{name} with {fields}", look, seconds)
            return found
        except AssertionError as e:
            log = "".join(agent.output() for agent in self.agents)[-3000:]
            raise AssertionError(f"{e}; it is {self.instance(node, name)}\n{log}") from None

    def wait_gone(self, node: str, name: str, seconds: float = 30.0) -> None:
        """Wait until an instance is no longer reported."""
        wait_for(f"{name} to be gone", lambda: self.last(node) and self.instance(node, name) is None, seconds)

    def wait_applied(self, node: str, rev: str, seconds: float = 30.0) -> Doc:
        """Wait until a node has converged to a revision and return that heartbeat."""

        def look() -> Doc | None:
            beat = self.last(node)
            return beat if beat and beat["rev_applied"] == rev else None

        try:
            found: Doc = wait_for(f"revision {rev} to be applied", look, seconds)
            return found
        except AssertionError as e:
            raise AssertionError(
                f"{e}\n{self.last(node)}\n{''.join(a.output() for a in self.agents)[-3000:]}"
            ) from None

    def agent(self, node: str, *options: str, runtime: str = "process") -> Agent:
        """Let a new agent join as a node, and return it, not yet running."""
        agent = Agent(self, node, [*options, "--runtime", runtime])
        self.agents.append(agent)
        agent.join()
        return agent

    # -- answers; called from the server's threads ----------------------------------------------------------------

    def enroll(self, doc: Doc) -> tuple[int, Doc]:
        node = self._tokens.pop(doc["token"], None)
        if node is None:
            return 403, {"error": "the token is wrong, used or expired", "hint": "make a new one"}
        answer = {"node": node, "cloud": self.cloud, "heartbeat_s": self.next_s, "server_time": time.time()}
        return 200, answer | self._certificate(doc["csr"], node)

    def renew(self, doc: Doc) -> tuple[int, Doc]:
        old = x509.load_pem_x509_certificate(doc["certificate"].encode())
        old.verify_directly_issued_by(self.authority.certificate)
        key = old.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(b64decode(doc["signature"]), doc["csr"].encode(), ec.ECDSA(hashes.SHA256()))
        names = old.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        node = names.get_values_for_type(x509.UniformResourceIdentifier)[0].rpartition("/")[2]
        if node in self.revoked:
            return 403, {"error": f"node {node} is revoked", "hint": "join again"}
        self.renewals.append(doc | {"node": node})
        return 200, self._certificate(doc["csr"], node)

    def beat(self, node: str, doc: Doc) -> tuple[int, Doc]:
        with self.changed:
            self.heartbeats.append(doc | {"node": node, "arrived": time.monotonic()})
            self.changed.notify_all()
        rev = self._desired.get(node, ("", []))[0]
        return 200, {
            "proto": 1,
            "rev": rev,
            "lease_s": self.lease_s,
            "next_s": self.next_s,
            "server_time": time.time(),
            "renew": self.ask_renewal,
        }

    def held(self, node: str, rev: str, wait: float, server: object) -> Doc | None:
        end = time.monotonic() + wait
        with self.changed:
            while self._server is server:
                if node in self.revoked:
                    raise PermissionError
                known = self._desired.get(node)
                tasks = self._tasks.pop(node, [])
                if known is not None and known[0] != rev and not self.hold_back:
                    answer = {"proto": 1, "rev": known[0], "node": node, "cloud": self.cloud, "instances": known[1]}
                    return answer | {"tasks": tasks}
                if tasks:
                    return {"proto": 1, "rev": rev, "tasks": tasks}
                if time.monotonic() >= end:
                    return None
                self.changed.wait(min(1.0, end - time.monotonic()))
        raise ConnectionResetError

    def _certificate(self, csr: str, node: str) -> Doc:
        now = datetime.now(UTC)
        start, end = now - self.backdate, now - self.backdate + self.life
        certificate = self.authority.node_certificate(csr, self.cloud, node, start, end)
        return {"certificate": certificate, "ca": self.authority.pem}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext, engine: FakeEngine) -> None:
        super().__init__(address, _Handler)
        self.context, self.engine = context, engine
        self._open: set[socket.socket] = set()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands in the connection's own thread."""
        request.settimeout(120)
        try:
            tls = self.context.wrap_socket(request, server_side=True)
        except OSError:
            request.close()
            return
        self._open.add(tls)
        try:
            super().finish_request(tls, client_address)
        finally:
            self._open.discard(tls)
            tls.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that break are what these tests are about."""

    def break_all(self) -> None:
        """End every connection as a crash would."""
        for tls in list(self._open):
            try:
                socket.socket.shutdown(tls, socket.SHUT_RDWR)
            except OSError:
                continue


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet."""

    def _node(self) -> str | None:
        names = (self.connection.getpeercert() or {}).get("subjectAltName", ())
        uri = next((value for kind, value in names if kind == "URI"), None)
        return uri.rpartition("/")[2] if uri else None

    def _answer(self, status: int, doc: Doc | None) -> None:
        body = b"" if doc is None else json.dumps(doc).encode()
        self.send_response(status)
        if doc is not None:
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _refused(self) -> bool:
        engine = self.server.engine
        node = self._node()
        status = engine.refuse.get(self.path.partition("?")[0], 0)
        if node is None and not self.path.startswith(("/v1/ca", "/v1/enroll", "/v1/renew")):
            status = 401
        if node in engine.revoked:
            status = 403
        if status:
            self._read_body()
            self._answer(status, {"error": f"refused with {status}", "hint": "as the test wants"})
        return bool(status)

    def _read_body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do_GET(self) -> None:
        """Serve the CA and the held request."""
        engine = self.server.engine
        if self._refused():
            return
        url = urlsplit(self.path)
        if url.path == "/v1/ca":
            self.send_response(200)
            self.send_header("Content-Length", str(len(engine.authority.pem)))
            self.end_headers()
            self.wfile.write(engine.authority.pem.encode())
            return
        query = parse_qs(url.query)
        rev, wait = query.get("rev", [""])[0], float(query.get("wait", ["50"])[0])
        try:
            answer = engine.held(str(self._node()), rev, wait, self.server)
        except PermissionError:
            self._answer(403, {"error": "this node is revoked", "hint": "join again"})
            return
        self._answer(304 if answer is None else 200, answer)

    def do_POST(self) -> None:
        """Take heartbeats, enrolments, renewals and log lines."""
        engine = self.server.engine
        if self._refused():
            return
        if self.path.startswith("/v1/tasks/"):
            self._task(self.path.rpartition("/")[2])
            return
        doc = json.loads(self._read_body())
        if self.path == "/v1/enroll":
            self._answer(*engine.enroll(doc))
        elif self.path == "/v1/renew":
            self._answer(*engine.renew(doc))
        else:
            self._answer(*engine.beat(str(self._node()), doc))

    def _task(self, task: str) -> None:
        engine = self.server.engine
        lines = engine.lines.setdefault(task, [])
        self.connection.settimeout(0.2)
        try:
            while task not in engine.close_task:
                try:
                    head = self.rfile.readline()
                except TimeoutError:
                    # The buffered reader cannot go on after a timeout: look at the connection itself.
                    self.rfile = self.connection.makefile("rb")
                    continue
                size = int(head.strip() or b"0", 16)
                data = self.rfile.read(size + 2)[:size]
                lines += [json.loads(line) for line in data.splitlines()]
                if size == 0:
                    self._answer(200, {})
                    break
        finally:
            engine.task_ended.add(task)
            self.close_connection = True


class Agent:
    """An agent's process and its state directory."""

    def __init__(self, engine: FakeEngine, node: str, options: list[str]) -> None:
        self.engine, self.node = engine, node
        self.state = engine.directory / f"agent-{node}"
        self.options = ["--state", str(self.state), *options]
        self.log = engine.directory / f"agent-{node}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def join(self) -> str:
        """Join as the node; return what it printed."""
        argv = [*AGENT, "join", self.engine.url, "-", *self.options]
        done = subprocess.run(
            argv, input=self.engine.token(self.node) + "\n", capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, **environment: str) -> Agent:
        """Run it."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*AGENT, "run", *self.options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | environment,
                start_new_session=True,
            )
        return self

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Send it a signal and wait for its end; return the exit code."""
        process, self.process = self.process, None
        assert process is not None
        process.send_signal(number)
        return process.wait(30)

    def output(self) -> str:
        """Return all it printed."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def close(self) -> None:
        """End it and all that it runs, with the volumes."""
        if self.process is not None:
            self.kill()
        if (self.state / "agent.json").exists():
            argv = [*AGENT, "purge", "--volumes", *self.options]
            subprocess.run(argv, capture_output=True, check=False, timeout=90)


AGENT = [sys.executable, "-m", "automator67.agent"]


def process_instance(name: str, *command: str, slot: int = 0, rev: str = "aaaa", **more: Any) -> Doc:
    """Return an instance of the process runtime as the engine would send it."""
    doc: Doc = {
        "id": f"{name}-{slot}-{rev}",
        "app": name,
        "slot": slot,
        "rev": rev,
        "epoch": 1,
        "runtime": "process",
        "image": None,
        "command": list(command),
        "env": {},
        "port": None,
        "cpu": 0.5,
        "memory": 128 * 2**20,
        "volumes": [],
        "health": None,
        "restart": "always",
        "stop_timeout": 5,
        "drift": "repair",
        "adopt": None,
        "user": None,
    }
    return doc | more


def container_instance(name: str, image: str, *command: str, slot: int = 0, rev: str = "aaaa", **more: Any) -> Doc:
    """Return an instance of the docker runtime as the engine would send it."""
    doc = process_instance(name, *command, slot=slot, rev=rev, runtime="docker", image=image, memory=32 * 2**20)
    return doc | {"stop_timeout": 1} | more


def http_probe(path: str = "/", **more: Any) -> Doc:
    """Return an http probe as the engine would send it."""
    doc: Doc = {
        "kind": "http",
        "target": path,
        "command": [],
        "port": None,
        "interval": 10,
        "timeout": 2,
        "healthy_after": 1,
        "unhealthy_after": 3,
        "start_period": 0,
    }
    return doc | more
