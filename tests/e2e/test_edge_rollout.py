"""No request is lost while copies change, and those of an app that is away for a moment wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from automator67.engine.nodes.certificates import Authority
from tests.support.cloud import wait_for
from tests.support.edge import Backend, EdgeUnderTest
from tests.support.mesh import Load

HOLD = 3.0
SWAPS = 15
DRAIN = 0.6
"""As long as the engine lets a gateway take up a change before it goes on."""


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeUnderTest]:
    directory = tmp_path_factory.mktemp("rollout")
    made = EdgeUnderTest(directory / "edge", Authority.open(directory / "ca"), "one")
    made.internal("web.test", "held.test", "locked.test")
    for app in ("web", "held"):
        made.site(f"{app}.test", app)
    made.site("locked.test", "held", allow=["127.0.0.0/8"])
    made.app("held")
    made.start(HOLD)
    yield made
    made.stop()


def test_no_request_is_lost_while_copies_are_replaced(edge: EdgeUnderTest) -> None:
    old = Backend("0")
    edge.app("web", w0=old.address)
    edge.set()
    wait_for("the first copy", lambda: edge.request("web.test").text.startswith("0"))
    load = Load(edge, "web.test")
    for n in range(1, SWAPS + 1):
        new = Backend(str(n))
        edge.app("web", **{f"w{n - 1}": old.address, f"w{n}": new.address})
        edge.set()
        time.sleep(DRAIN / 2)
        edge.app("web", **{f"w{n}": new.address})
        edge.set()
        time.sleep(DRAIN)
        old.die()
        old = new
    load.stop()
    assert edge.request("web.test").text.startswith(f"{SWAPS} ")
    old.close()
    assert load.failed == []
    assert load.count > 100


@pytest.mark.parametrize("host", ["held.test", "locked.test"])
def test_requests_wait_for_a_copy_that_comes_soon_and_are_told_when_none_comes(edge: EdgeUnderTest, host: str) -> None:
    copy = Backend("held")
    edge.app("held", h0=copy.address)
    edge.set()
    wait_for("the copy", lambda: edge.request(host).text.startswith("held"))
    edge.table["apps"]["held"], edge.table["local"] = [], {}
    edge.set()
    time.sleep(DRAIN)
    copy.die()
    answers = list[tuple[str, float]]()

    def ask(method: str) -> None:
        began = time.monotonic()
        reply = edge.request(host, method=method, body=b"x" if method == "POST" else b"")
        answers.append((reply.text, time.monotonic() - began))

    waiting = [threading.Thread(target=ask, args=(m,)) for m in ("GET", "POST", "GET")]
    for thread in waiting:
        thread.start()
    time.sleep(1.5)
    assert not answers
    again = Backend("again")
    edge.app("held", h1=again.address)
    edge.set()
    for thread in waiting:
        thread.join(20)
    assert sorted(text for text, _ in answers) == ["again GET / 0", "again GET / 0", "again POST / 1"]
    edge.table["apps"]["held"], edge.table["local"] = [], {}
    edge.set()
    time.sleep(HOLD + 2)
    again.close()
    began = time.monotonic()
    reply = edge.request(host)
    assert (reply.status, reply.headers["retry-after"]) == (503, "10")
    assert "no running copy" in reply.text
    assert time.monotonic() - began < 2


def test_a_path_and_a_name_of_its_files_are_short_enough_for_a_socket(tmp_path: Path) -> None:
    home = tmp_path / ("d" * 120)
    long = EdgeUnderTest(home, Authority.open(tmp_path / "ca"), "one", gateway=False)
    long.start()
    assert long.status["proxy"]
    long.stop()
