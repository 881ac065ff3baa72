"""What no single file can show to be wrong: names that lead nowhere, cycles, contradictions. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any, Literal

from automator67.schemas.bucket_rules import bucket_findings
from automator67.schemas.document import Document
from automator67.schemas.findings import Finding
from automator67.schemas.near import near
from automator67.schemas.problem import Problem
from automator67.schemas.shard_rules import provider_findings
from automator67.schemas.source import Path, Position
from automator67.schemas.units import human_bytes, size_bytes

APP_KINDS = frozenset({"agent", "swarm", "render", "koyeb", "cloudrun"})
Locate = Callable[[str], Mapping[Path, Position]]


@dataclass(slots=True)
class _Names:
    """Every name there is, by kind, and the labels nodes have."""

    apps: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    nodes: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    buckets: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)
    labels: dict[str, set[str]] = field(default_factory=dict)
    sets: list[frozenset[tuple[str, str]]] = field(default_factory=list)
    """The labels of each node."""


def check(documents: Iterable[Document], locate: Locate) -> list[Problem]:
    """Return what is wrong across valid documents; ``locate(path)`` gives the positions in a file, when needed."""
    documents = list(documents)
    usable = [d for d in documents if d.value is not None or d.kind in ("secret", "query")]
    names = _names(usable)
    findings: list[tuple[str, Finding]] = []
    for d in usable:
        if d.value is not None:
            findings += [(d.path, f) for f in _of_document(d, d.value, names)]
    findings += _same_names(documents)
    findings += _cycles(usable, names)
    findings += _shared_domains(usable)
    findings += _capacity(usable, names)
    where: dict[str, Mapping[Path, Position]] = {}
    problems = []
    for path, f in findings:
        if path not in where:
            where[path] = locate(path)
        problems.append(f.problem(path, where[path]))
    return sorted(problems, key=lambda p: (p.severity != "error", p.file, p.line, p.column))


def _names(documents: Sequence[Document]) -> _Names:
    names = _Names()
    for d in documents:
        if d.kind == "secret":
            names.secrets.update(d.holds)
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
        words = {key: _word(value) for key, value in labels.items()}
        names.sets.append(frozenset(words.items()))
        for key, word in words.items():
            names.labels.setdefault(key, set()).add(word)
    return names


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _of_document(d: Document, value: Mapping[str, Any], names: _Names) -> Iterator[Finding]:
    for path in d.secrets:
        secret = _at(value, path)
        if secret not in names.secrets:
            hint = near(secret, names.secrets) or f"make it: automator67 seal {secret}"
            yield Finding("unknown-secret", path, f"there is no secret {secret}", hint)
    if d.kind == "app":
        yield from _app(value, names)
    elif d.kind == "shard":
        yield from provider_findings(value, names.nodes)
    elif d.kind == "bucket":
        yield from bucket_findings(value, names.nodes)


def _at(value: Any, path: Path) -> str:
    for part in path:
        value = value[part]
    return str(value)


def _app(value: Mapping[str, Any], names: _Names) -> Iterator[Finding]:
    for n, name in enumerate(value.get("depends_on", ())):
        if name not in names.apps:
            yield Finding("unknown-app", ("depends_on", n), f"there is no app {name}", near(name, names.apps))
    if "place" in value:
        yield from _placement(value, names)
    for n, volume in enumerate(value.get("volumes", ())):
        backup = volume.get("backup") or {}
        if "bucket" in backup and backup["bucket"] not in names.buckets:
            place = ("volumes", n, "backup", "bucket")
            text = f"there is no bucket {backup['bucket']}"
            yield Finding("unknown-bucket", place, text, near(backup["bucket"], names.buckets))
        elif "bucket" in backup and "key" not in names.buckets[backup["bucket"]]:
            place, name = ("volumes", n, "backup", "bucket"), backup["bucket"]
            hint = f"openssl rand -base64 32 | automator67 seal {name}-key; key: {{secret: {name}-key}} in its file"
            yield Finding("no-key", place, f"bucket {name} has no key, so that nothing can be kept in it", hint)


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
    if len(place.get("require", ())) > 1:
        yield from _all_required(place["require"], names)
    spread, replicas = place.get("spread", "node"), value.get("replicas", 1)
    if spread in ("region", "provider"):
        groups = {v for v in names.labels.get(spread, set()) if v}
        if replicas > 1 and len(groups) < replicas:
            text = f"{replicas} replicas cannot be on {replicas} {spread}s: nodes name {len(groups)}"
            yield Finding("spread", ("place", "spread"), text, f"give nodes a {spread}", "warning")


def _all_required(require: Mapping[str, Any], names: _Names) -> Iterator[Finding]:
    """Each label may be somewhere while no node has all of them."""
    wanted = {(label, _word(value)) for label, value in require.items()}
    each = all(word in names.labels.get(label, ()) for label, word in wanted)
    if each and not any(wanted <= labels for labels in names.sets):
        listed = ", ".join(f"{label}: {word}" for label, word in sorted(wanted))
        text = f"no node has all of {listed}"
        yield Finding("unknown-label", ("place", "require"), text, "ask for less, or label a node so")


def _same_names(documents: Sequence[Document]) -> list[tuple[str, Finding]]:
    """Two of one kind with one name: ``apps/blog.yaml`` and ``apps/blog.yml``, or a secret in two files."""
    first: dict[tuple[Any, str], str] = {}
    found = []
    for d in documents:
        for name in d.holds if d.kind == "secret" else (d.name,):
            if d.kind is not None and first.setdefault((d.kind, name), d.path) != d.path:
                text = f"{first[d.kind, name]} is the {d.kind} {name} already"
                found.append((d.path, Finding("same-name", (), text, "remove one of the two")))
    return found


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
    agents = [n for n in names.nodes.values() if n.get("kind", "agent") in APP_KINDS]
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
