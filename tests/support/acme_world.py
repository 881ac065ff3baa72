"""A public certificate authority and an edge that asks it, with the real ports 80 and 443, in a network namespace.

``unshare --net --mount python -m tests.support.acme_world DIRECTORY`` prints what came of it as JSON.
"""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from automator67.agent.edge.caddy import find_caddy
from automator67.engine.nodes.certificates import Authority
from tests.support.cloud import wait_for
from tests.support.edge import Backend, EdgeUnderTest, ask

CA_PORT = 9443
HOSTS = ("ca.test", "site.test", "late.test", "nobody.test")


def authority_config(home: Path) -> dict[str, Any]:
    """Return the configuration of a Caddy that is an ACME server with a root of its own."""
    server = {
        "listen": [f"127.0.0.1:{CA_PORT}"],
        "automatic_https": {"disable": True},
        "tls_connection_policies": [{}],
        "routes": [{"handle": [{"handler": "acme_server", "ca": "local"}]}],
    }
    return {
        "admin": {"disabled": True},
        "logging": {"logs": {"default": {"writer": {"output": "file", "filename": f"{home}/ca.log"}}}},
        "storage": {"module": "file_system", "root": f"{home}/ca-storage"},
        "apps": {
            "http": {"servers": {"ca": server}},
            "tls": {
                "certificates": {"automate": ["ca.test"]},
                "automation": {"policies": [{"issuers": [{"module": "internal"}]}]},
            },
            "pki": {"certificate_authorities": {"local": {"install_trust": False}}},
        },
    }


def main() -> None:
    """Ask for names that are in the table and for one that is not."""
    home = Path(sys.argv[1])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    (home / "hosts").write_text(f"127.0.0.1 localhost {' '.join(HOSTS)}\n")
    subprocess.run(["mount", "--bind", home / "hosts", "/etc/hosts"], check=True)
    (home / "ca.json").write_text(json.dumps(authority_config(home)))
    ca = subprocess.Popen(
        [find_caddy(), "run", "--config", home / "ca.json"], env={"HOME": str(home)}, stderr=subprocess.DEVNULL
    )
    root = home / "ca-storage/pki/authorities/local/root.crt"
    wait_for("the authority", lambda: root.exists() and _listens(CA_PORT))
    backend = Backend("web")
    edge = EdgeUnderTest(home / "edge", Authority.open(home / "own-ca"), "one")
    edge.table["listen"] |= {"http": "127.0.0.1:80", "https": "127.0.0.1:443"}
    edge.table["acme"] = {"directory": f"https://ca.test:{CA_PORT}/acme/local/directory", "root": str(root)}
    edge.app("web", w0=backend.address)
    edge.site("site.test", "web", tls="acme")
    try:
        edge.start()
        found: dict[str, Any] = {"first": _timed(root, "site.test"), "second": _timed(root, "site.test")}
        found["unknown"] = _timed(root, "nobody.test")
        found["before"] = _timed(root, "late.test")
        caddy = edge.caddy_pid
        edge.site("late.test", "web", tls="acme")
        edge.set()
        wait_for("the new name", lambda: _timed(root, "late.test")[0] == "web GET / 0")
        found["same"] = edge.caddy_pid == caddy
        found["made"] = sorted({p.stem for p in (edge.home / "caddy/certificates").rglob("*.crt")})
    finally:
        edge.stop()
        ca.terminate()
        ca.wait()
        backend.close()
    print(json.dumps(found))


def _timed(root: Path, host: str) -> tuple[str, float]:
    began = time.monotonic()
    try:
        said = ask(443, root.read_text(), host).text
    except (ssl.SSLError, ConnectionError) as error:
        said = type(error).__name__
    return said, time.monotonic() - began


def _listens(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    main()
