"""Makes typed values of validated documents: every default applied, every unit converted. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from automator67.engine.desired import (
    Access,
    App,
    ImagePolicy,
    Mount,
    Node,
    Origin,
    Place,
    Probe,
    Runtime,
    SecretFile,
    SecretRef,
    Site,
    Source,
    Update,
    revision_hash,
)
from automator67.engine.jobs import Before, Job
from automator67.engine.labels import label_pairs
from automator67.engine.settings import Settings
from automator67.engine.volumes import Backup, Volume
from automator67.engine.windows import Maintenance
from automator67.schemas.units import seconds, size_bytes

Document = Mapping[str, Any]


def settings_of(document: Document) -> Settings:
    """Return the cloud's settings from automator67.yaml."""
    beat = document.get("heartbeat", {})
    statuses = document.get("statuses", {})
    per_app = statuses.get("per_app", False) if isinstance(statuses, Mapping) else bool(statuses)
    interval = seconds(beat.get("interval", "30s"))
    suspect, unavailable = seconds(beat.get("suspect_after", "45s")), seconds(beat.get("unavailable_after", "105s"))
    return Settings(
        name=document.get("name", "home"),
        statuses_per_app=per_app,
        max_deletions=int(document.get("limits", {}).get("deletions", 3)),
        heartbeat=interval,
        suspect_after=suspect,
        failing_after=seconds(beat.get("failing_after", (suspect + unavailable) / 2)),
        unavailable_after=unavailable,
        recover_after=seconds(beat.get("recover_after", interval)),
        lease=seconds(beat.get("lease", unavailable + 1.5 * interval)),
        document=document,
    )


def node_of(name: str, document: Document, origin: Origin) -> Node:
    """Return a node from nodes/NAME.yaml."""
    capacity = document.get("capacity", {})
    kind = document.get("kind", "agent")
    memory, disk = capacity.get("memory"), capacity.get("disk")
    return Node(
        name,
        origin,
        kind,
        region=document.get("region", ""),
        provider=document.get("provider", "" if kind == "agent" else kind),
        labels=label_pairs(document.get("labels", {})),
        cpu=capacity.get("cpu"),
        memory=None if memory is None else size_bytes(memory),
        disk=None if disk is None else size_bytes(disk),
        gateway=document.get("gateway", False) is not False,
        address=document.get("address", ""),
        schedulable=document.get("schedulable", True),
        drain=document.get("drain", False),
        maintenance=tuple(_maintenance(window) for window in document.get("maintenance", ())),
        quota=tuple(sorted((k, float(v)) for k, v in document.get("quota", {}).items() if isinstance(v, (int, float)))),
        document=document,
    )


def _maintenance(window: Document) -> Maintenance:
    return Maintenance(
        schedule=window.get("schedule", ""),
        begins=str(window.get("from", "")),
        length=seconds(window["for"]),
        timezone=window.get("timezone", "UTC"),
        drain=window.get("drain", False),
    )


def app_of(name: str, document: Document, origin: Origin) -> App:
    """Return an app from apps/NAME.yaml, with its revision."""
    resources = document.get("resources", {})
    image, command = document.get("image"), _command(document.get("command"))
    runtime: Runtime = document.get("runtime") or ("docker" if image or "source" in document else "process")
    env = tuple((key, _value(value)) for key, value in sorted(document.get("env", {}).items()))
    volumes = tuple(Volume(v["name"], v["path"]) for v in document.get("volumes", ()))
    port, user = document.get("port"), document.get("user")
    cpu, memory = float(resources.get("cpu", 0.1)), size_bytes(resources.get("memory", "128Mi"))
    files = tuple(SecretFile(f["path"], f["secret"]) for f in document.get("files", ()))
    access = _access(document)
    rev = revision_hash(
        {
            "runtime": runtime,
            "image": image,
            "command": command,
            "env": [[k, {"secret": v.name} if isinstance(v, SecretRef) else v] for k, v in env],
            "port": port,
            "cpu": cpu,
            "memory": memory,
            "volumes": [[v.name, v.path] for v in volumes],
            "user": user,
        }
        | ({"files": [[f.path, f.secret] for f in files]} if files else {})
        | ({"failover": "restore"} if document.get("failover") == "restore" and volumes else {})
        | ({} if access == Access() else {"access": asdict(access)})
    )
    adopt = document.get("adopt")
    return App(
        name=name,
        origin=origin,
        runtime=runtime,
        image=image,
        command=command,
        port=port,
        replicas=document.get("replicas", 1),
        cpu=cpu,
        memory=memory,
        env=env,
        health=_probe(document.get("health"), port),
        place=_place(document.get("place", {})),
        update=_update(document.get("update", {})),
        depends_on=tuple(sorted(document.get("depends_on", ()))),
        volumes=volumes,
        backups=tuple(_backup(v["name"], v["backup"]) for v in document.get("volumes", ()) if v.get("backup")),
        failover=document.get("failover", "wait"),
        domains=tuple(s.host for s in _sites(document)),
        sites=_sites(document),
        tls=document.get("tls", "acme"),
        allow=tuple(_mapping(document.get("auth")).get("allow", ())),
        basic=tuple((p["user"], SecretRef(p["password"]["secret"])) for p in _basic(document)),
        priority=document.get("priority", 50),
        exclusive=document.get("exclusive", False),
        drift=document.get("drift", "repair"),
        adopt=name if adopt is True else adopt or None,
        restart=document.get("restart", "always"),
        stop_timeout=seconds(document.get("stop_timeout", "10s")),
        user=None if user is None else str(user),
        files=files,
        access=access,
        source=_source(document.get("source")),
        policy=_policy(document.get("image_policy")),
        registry=_mapping(document.get("registry")).get("secret", ""),
        job=_job(document.get("schedule")),
        before=_before(document.get("before")),
        document=document,
        rev=rev,
    )


def _backup(volume: str, b: Document) -> Backup:
    url = b.get("url", "")
    return Backup(
        volume=volume,
        bucket=b.get("bucket", ""),
        url=url if isinstance(url, str) else "",
        url_secret=_mapping(url).get("secret", ""),
        access_key=_mapping(b.get("access_key")).get("secret", ""),
        secret_key=_mapping(b.get("secret_key")).get("secret", ""),
        password=_mapping(b.get("password")).get("secret", ""),
        every=seconds(b.get("every", "1d")),
        keep=b.get("keep", 7),
        test=seconds(b.get("test", "30d")),
        stop=b.get("stop", False),
        pre=_command(b.get("pre")),
        post=_command(b.get("post")),
    )


def _access(document: Document) -> Access:
    mounts = (Mount(m["host"], m["path"], m.get("read_only", False)) for m in document.get("mounts", ()))
    return Access(
        privileged=document.get("privileged", False),
        host_network=document.get("network", "private") == "host",
        mounts=tuple(sorted(mounts, key=lambda m: m.path)),
        capabilities=tuple(sorted(document.get("capabilities", ()))),
        devices=tuple(sorted(document.get("devices", ()))),
    )


def _job(value: Any) -> Job | None:
    if not value:
        return None
    s: dict[str, Any] = {"cron": value} if isinstance(value, str) else dict(value)
    return Job(
        s["cron"], s.get("timezone", "UTC"), s.get("overlap", "skip"), s.get("missed", "run"),
        seconds(s.get("timeout", "1h")),
    )  # fmt: skip


def _before(value: Any) -> Before | None:
    return Before(_command(value["command"]), seconds(value.get("timeout", "10m"))) if value else None


def _policy(value: Any) -> ImagePolicy | None:
    p = _mapping(value)
    return ImagePolicy(p["track"], seconds(p.get("every", "1h"))) if p else None


def _source(value: Any) -> Source | None:
    s = _mapping(value)
    if not s:
        return None
    path = s.get("path", ".").strip("/") or "."
    return Source(s["git"], s.get("ref", "main"), path, s.get("dockerfile", "Dockerfile"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _value(value: Any) -> str | SecretRef:
    if isinstance(value, Mapping):
        return SecretRef(value["secret"])
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _command(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return tuple(shlex.split(value)) if isinstance(value, str) else tuple(str(part) for part in value)


def _probe(value: Any, port: int | None) -> Probe | None:
    if not value:
        return None
    if isinstance(value, str):
        value = {"path": value}
    h = _mapping(value)
    common: dict[str, Any] = {
        "port": h.get("port", port),
        "interval": seconds(h.get("interval", "10s")),
        "timeout": seconds(h.get("timeout", "2s")),
        "healthy_after": h.get("healthy_after", 1),
        "unhealthy_after": h.get("unhealthy_after", 3),
        "start_period": seconds(h.get("start_period", "0s")),
    }
    if "command" in h:
        return Probe("command", command=_command(h["command"]), **common)
    if "path" in h:
        return Probe("http", target=h["path"], **common)
    return Probe("tcp", **common)


def _place(value: Document) -> Place:
    return Place(
        value.get("spread", "node"),
        label_pairs(value.get("require", {})),
        label_pairs(value.get("prefer", {})),
        tuple(sorted(value.get("avoid", ()))),
    )


def _update(value: Any) -> Update:
    u = _mapping(value)
    return Update(
        u.get("strategy", "rolling"),
        u.get("max_extra", 1),
        seconds(u.get("healthy_for", "10s")),
        seconds(u.get("deadline", "5m")),
        seconds(u.get("drain", "5s")),
        u.get("share", 10),
        seconds(u["promote_after"]) if "promote_after" in u else None,
    )


def _sites(document: Document) -> tuple[Site, ...]:
    one = document.get("domain")
    listed = [*([one] if one else []), *document.get("domains", ())]
    return tuple(
        Site(d) if isinstance(d, str) else Site(d["name"], d.get("path", "").rstrip("/"), d.get("redirect_to", ""))
        for d in listed
    )


def _basic(document: Document) -> Sequence[Mapping[str, Any]]:
    people: Sequence[Mapping[str, Any]] = _mapping(document.get("auth")).get("basic", ())
    return people
