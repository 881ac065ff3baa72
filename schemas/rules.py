"""What no single file can show to be wrong: names that lead nowhere, cycles, contradictions. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from typing import Any, Literal

from automator67.schemas.bucket_rules import bucket_findings
from automator67.schemas.document import Document, position
from automator67.schemas.findings import Finding
from automator67.schemas.problem import Problem
from automator67.schemas.shard_rules import shard_findings
from automator67.schemas.source import Path, Position, dotted
from automator67.schemas.units import human_bytes, seconds, size_bytes

AGENT_KINDS = frozenset({"agent", "swarm"})
Locate = Callable[[str], Mapping[Path, Position]]


@dataclass(slots=True)
class _Names:
    """Every name there is, by kind, and the labels nodes have."""

    apps: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    nodes: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    buckets: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)
    labels: dict[str, set[str]] = field(default_factory=dict)


def check(documents: Iterable[Document], locate: Locate) -> list[Problem]:
    """Return what is wrong across valid documents; ``locate(path)`` gives the positions in a file, when needed."""
    usable = [d for d in documents if d.value is not None or d.kind in ("secret", "query")]
    names = _names(usable)
    findings: list[tuple[str, Finding]] = []
    for d in usable:
        if d.value is not None:
            findings += [(d.path, f) for f in _of_document(d, d.value, names)]
    findings += _cycles(usable, names)
    findings += _shared_domains(usable)
    findings += _capacity(usable, names)
    where: dict[str, Mapping[Path, Position]] = {}
    problems = []
    for path, f in findings:
        if path not in where:
            where[path] = locate(path)
        at = position(dict(where[path]), f.path)
        problems.append(Problem(f.code, path, *at, dotted(f.path), f.message, f.hint, f.severity))
    return sorted(problems, key=lambda p: (p.severity != "error", p.file, p.line, p.column))


def _names(documents: Sequence[Document]) -> _Names:
    names = _Names()
    for d in documents:
        if d.kind == "secret":
            names.secrets.add(d.name)
        elif d.kind == "app" and d.value is not None:
            names.apps[d.name] = d.value
        elif d.kind == "bucket" and d.value is not None:
            names.buckets[d.name] = d.value
        elif d.kind == "node" and d.value is not None:
            names.nodes[d.name] = d.value
    for name, node in names.nodes.items():
        kind = node.get("kind", "agent")
        labels = dict(node.get("labels", {})) | {"node": name, "region": node.get("region", "")}
        labels["provider"] = node.get("provider", "" if kind == "agent" else kind)
        for key, value in labels.items():
            names.labels.setdefault(key, set()).add(_word(value))
    return names


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _of_document(d: Document, value: Mapping[str, Any], names: _Names) -> Iterator[Finding]:
    yield from _secrets(value, (), names)
    if d.kind == "app":
        yield from _app(value, names)
    elif d.kind == "cloud":
        yield from _cloud(value)
    elif d.kind == "shard":
        yield from shard_findings(value, names.nodes)
    elif d.kind == "bucket":
        yield from bucket_findings(value, names.nodes)


def _secrets(value: Any, path: Path, names: _Names) -> Iterator[Finding]:
    """Every ``{secret: NAME}`` must name a file in secrets/."""
    if isinstance(value, Mapping):
        if set(value) == {"secret"} and isinstance(value["secret"], str):
            if value["secret"] not in names.secrets:
                hint = near(value["secret"], names.secrets) or f"make it: automator67 seal {value['secret']}"
                yield Finding("unknown-secret", (*path, "secret"), f"there is no secret {value['secret']}", hint)
            return
        for key, inner in value.items():
            if isinstance(inner, (Mapping, list)):
                yield from _secrets(inner, (*path, key), names)
    elif isinstance(value, list):
        for n, inner in enumerate(value):
            if isinstance(inner, (Mapping, list)):
                yield from _secrets(inner, (*path, n), names)


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


def _app(value: Mapping[str, Any], names: _Names) -> Iterator[Finding]:
    sources = [key for key in ("image", "source") if key in value]
    if len(sources) == 2:
        yield Finding(
            "contradiction", ("source",), "an app has an image or a source, not both", "remove one of the two"
        )
    if not sources and "command" not in value:
        yield Finding("nothing-to-run", (), "there is nothing to run", "give it an image, a source or a command")
    if value.get("runtime") == "docker" and not sources:
        yield Finding("contradiction", ("runtime",), "the docker runtime needs an image or a source")
    if value.get("runtime") == "process" and "command" not in value:
        yield Finding("contradiction", ("runtime",), "the process runtime needs a command", "write command: [...]")
    yield from _health(value)
    for n, name in enumerate(value.get("depends_on", ())):
        if name not in names.apps:
            yield Finding("unknown-app", ("depends_on", n), f"there is no app {name}", near(name, names.apps))
    yield from _placement(value, names)
    seen: set[str] = set()
    for n, volume in enumerate(value.get("volumes", ())):
        if volume["name"] in seen:
            yield Finding("duplicate", ("volumes", n, "name"), f"two volumes are called {volume['name']}")
        seen.add(volume["name"])
        backup = volume.get("backup") or {}
        if "bucket" in backup and backup["bucket"] not in names.buckets:
            hint = near(backup["bucket"], names.buckets)
            yield Finding(
                "unknown-bucket", ("volumes", n, "backup", "bucket"), f"there is no bucket {backup['bucket']}", hint
            )
    update = value.get("update", {})
    if seconds(update.get("deadline", "5m")) <= seconds(update.get("healthy_for", "10s")):
        yield Finding("relation", ("update", "deadline"), "no copy can be healthy long enough before the deadline",
                      "make deadline longer than healthy_for")  # fmt: skip
    if value.get("adopt") and value.get("replicas", 1) > 1:
        yield Finding(
            "contradiction", ("adopt",), "one existing container cannot be several replicas", "write replicas: 1"
        )


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


def _placement(value: Mapping[str, Any], names: _Names) -> Iterator[Finding]:
    place = value.get("place", {})
    for n, name in enumerate(place.get("avoid", ())):
        if name not in names.nodes:
            yield Finding("unknown-node", ("place", "avoid", n), f"there is no node {name}", near(name, names.nodes))
    for key in ("require", "prefer"):
        for label, wanted in place.get(key, {}).items():
            word, there = _word(wanted), {v for v in names.labels.get(label, set()) if v}
            if word in there:
                continue
            severity: Literal["error", "warning"] = "error" if key == "require" else "warning"
            hint = near(word, there) or (f"nodes have {label}: {', '.join(sorted(there))}" if there else "")
            yield Finding("unknown-label", ("place", key, label), f"no node has {label}: {word}", hint, severity)
    spread, replicas = place.get("spread", "node"), value.get("replicas", 1)
    if spread in ("region", "provider"):
        groups = {v for v in names.labels.get(spread, set()) if v}
        if replicas > 1 and len(groups) < replicas:
            text = f"{replicas} replicas cannot be on {replicas} {spread}s: nodes name {len(groups)}"
            yield Finding("spread", ("place", "spread"), text, f"give nodes a {spread}", "warning")


def _cycles(documents: Sequence[Document], names: _Names) -> list[tuple[str, Finding]]:
    needs = {name: [n for n in app.get("depends_on", ()) if n in names.apps] for name, app in names.apps.items()}
    if not any(needs.values()):
        return []
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        cycle = list(reversed(error.args[1]))
        path = next(d.path for d in documents if d.kind == "app" and d.name == cycle[0])
        text = f"apps depend on each other in a circle: {' → '.join(cycle)}"
        return [(path, Finding("cycle", ("depends_on",), text, "remove one of these"))]
    return []


def _shared_domains(documents: Sequence[Document]) -> list[tuple[str, Finding]]:
    owners: dict[str, str] = {}
    found = []
    for d in documents:
        if d.kind != "app" or d.value is None:
            continue
        listed: list[tuple[Path, Any]] = [(("domains", n), v) for n, v in enumerate(d.value.get("domains", ()))]
        if "domain" in d.value:
            listed.append((("domain",), d.value["domain"]))
        for path, entry in listed:
            name = entry if isinstance(entry, str) else entry["name"] + entry.get("path", "")
            if owners.setdefault(name, d.name) != d.name:
                found.append((d.path, Finding("shared-domain", path, f"{name} belongs to app {owners[name]} already")))
    return found


def _capacity(documents: Sequence[Document], names: _Names) -> list[tuple[str, Finding]]:
    """Where every node declares its memory, all apps together must fit into it."""
    agents = [n for n in names.nodes.values() if n.get("kind", "agent") in AGENT_KINDS]
    declared = [n.get("capacity", {}).get("memory") for n in agents]
    if not agents or any(memory is None for memory in declared):
        return []
    total = sum(size_bytes(memory) for memory in declared if memory is not None)
    need = 0
    for d in documents:
        if d.kind != "app" or d.value is None or "schedule" in d.value:
            continue
        need += size_bytes(d.value.get("resources", {}).get("memory", "128Mi")) * d.value.get("replicas", 1)
        if need > total:
            needed, declares = human_bytes(need), human_bytes(total)
            text = f"apps up to this one need {needed} of memory; all nodes together declare {declares}"
            return [(d.path, Finding("capacity", ("replicas",), text, "ask for less, or add a node"))]
    return []


def near(word: str, known: Iterable[str]) -> str:
    """Return a question that names the nearest known word, or nothing."""
    found = get_close_matches(word, [*known], n=1)
    return f"did you mean {found[0]}?" if found else ""
