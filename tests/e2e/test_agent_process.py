"""The agent with the process runtime, against a stand-in of the engine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.fake_engine import FakeEngine, http_probe, process_instance

SERVER = (
    "import http.server,os,sys\n"
    "class H(http.server.BaseHTTPRequestHandler):\n"
    "    def do_GET(self):\n"
    "        self.send_response(200); self.end_headers(); self.wfile.write(os.environ.get('GREETING','hi').encode())\n"
    "    def log_message(self,*a): pass\n"
    "print('listening',flush=True)\n"
    "http.server.HTTPServer(('127.0.0.1',int(os.environ['PORT'])),H).serve_forever()\n"
)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    engine = FakeEngine(tmp_path)
    yield engine
    engine.close()


def server(name: str = "web", **more: object) -> dict[str, object]:
    return process_instance(name, sys.executable, "-c", SERVER, port=8080, health=http_probe(), **more)


def test_a_process_runs_answers_and_is_reported_healthy(engine: FakeEngine) -> None:
    engine.want("n1", server(env={"GREETING": "hello"}))
    engine.agent("n1").start()
    found = engine.wait_instance("n1", "web-0-aaaa", phase="running", health="healthy")
    assert httpx.get(f"http://{found['address']}/").text == "hello"
