"""``automator67 doctor``: what is wrong with this machine or this cloud, and what to do about it."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import click
from sqlalchemy import select

from automator67.engine.cli.common import ago, json_option, print_json, state_option, store_url
from automator67.engine.store.commits import recent_commits
from automator67.engine.store.database import Store, StoreUnavailable, open_store
from automator67.engine.store.facts import app_state_rows, fact
from automator67.engine.store.tables import nodes, posts


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was looked at, how it is, and what to do when it is not well."""

    check: str
    level: Literal["ok", "warning", "error"]
    text: str
    advice: str = ""


@click.command("doctor", short_help="What is wrong, and what to do about it.")
@state_option
@json_option
def command(state: Path, as_json: bool) -> None:
    """Check this machine, the store, the repository, nodes, apps and reports.

    Exit code 0: all is well; 1: warnings; 255: errors.
    """
    findings = [*_machine(state), *_cloud(state)]
    if as_json:
        print_json([asdict(f) for f in findings])
    else:
        sign = {"ok": "✓", "warning": "!", "error": "✗"}
        for f in findings:
            click.echo(f"{sign[f.level]} {f.check}: {f.text}" + (f"\n    {f.advice}" if f.advice else ""))
    levels = {f.level for f in findings}
    raise click.exceptions.Exit(255 if "error" in levels else 1 if "warning" in levels else 0)


def _machine(state: Path) -> Iterator[Finding]:
    version = ".".join(str(n) for n in sys.version_info[:3])
    yield Finding("python", "ok" if sys.version_info >= (3, 11) else "error", version)
    yield _disk(state)
    yield _mode(state)
    if _answers(Path(os.environ.get("A67_DOCKER_SOCKET", "/var/run/docker.sock"))):
        yield Finding("docker", "ok", "a Docker Engine answers on this machine")
    else:
        yield Finding("docker", "ok", "no Docker Engine here; agents on this machine run plain processes")


def _disk(state: Path) -> Finding:
    place = next(p for p in [state, *state.parents] if p.exists())
    free = shutil.disk_usage(place).free
    if free < 200 * 2**20:
        return Finding("disk", "error", f"{free >> 20} MiB free at {place}", "free some space: the store needs it")
    return Finding("disk", "ok", f"{free >> 30} GiB free at {place}")


def _mode(state: Path) -> Finding:
    if not state.exists():
        return Finding("state", "warning", f"{state} does not exist", "start with `automator67 up --repo URL`")
    if state.stat().st_mode & 0o077:
        return Finding("state", "warning", f"{state} can be read by others", f"chmod 700 {state}")
    return Finding("state", "ok", str(state))


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _cloud(state: Path) -> Iterator[Finding]:
    if _answers(state / "control.sock"):
        yield Finding("engine", "ok", "runs and answers")
    else:
        yield Finding("engine", "error", "does not answer", "start it: `automator67 up --repo URL`")
    try:
        store = open_store(store_url(state), readonly=True)
        for check in (_repository, _nodes, _apps, _reports):
            yield from check(store)
    except StoreUnavailable as error:
        yield Finding("store", "error", str(error))


def _repository(store: Store) -> Iterator[Finding]:
    with store.read() as tx:
        error = fact(tx, "remote_error")
        commit = next(iter(recent_commits(tx, 1)), None)
    if error:
        yield Finding("repository", "error", error, "what runs stays as it is until it can be read again")
    elif commit is None:
        yield Finding("repository", "warning", "no commit has been read yet")
    elif commit.state == "invalid":
        yield Finding("repository", "error", f"commit {commit.id[:10]} was refused: {commit.summary}",
                      "the last valid commit stays applied; `automator67 validate` shows every problem")  # fmt: skip
    elif commit.state == "failed":
        yield Finding("repository", "warning", f"commit {commit.id[:10]}: {commit.summary}")
    else:
        yield Finding("repository", "ok", f"commit {commit.id[:10]} is {commit.state}")


def _nodes(store: Store) -> Iterator[Finding]:
    with store.read() as tx:
        rows = list(tx.execute(select(nodes).order_by(nodes.c.name)))
    if not rows:
        yield Finding("nodes", "warning", "none has joined", "`automator67 node token NAME` prints how to join one")
    for row in rows:
        level: Literal["ok", "warning"] = "ok" if row.state == "healthy" else "warning"
        yield Finding(f"node/{row.name}", level, f"{row.state}, seen {ago(row.last_seen)}", row.state_reason)
        if row.cert_expires and row.cert_expires < time.time():
            yield Finding(f"node/{row.name}", "warning", "its certificate has expired", "it renews when it connects")


def _apps(store: Store) -> Iterator[Finding]:
    with store.read() as tx:
        states = app_state_rows(tx)
    for a in states.values():
        well = a.health == "healthy" and a.sync == "synced" and a.drift != "drifted"
        text = f"{a.sync}, {a.health}, drift {a.drift}, {a.replicas_healthy} of {a.replicas_wanted} replicas"
        yield Finding(f"app/{a.app}", "ok" if well else "warning", text, "" if well else a.reason)


def _reports(store: Store) -> Iterator[Finding]:
    with store.read() as tx:
        failing = list(tx.execute(select(posts).where(posts.c.error != "")))
    if failing:
        yield Finding("reports", "warning", f"{len(failing)} statuses wait: {failing[0].error}")
    else:
        yield Finding("reports", "ok", "every status is posted")
