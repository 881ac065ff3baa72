"""Rules within one settings, app, shards or buckets file that a schema cannot express. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from automator67.schemas.findings import Finding
from automator67.schemas.kinds import Kind
from automator67.schemas.shard_rules import shard_findings
from automator67.schemas.source import Path
from automator67.schemas.units import seconds


def local_findings(kind: Kind, value: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what is wrong in one valid document of a kind, whatever other files say."""
    if kind == "app":
        yield from _app(value)
    elif kind == "cloud":
        yield from _cloud(value)
    elif kind == "shard":
        yield from shard_findings(value)


def secret_references(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of every ``{secret: NAME}`` in a document."""
    if type(value) is dict:
        if len(value) == 1 and "secret" in value and type(value["secret"]) is str:
            yield (*path, "secret")
            return
        for key, inner in value.items():
            if type(inner) is dict or type(inner) is list:
                yield from secret_references(inner, (*path, key))
    elif type(value) is list:
        for n, inner in enumerate(value):
            yield from secret_references(inner, (*path, n))


def _cloud(value: Mapping[str, Any]) -> Iterator[Finding]:
    beat = value.get("heartbeat", {})
    interval = seconds(beat.get("interval", "30s"))
    suspect, unavailable = seconds(beat.get("suspect_after", "45s")), seconds(beat.get("unavailable_after", "105s"))
    if interval <= 0:
        yield Finding(
            "relation", ("heartbeat", "interval"), "an interval of 0 would never rest", "write for example 30s"
        )
    if not interval < suspect:
        text = f"a node would be suspect (after {suspect:g} s) before its next heartbeat (every {interval:g} s)"
        yield Finding("relation", ("heartbeat", "suspect_after"), text, "make it at least 1.5 times the interval")
    if not suspect < unavailable:
        text = "unavailable_after must be longer than suspect_after"
        yield Finding("relation", ("heartbeat", "unavailable_after"), text, f"write for example {suspect * 2:g}s")


def _app(value: Mapping[str, Any]) -> Iterator[Finding]:
    sources = [key for key in ("image", "source") if key in value]
    if len(sources) == 2:
        yield Finding("contradiction", ("source",), "an app has an image or a source, not both", "remove one")
    if not sources and "command" not in value:
        yield Finding("nothing-to-run", (), "there is nothing to run", "give it an image, a source or a command")
    if value.get("runtime") == "docker" and not sources:
        yield Finding("contradiction", ("runtime",), "the docker runtime needs an image or a source")
    if value.get("runtime") == "process" and "command" not in value:
        yield Finding("contradiction", ("runtime",), "the process runtime needs a command", "write command: [...]")
    yield from _health(value)
    seen: set[str] = set()
    for n, volume in enumerate(value.get("volumes", ())):
        if volume["name"] in seen:
            yield Finding("duplicate", ("volumes", n, "name"), f"two volumes are called {volume['name']}")
        seen.add(volume["name"])
    update = value.get("update", {})
    if seconds(update.get("deadline", "5m")) <= seconds(update.get("healthy_for", "10s")):
        text = "no copy can be healthy long enough before the deadline"
        yield Finding("relation", ("update", "deadline"), text, "make deadline longer than healthy_for")
    if value.get("adopt") and value.get("replicas", 1) > 1:
        yield Finding("contradiction", ("adopt",), "one container cannot be several replicas", "write replicas: 1")


def _health(value: Mapping[str, Any]) -> Iterator[Finding]:
    health = value.get("health")
    if isinstance(health, Mapping):
        kinds = [k for k in ("path", "tcp", "command") if k in health]
        if len(kinds) != 1:
            yield Finding("contradiction", ("health",), "a probe has exactly one of path, tcp, command")
        if kinds[:1] != ["command"] and "port" not in value and "port" not in health:
            yield Finding("contradiction", ("health",), "a probe of a port needs a port", "write port: 8080")
    elif isinstance(health, str) and "port" not in value:
        yield Finding("contradiction", ("health",), "a probe of a path needs a port", "write port: 8080")
