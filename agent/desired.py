"""Reads the desired state message. All or nothing: a message that is wrong anywhere changes nothing. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from automator67.agent.model import Access, Desired, Mount, Probe, Sealed, Volume, Wanted

_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")
_LONGEST = 128
_ALNUM = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_IMAGE = _ALNUM | set("._/:@-")
_USER = _ALNUM | set("._:-")
_CAPABILITY = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_DEVICE = _ALNUM | set("._/-")


class DesiredError(ValueError):
    """The message is not a desired state; the text says where and why."""


def parse(doc: object) -> Desired:
    """Return the desired state of a ``GET /v1/desired`` answer (docs/protocol.md). Unknown fields are ignored.

    Raises DesiredError.
    """
    top = _Fields("message", doc)
    node, cloud = top.name("node"), top.name("cloud")
    instances = top.items("instances")
    found = tuple(_wanted(_Fields(f"instances[{i}]", item)) for i, item in enumerate(instances))
    if len({w.id for w in found}) != len(found):
        raise DesiredError("instances: the same id twice")
    edge = top.doc.get("edge")
    if edge is not None and not isinstance(edge, dict):
        raise DesiredError("edge: not an object")
    return Desired(top.text("rev"), node, cloud, found, edge)


def keep_known(new: Desired, old: Desired) -> Desired:
    """Return ``new`` with entries that are only to be kept filled from ``old``, so that their probes go on."""
    known = {w.id: w for w in old.instances}
    return new._replace(
        instances=tuple(
            known[w.id]._replace(keep=True, adopt=w.adopt, epoch=w.epoch) if w.keep and w.id in known else w
            for w in new.instances
        )
    )


def _wanted(f: _Fields) -> Wanted:
    identity = (f.name("id"), f.name("app"), f.whole("slot"), f.name("rev"), f.whole("epoch"))
    adopt = f.optional_text("adopt")
    if f.doc.get("keep"):
        return Wanted(*identity, keep=True, adopt=adopt)
    runtime = f.one_of("runtime", ("docker", "process"))
    image = f.word("image", _IMAGE) or ""
    command = f.texts("command")
    if runtime == "docker" and not image:
        raise DesiredError(f"{f.where}.image: the docker runtime needs an image")
    if runtime == "process" and not command:
        raise DesiredError(f"{f.where}.command: the process runtime needs a command")
    health = f.doc.get("health")
    return Wanted(
        *identity,
        adopt=adopt,
        runtime=runtime,
        image=image,
        command=command,
        env=f.pairs("env"),
        port=f.port("port"),
        cpu=f.number("cpu", 0.0),
        memory=int(f.number("memory", 0)),
        volumes=tuple(_volume(_Fields(f"{f.where}.volumes[{i}]", v)) for i, v in enumerate(f.items("volumes"))),
        health=None if health is None else _probe(_Fields(f"{f.where}.health", health)),
        restart=f.one_of("restart", ("always", "on-failure", "no"), "always"),
        stop_timeout=f.number("stop_timeout", 10.0),
        drift=f.one_of("drift", ("repair", "report", "off"), "repair"),
        user=f.word("user", _USER),
        tree=f.optional_name("tree"),
        sealed=None if f.doc.get("sealed") is None else _sealed(_Fields(f"{f.where}.sealed", f.doc["sealed"])),
        fence=f.flag("fence"),
        once=f.flag("once"),
        access=_access(_Fields(f"{f.where}.access", f.doc.get("access") or {})),
    )


def _sealed(f: _Fields) -> Sealed:
    files = f.texts("files")
    if any(not _is_absolute(path) for path in files):
        raise DesiredError(f"{f.where}.files: paths must be absolute, without '..'")
    return Sealed(f.text("box"), files, f.optional_text("login") or "")


def _access(f: _Fields) -> Access:
    """Return what an instance demands of this node; whether it may have it is the policy's business."""
    return Access(
        f.flag("privileged"),
        f.flag("host_network"),
        tuple(_mount(_Fields(f"{f.where}.mounts[{i}]", m)) for i, m in enumerate(f.items("mounts"))),
        f.words("capabilities", _CAPABILITY),
        f.words("devices", _DEVICE),
    )


def _mount(f: _Fields) -> Mount:
    host, path = f.text("host"), f.text("path")
    for text in (host, path):
        if not _is_absolute(text) or "." in text.split("/") or ":" in text:
            raise DesiredError(f"{f.where}: paths must be absolute, without '.', '..' and ':'")
    return Mount(host, path, f.flag("read_only"))


def _probe(f: _Fields) -> Probe:
    kind = f.one_of("kind", ("http", "tcp", "command"))
    command = f.texts("command")
    target = f.optional_text("target") or ""
    if kind == "command" and not command:
        raise DesiredError(f"{f.where}.command: a command probe needs a command")
    if kind == "http" and (not target.startswith("/") or any(c.isspace() for c in target)):
        raise DesiredError(f"{f.where}.target: an http probe needs a path that starts with / and has no space")
    return Probe(
        kind=kind,
        target=target,
        command=command,
        port=f.port("port"),
        interval=max(0.1, f.number("interval", 10.0)),
        timeout=max(0.05, f.number("timeout", 2.0)),
        healthy_after=max(1, int(f.number("healthy_after", 1))),
        unhealthy_after=max(1, int(f.number("unhealthy_after", 3))),
        start_period=f.number("start_period", 0.0),
    )


def _volume(f: _Fields) -> Volume:
    path = f.text("path")
    if not _is_absolute(path):
        raise DesiredError(f"{f.where}.path: must be absolute, without '..'")
    return Volume(f.name("name"), path)


def _is_absolute(path: str) -> bool:
    return path.startswith("/") and ".." not in path.split("/") and "\0" not in path


class _Fields:
    """One JSON object whose fields are taken out with their type checked."""

    def __init__(self, where: str, doc: object) -> None:
        if not isinstance(doc, dict):
            raise DesiredError(f"{where}: not an object")
        self.where, self.doc = where, doc

    def _wrong(self, key: str, what: str) -> DesiredError:
        return DesiredError(f"{self.where}.{key}: {what}")

    def text(self, key: str) -> str:
        value = self.doc.get(key)
        if not isinstance(value, str) or "\0" in value:
            raise self._wrong(key, "not text")
        return value

    def optional_text(self, key: str) -> str | None:
        return None if self.doc.get(key) is None else self.text(key)

    def word(self, key: str, letters: frozenset[str]) -> str | None:
        """Return text of these letters alone that does not look like an option, None where there is none."""
        value = self.optional_text(key)
        if value and (len(value) > 512 or value[0] in "-./" or ".." in value or not letters.issuperset(value)):
            raise self._wrong(key, "has letters that it cannot have")
        return value

    def words(self, key: str, letters: frozenset[str]) -> tuple[str, ...]:
        values = self.texts(key)
        if not all(0 < len(v) <= 200 and letters.issuperset(v) and ".." not in v for v in values):
            raise self._wrong(key, "has letters that it cannot have")
        return values

    def flag(self, key: str) -> bool:
        value = self.doc.get(key, False)
        if not isinstance(value, bool):
            raise self._wrong(key, "must be true or false")
        return value

    def name(self, key: str) -> str:
        """Return text that is safe as part of a path, a container name and a label."""
        value = self.text(key)
        if not value or len(value) > _LONGEST or value[0] in "-_." or not _NAME.issuperset(value):
            raise self._wrong(key, "not a name (lower case letters, digits, '-', '_', '.')")
        return value

    def optional_name(self, key: str) -> str:
        return "" if self.doc.get(key) is None else self.name(key)

    def number(self, key: str, default: float) -> float:
        value = self.doc.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**60:
            raise self._wrong(key, "not a number of 0 or more")
        return value

    def whole(self, key: str) -> int:
        value = self.number(key, 0)
        if value != int(value):
            raise self._wrong(key, "not a whole number")
        return int(value)

    def port(self, key: str) -> int | None:
        if self.doc.get(key) is None:
            return None
        value = self.whole(key)
        if not 0 < value < 65536:
            raise self._wrong(key, "not a port")
        return value

    def items(self, key: str) -> list[Any]:
        value = self.doc.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._wrong(key, "not a list")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.items(key)
        if not all(isinstance(item, str) and "\0" not in item for item in value):
            raise self._wrong(key, "not a list of text")
        return tuple(value)

    def pairs(self, key: str) -> tuple[tuple[str, str], ...]:
        value = self.doc.get(key)
        if value is None:
            return ()
        good = isinstance(value, Mapping) and all(
            isinstance(k, str) and k and "=" not in k + "" and "\0" not in k and isinstance(v, str) and "\0" not in v
            for k, v in value.items()
        )
        if not good:
            raise self._wrong(key, "not names with text values")
        return tuple(value.items())

    def one_of(self, key: str, choices: tuple[str, ...], default: str | None = None) -> Any:
        value = self.doc.get(key, default)
        if value not in choices:
            raise self._wrong(key, f"must be one of {', '.join(choices)}")
        return value
