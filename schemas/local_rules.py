"""Rules within one settings, app, shards or buckets file that a schema cannot express. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final

from automator67.schemas.access_rules import access_findings
from automator67.schemas.cron import cron_fault, moment_fault
from automator67.schemas.findings import Finding
from automator67.schemas.kinds import Kind
from automator67.schemas.near import near
from automator67.schemas.place_rules import place_findings
from automator67.schemas.shard_rules import shard_findings
from automator67.schemas.source import Path
from automator67.schemas.units import human_bytes, seconds, size_bytes

_FREE_NAMES: Final[tuple[Path, ...]] = (("env",), ("labels",), ("place", "require"), ("place", "prefer"))
"""Where ``secret`` is a name that a person chose, with a text, and not a reference."""
_TRACK: Final = re.compile(r"[A-Za-z0-9_*][A-Za-z0-9_.*-]{0,127}", re.A)
LEAST_MEMORY: Final = 6 * 2**20
"""The Docker Engine runs no container with less."""
LONGEST_WINDOW: Final = 30 * 86400.0
LEAST_INTERVAL: Final = 0.1
LEAST_TIMEOUT: Final = 0.01


def local_findings(kind: Kind, value: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what is wrong in one valid document of a kind, whatever other files say."""
    if kind == "app":
        yield from _app(value)
    elif kind == "cloud":
        yield from _cloud(value)
    elif kind == "node":
        for n, window in enumerate(value.get("maintenance", ())):
            yield from _window(window, ("maintenance", n))
        yield from place_findings(value)
    elif kind == "shard":
        yield from shard_findings(value)


def secret_references(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of every ``{secret: NAME}`` in a document, and of the secrets of an app's files."""
    if type(value) is dict:
        alone = len(value) == 1 and path not in _FREE_NAMES
        if type(value.get("secret")) is str and (alone or path[:1] == ("files",)):
            yield (*path, "secret")
            return
        for key, inner in value.items():
            if (type(inner) is dict or type(inner) is list) and not key.startswith("x-"):
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
    elif not suspect + interval <= unavailable:
        text = "unavailable_after must be longer than suspect_after by a heartbeat, to see whether many are silent"
        yield Finding(
            "relation", ("heartbeat", "unavailable_after"), text, f"write for example {suspect + 2 * interval:g}s"
        )
    failing = seconds(beat["failing_after"]) if "failing_after" in beat else None
    if failing is not None and not suspect <= failing <= unavailable:
        text = "failing_after must lie between suspect_after and unavailable_after"
        hint = f"write for example {(suspect + unavailable) / 2:g}s"
        yield Finding("relation", ("heartbeat", "failing_after"), text, hint)
    if "lease" in beat and seconds(beat["lease"]) < 3 * interval:
        text = "a lease this short would end with two heartbeats that are lost, and stop what is exclusive"
        yield Finding("relation", ("heartbeat", "lease"), text, f"write at least {3 * interval:g}s")
    if "recover_after" in beat and seconds(beat["recover_after"]) < interval:
        text = "a node cannot be steady for less than a heartbeat"
        yield Finding("relation", ("heartbeat", "recover_after"), text, f"write at least {interval:g}s")


def _app(value: Mapping[str, Any]) -> Iterator[Finding]:
    sources = [key for key in ("image", "source") if key in value]
    if len(sources) == 2:
        yield Finding("contradiction", ("source",), "an app has an image or a source, not both", "remove one")
    if not sources and "command" not in value:
        yield Finding("nothing-to-run", (), "there is nothing to run", "give it an image, a source or a command")
    for key in ("ref", "path", "dockerfile"):
        text = str(value.get("source", {}).get(key, ""))
        if ".." in (text if key == "ref" else text.split("/")):
            yield Finding("bad-path", ("source", key), f"{text!r} has .. in it", "write it without")
    if value.get("runtime") == "docker" and not sources:
        yield Finding("contradiction", ("runtime",), "the docker runtime needs an image or a source")
    if value.get("runtime") == "process" and "command" not in value:
        yield Finding("contradiction", ("runtime",), "the process runtime needs a command", "write command: [...]")
    if value.get("runtime") == "process" and "image" in value:
        yield Finding("contradiction", ("image",), "the process runtime runs no images", "remove runtime, or image")
    if "domain" in value and "domains" in value:
        yield Finding("contradiction", ("domain",), "there is domain and domains", "put all of them into domains")
    memory = value.get("resources", {}).get("memory", "128Mi")
    if size_bytes(memory) < LEAST_MEMORY:
        hint = f"write for example {memory}Mi" if isinstance(memory, int) else "write for example 16Mi"
        yield Finding("out-of-range", ("resources", "memory"), f"{human_bytes(size_bytes(memory))} is too little", hint)
    yield from _policy(value)
    for key in ("path", "dockerfile"):
        if ".." in value.get("source", {}).get(key, "").split("/"):
            yield Finding("out-of-range", ("source", key), "it must not lead out with '..'", "name a folder below it")
    yield from _commands(value)
    yield from _health(value)
    yield from _volumes(value.get("volumes", ()))
    yield from _exclusive(value)
    yield from _files(value)
    yield from access_findings(value, frozenset(v["path"].rstrip("/") for v in value.get("volumes", ())))
    if isinstance(value.get("schedule"), str):
        yield from _times(value, "schedule", ())
    elif isinstance(value.get("schedule"), Mapping):
        yield from _times(value["schedule"], "cron", ("schedule",))
    update = value.get("update", {})
    if seconds(update.get("deadline", "5m")) <= seconds(update.get("healthy_for", "10s")):
        text = "no copy can be healthy long enough before the deadline"
        yield Finding("relation", ("update", "deadline"), text, "make deadline longer than healthy_for")
    if "tcp" in value:
        text = "a TCP port cannot be published: gateways speak HTTP (Caddy is released without its layer 4)"
        yield Finding("unsupported", ("tcp",), text, "write port: and domain: for HTTP, or publish it by other means")
    if value.get("adopt") and value.get("replicas", 1) > 1:
        yield Finding("contradiction", ("adopt",), "one container cannot be several replicas", "write replicas: 1")


def _exclusive(value: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what contradicts that an app never runs twice."""
    if not value.get("exclusive"):
        return
    if value.get("replicas", 1) > 1:
        yield Finding("contradiction", ("replicas",), "an exclusive app runs once", "write replicas: 1, or remove it")
    if (strategy := value.get("update", {}).get("strategy", "rolling")) != "rolling":
        text = f"{strategy} runs two revisions side by side, and exclusive forbids it"
        yield Finding("contradiction", ("update", "strategy"), text, "remove strategy")
    if value.get("adopt"):
        text = "a container that somebody else made may be started by somebody else"
        yield Finding("contradiction", ("adopt",), text, "remove adopt, or exclusive")


def _volumes(volumes: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    names: set[str] = set()
    paths: set[str] = set()
    for n, volume in enumerate(volumes):
        path = volume["path"].rstrip("/")
        if volume["name"] in names:
            yield Finding("duplicate", ("volumes", n, "name"), f"two volumes are called {volume['name']}")
        if not path or ".." in path.split("/"):
            text = f"{volume['path']!r} cannot be the place of a volume"
            yield Finding("bad-path", ("volumes", n, "path"), text, "write for example /data")
        if path in paths:
            yield Finding("duplicate", ("volumes", n, "path"), f"two volumes are at {path}")
        backup = volume.get("backup")
        if isinstance(backup, Mapping) and ("bucket" in backup) == ("url" in backup):
            text = "a backup goes to exactly one of bucket and url"
            yield Finding("contradiction", ("volumes", n, "backup"), text, "write for example bucket: backups")
        elif isinstance(backup, Mapping):
            yield from _backup(n, backup)
        names.add(volume["name"])
        paths.add(path)


def _backup(n: int, backup: Mapping[str, Any]) -> Iterator[Finding]:
    where = ("volumes", n, "backup")
    if backup.get("stop") and ("pre" in backup or "post" in backup):
        text = "pre and post run in the app's copy, which stop: true ends"
        yield Finding("contradiction", (*where, "stop"), text, "take one or the other")
    if ("access_key" in backup) != ("secret_key" in backup):
        yield Finding("contradiction", where, "access_key and secret_key belong together", "give both, as secrets")
    url = backup.get("url")
    if isinstance(url, str) and url.startswith("s3") and "access_key" not in backup:
        text = "an S3 URL that is no secret has no keys in it"
        yield Finding("contradiction", (*where, "url"), text, "write access_key: {secret: NAME} and secret_key: too")


def _files(value: Mapping[str, Any]) -> Iterator[Finding]:
    taken = {volume["path"].rstrip("/"): "a volume" for volume in value.get("volumes", ())}
    for n, file in enumerate(value.get("files", ())):
        path = file["path"].rstrip("/")
        if not path or path != file["path"] or {"..", ".", ""} & set(path.split("/")[1:]):
            text = f"{file['path']!r} cannot be the place of a file"
            yield Finding("bad-path", ("files", n, "path"), text, "write for example /run/secrets/db")
        elif path in taken:
            yield Finding("duplicate", ("files", n, "path"), f"{taken[path]} is at {path} already")
        taken[path] = "another file"


def _window(value: Mapping[str, Any], path: Path) -> Iterator[Finding]:
    """Yield what is wrong with a maintenance window."""
    if ("schedule" in value) == ("from" in value):
        text = "a window begins by exactly one of schedule and from"
        yield Finding("contradiction", path, text, "write for example schedule: 0 3 * * 0")
    if not 60 <= seconds(value["for"]) <= LONGEST_WINDOW:
        yield Finding("out-of-range", (*path, "for"), "a window lasts between a minute and 30 days", "write for: 2h")
    if "from" in value and (fault := moment_fault(value["from"])):
        yield Finding("bad-time", (*path, "from"), fault, "write for example 2026-01-31T22:00")
    yield from _times({"schedule": "@daily", **value}, "schedule", path)


def _times(value: Mapping[str, Any], key: str, path: Path) -> Iterator[Finding]:
    """Yield what is wrong with a cron expression, and with the time zone beside it."""
    if fault := cron_fault(value[key]):
        yield Finding("bad-cron", (*path, key), fault, "write for example 0 3 * * *")
    zone = value.get("timezone")
    # A machine without zone data knows none; then nothing can be said.
    if zone is not None and (known := _zones()) and zone not in known:
        hint = near(zone, known, "write for example Europe/Berlin")
        yield Finding("unknown-timezone", (*path, "timezone"), f"there is no time zone {zone[:60]!r}", hint)


@cache
def _zones() -> frozenset[str]:
    from zoneinfo import available_timezones

    return frozenset(available_timezones())


def _policy(value: Mapping[str, Any]) -> Iterator[Finding]:
    if "image_policy" not in value:
        return
    track, image = value["image_policy"]["track"], value.get("image", "")
    if not image or "@" in image:
        hint = "take the digest out of image, or image_policy away" if image else "give it an image with a tag"
        yield Finding("contradiction", ("image_policy",), "only the tag of an image can be followed", hint)
    if track != "digest" and not ("*" in track and _TRACK.fullmatch(track)):
        hint = 'write a tag with a * for each number, such as "1.4.*", or digest'
        yield Finding("out-of-range", ("image_policy", "track"), f"{track!r} is no pattern of tags", hint)


def _commands(value: Mapping[str, Any]) -> Iterator[Finding]:
    """A command that is one text must be words, as a shell would split it."""
    for path in (("command",), ("health", "command"), ("before", "command")):
        holder = value.get(path[0]) if len(path) > 1 else value
        command = holder.get(path[-1]) if isinstance(holder, Mapping) else None
        if not isinstance(command, str):
            continue
        try:
            words = shlex.split(command)
        except ValueError as error:
            text = f"this cannot be split into words: {str(error).lower()}"
            yield Finding("bad-command", path, text, "write a list: [program, argument]")
        else:
            if not words:
                yield Finding("bad-command", path, "there is no program in it", "write a list: [program, argument]")


def _health(value: Mapping[str, Any]) -> Iterator[Finding]:
    health = value.get("health")
    if isinstance(health, Mapping):
        for key, least in (("interval", LEAST_INTERVAL), ("timeout", LEAST_TIMEOUT)):
            if key in health and seconds(health[key]) < least:
                text = f"{health[key]} is too short for a probe"
                yield Finding("out-of-range", ("health", key), text, f"write at least {least * 1000:.0f}ms")
        kinds = [k for k in ("path", "tcp", "command") if k in health]
        if len(kinds) != 1:
            yield Finding("contradiction", ("health",), "a probe has exactly one of path, tcp, command")
        if kinds[:1] != ["command"] and "port" not in value and "port" not in health:
            yield Finding("contradiction", ("health",), "a probe of a port needs a port", "write port: 8080")
    elif isinstance(health, str) and "port" not in value:
        yield Finding("contradiction", ("health",), "a probe of a path needs a port", "write port: 8080")
