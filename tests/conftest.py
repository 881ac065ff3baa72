"""What every test has: markers that skip with a plain reason, or refuse to where the machine must have the part."""

from __future__ import annotations

import asyncio
import inspect
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.images import docker_missing
from tests.support.sinks import Hook

# `ci` tries the same examples on every run, `dev` others each time, `deep` many (A67_HYPOTHESIS=deep).
_slow = [HealthCheck.too_slow]
settings.register_profile("ci", deadline=None, max_examples=100, derandomize=True, suppress_health_check=_slow)
settings.register_profile("dev", deadline=None, max_examples=100, suppress_health_check=_slow)
settings.register_profile("deep", deadline=None, max_examples=5000, suppress_health_check=_slow)
settings.load_profile(os.environ.get("A67_HYPOTHESIS", "ci" if os.environ.get("CI") else "dev"))

_RUN = f"A67_TEST_RUN={os.getpid()}"
"""In the environment of everything the tests start, so that what is left behind can be found."""

_ENDING_SECONDS = 5.0
"""How long a process may take to end after the last test."""


@pytest.fixture(scope="module")
def hook() -> Iterator[Hook]:
    """A web hook that alerts can go to."""
    one = Hook()
    yield one
    one.close()


def pytest_configure() -> None:
    """Mark this run in the environment, unless it is itself a part of one."""
    os.environ.setdefault(*_RUN.split("="))
    # A shell starts what runs in the background deaf to Ctrl-C, and so would be all that the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests whose real part is not on this machine; where it is required, say that nothing was tested."""
    for marker, missing, required in (
        ("docker", docker_missing, "A67_REQUIRE_DOCKER"),
        ("browser", _browser_missing, "A67_REQUIRE_BROWSER"),
    ):
        marked = [item for item in items if item.get_closest_marker(marker)]
        why = missing() if marked else ""
        if why and os.environ.get(required):
            raise pytest.UsageError(f"{why}, and {required} says that it must be here")
        for item in marked if why else []:
            item.add_marker(pytest.mark.skip(reason=why))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the processes that tests left behind."""
    if left := _left_behind():
        terminalreporter.section("left behind", red=True)
        for line in left:
            terminalreporter.line(line)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run when a process that a test started still runs: tests clean up after themselves."""
    patience = time.monotonic() + _ENDING_SECONDS
    while _left_behind() and time.monotonic() < patience:
        time.sleep(0.1)
    if session.exitstatus == pytest.ExitCode.OK and _left_behind():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _left_behind() -> list[str]:
    """Return the living descendants of this run, each as its id and its command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if int(process.name) == os.getpid() or _RUN.encode() not in (process / "environ").read_bytes().split(b"\0"):
                continue
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # Gone meanwhile, or not ours to look at.
            continue
        if command:
            found.append(f"{process.name} {command[:150]}")
    return found


def _browser_missing() -> str:
    return "" if shutil.which("chromium") else "chromium is not installed on this machine"


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run tests that are coroutines, each in an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True
