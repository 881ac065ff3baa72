"""Makes an app of a Compose service: what means the same is carried over, the rest is said. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from automator67.engine.compose.making import Making, Secret, items, mapping, name_of
from automator67.engine.compose.project import Project, pairs, scalar
from automator67.engine.compose.storage import carry_storage
from automator67.engine.compose.traffic import carry_traffic
from automator67.engine.compose.variables import read_env

ReadFile = Callable[[str], str | None]
"""Returns the text of a file beside the Compose file, None where there is none."""

_SECRET = re.compile(
    r"PASS(WORD|WD|PHRASE)?\b|PASSWORD|SECRET|TOKEN|API_?KEY|PRIVATE_?KEY|CREDENTIAL|_KEY\Z|\AKEY\Z|SALT", re.I
)
_PUBLIC = re.compile(r"PUBLIC|_FILE\Z|_URL\Z|_PATH\Z|_ENABLED?\Z|_EXPIR|_TTL|_LENGTH|_POLICY", re.I)
_WITH_PASSWORD = re.compile(r"[a-z][a-z0-9+.-]*://[^/@:\s]*:[^/@\s]+@", re.I)
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
_DURATION = re.compile(
    r"((?P<h>[0-9]+)h)?((?P<m>[0-9]+)m(?!s))?((?P<s>[0-9]+)(\.[0-9]+)?s)?((?P<ms>[0-9]+)ms)?((?P<us>[0-9]+)us)?\Z"
)
_MEMORY = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([bkmg]?)b?\Z", re.I)
_QUIET = ("container_name", "networks", "version", "name", "profiles", "pull_policy", "init", "tty", "stdin_open",
          "logging", "hostname", "labels", "x-", "attach", "annotations")  # fmt: skip
_WHY = {
    "entrypoint": "the image's own entrypoint runs: put another one into the image",
    "working_dir": "the image's own directory counts", "extra_hosts": "write the address where it is used",
    "links": "apps do not find each other by name", "external_links": "apps do not find each other by name",
    "configs": "put the file into the image, or seal it: files: [{path: ..., secret: ...}]",
    "read_only": "the container may write", "cap_drop": "the Docker Engine's own set counts",
    "network_mode": "every app has a network of its own", "pid": "every app has processes of its own",
    "platform": "write place: {require: ...} with a label of the nodes that fit",
    "develop": "it is for the machine of a developer", "dns": "the node's own resolver is asked",
}  # fmt: skip


def app_of_service(project: Project, name: str, read: ReadFile, shared: dict[str, str], git: str) -> Making:
    """Return the app that a service becomes. ``git``: the repository with what it builds, if known.

    Where nothing can run, ``document`` is empty and a note says why.
    """
    m = Making(project, name, name_of(name), dict(project.services[name]))
    if not _runs(m, git):
        m.document.clear()
        return m
    if (command := m.take("command")) not in (None, "", []):
        m.document["command"] = [scalar(w) for w in command] if isinstance(command, list) else str(command)
    carry_traffic(m)
    _resources(m)
    _environment(m, read)
    _health(m)
    _order(m)
    carry_storage(m, shared)
    _life(m)
    _rights(m)
    _sealed_files(m)
    for key in m.left:
        if not key.startswith(_QUIET):
            m.say(f"{key} is not carried over: {_WHY.get(key, 'there is nothing like it here')}", key)
    return m


def _runs(m: Making, git: str) -> bool:
    image, build = m.take("image"), m.take("build")
    if image:
        m.document["image"] = str(image)
        if build is not None:
            m.say("image and build: the image is taken; write source: in its place to build it here", "build")
        return True
    if build is None:
        m.say("it has neither image nor build: nothing can run")
        return False
    doc = {"context": build} if isinstance(build, str) else mapping(build)
    path = str(doc.get("context", ".")).removeprefix("./").rstrip("/") or "."
    if not git or path.startswith(("/", "..")) or "://" in path:
        m.say("it is built: say where its repository is with --git URL, or give it an image", "build")
        return False
    m.document["source"] = {"git": git} | ({"path": path} if path != "." else {})
    if dockerfile := doc.get("dockerfile"):
        m.document["source"]["dockerfile"] = str(dockerfile)
    for key in sorted(set(doc) - {"context", "dockerfile"}):
        m.say(f"build.{key} is not carried over", "build", key)
    return True


def _resources(m: Making) -> None:
    deploy = mapping(m.take("deploy"))
    replicas = _number(m.take("scale") or deploy.get("replicas"))
    if replicas is not None and replicas != 1:
        m.document["replicas"] = int(replicas)
    limits = mapping(mapping(deploy.get("resources")).get("limits"))
    asked = mapping(mapping(deploy.get("resources")).get("reservations"))
    memory = _memory(m.take("mem_limit") or limits.get("memory") or m.take("mem_reservation") or asked.get("memory"))
    cpu = _number(m.take("cpus") or limits.get("cpus") or asked.get("cpus"))
    found: dict[str, Any] = {}
    if cpu:
        found["cpu"] = cpu
    if memory:
        found["memory"] = memory
    else:
        m.say("no limit of memory is written: it gets 128Mi; write resources: {memory: ...} if it needs more")
    if found:
        m.document["resources"] = found
    if asked.get("devices"):
        m.say("reserved devices (GPUs) are not carried over", "deploy")


def _environment(m: Making, read: ReadFile) -> None:
    found: dict[str, str | None] = {}
    for n, entry in enumerate(items(m.take("env_file"))):
        path = str(entry.get("path", "")) if isinstance(entry, dict) else str(entry)
        text = read(path)
        if text is None:
            m.say(f"{path} cannot be read: its variables are missing", "env_file", n)
        else:
            found |= read_env(text)
    found |= pairs(m.take("environment"))
    env: dict[str, Any] = {}
    for key, value in found.items():
        if not _VARIABLE_NAME.match(key):
            m.say(f"{key!r} cannot be the name of a variable", "environment", key)
        elif value is None:
            m.say(f"{key} comes from the shell there: write its value", "environment", key)
        elif value and _is_secret(key, value):
            name = name_of(f"{m.name}-{key.replace('_', '-')}")
            m.secrets.append(Secret(name, value, m.line("environment", key)))
            env[key] = {"secret": name}
        else:
            env[key] = value
            _neighbour(m, key, value)
    if env:
        m.document["env"] = env


def _is_secret(key: str, value: str) -> bool:
    return bool(_SECRET.search(key) and not _PUBLIC.search(key)) or bool(_WITH_PASSWORD.search(value))


def _neighbour(m: Making, key: str, value: str) -> None:
    """Say where a variable names another service as a host."""
    for other in m.project.services:
        if other != m.service and re.search(rf"(?:\A|//|@|[,\s]){re.escape(other)}(?:[:/,]|\Z)", value):
            m.say(
                f"{key} finds {other} by its name, which apps cannot: write an address or a domain", "environment", key
            )
            return


def _health(m: Making) -> None:
    check = mapping(m.take("healthcheck"))
    test = check.get("test")
    if check.get("disable") or test in ("NONE", ["NONE"]):
        m.document["health"] = False
        return
    if not test:
        return
    words = [scalar(w) for w in test] if isinstance(test, list) else ["CMD-SHELL", str(test)]
    if words[0] not in ("CMD", "CMD-SHELL") or len(words) < 2:
        m.say("the health check means nothing", "healthcheck")
        return
    health: dict[str, Any] = {"command": words[1:] if words[0] == "CMD" else ["sh", "-c", words[1]]}
    for key in ("interval", "timeout", "start_period"):
        if key in check and (length := _duration(check[key])):
            health[key] = length
    if retries := _number(check.get("retries")):
        health["unhealthy_after"] = int(retries)
    m.document["health"] = health


def _order(m: Making) -> None:
    asked = m.take("depends_on")
    conditions = asked if isinstance(asked, dict) else dict.fromkeys(map(str, items(asked)))
    found = []
    for other, how in conditions.items():
        if mapping(how).get("condition") == "service_completed_successfully":
            m.say(f"it waits until {other} has ended well: write that as before: {{command: ...}}", "depends_on")
        elif other in m.project.services:
            found.append(name_of(other))
    if found:
        m.document["depends_on"] = found


def _life(m: Making) -> None:
    restart = str(m.take("restart") or "")
    if restart.startswith("on-failure") or restart == "no":
        m.document["restart"] = restart.partition(":")[0]
    if (grace := m.take("stop_grace_period")) and (length := _duration(grace)):
        m.document["stop_timeout"] = length
    if (user := m.take("user")) not in (None, ""):
        m.document["user"] = user if isinstance(user, int) else str(user)


def _rights(m: Making) -> None:
    if m.left.get("network_mode") == "host":
        m.take("network_mode")
        m.document["network"] = "host"
    if m.take("privileged") is True:
        m.document["privileged"] = True
    if added := [str(c).upper().removeprefix("CAP_") for c in items(m.take("cap_add"))]:
        m.document["capabilities"] = added
    devices = []
    for n, entry in enumerate(items(m.take("devices"))):
        host, _, inside = str(entry).partition(":")
        if inside and inside.partition(":")[0] != host:
            m.say(f"device {host} has another name inside, which is not carried over", "devices", n)
        devices.append(host)
    if devices:
        m.document["devices"] = devices
    if asked := sorted({"network", "privileged", "capabilities", "devices"} & set(m.document)):
        m.say(f"{', '.join(asked)}: only where the node's own policy allows it (policy.toml)")


def _sealed_files(m: Making) -> None:
    """Carry Compose's secrets over as files: their values are not in the Compose file."""
    files = []
    for entry in items(m.take("secrets")):
        name = str(entry if isinstance(entry, str) else mapping(entry).get("source", ""))
        target = str(mapping(entry).get("target") or name)
        path = target if target.startswith("/") else f"/run/secrets/{target}"
        files.append({"path": path, "secret": name_of(name)})
        m.say(f"its secret {name} is to be sealed: automator67 seal {name_of(name)}", "secrets")
    if files:
        m.document["files"] = files


def _number(value: Any) -> float | None:
    """Return a number that is written as one or as a text."""
    if isinstance(value, (int, float, str)) and re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", str(value)):
        return float(value)
    return None


def _memory(value: Any) -> str:
    """Return an amount of memory in our words: Compose counts in powers of 1024."""
    match = _MEMORY.match(str(value)) if value is not None else None
    if match is None:
        return ""
    size = int(float(match[1]) * {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30}[match[2].lower()])
    for unit, factor in (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
        if size >= factor and size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size) if size else ""


def _duration(value: Any) -> str:
    """Return a length of time in our words (``1m30s``), nothing for what is none."""
    match = _DURATION.match(str(value))
    if match is None:
        return f"{value}s" if str(value).isdigit() and int(value) else ""
    parts = [f"{int(match[unit])}{unit}" for unit in ("h", "m", "s", "ms") if match[unit] and int(match[unit])]
    return "".join(parts)
