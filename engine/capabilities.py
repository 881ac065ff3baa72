"""What each kind of place that runs apps can do, as plain data, so that a plan needs to contact nobody. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from automator67.engine.desired import Access, App, Runtime, Strategy


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a kind of node does for the apps placed on it.

    ``in_place``: it replaces the copies of an app by those of another revision by itself, so that the engine hands it
    the new revision at once instead of starting and stopping copies one by one.
    """

    runtimes: frozenset[Runtime]
    strategies: frozenset[Strategy]
    in_place: bool = False
    volumes: bool = False
    adopts: bool = False
    access: bool = False
    """Whether apps may ask for something of the machine; then its owner decides."""
    builds: bool = False
    """Whether images that nodes build can be brought there."""
    fences: bool = False
    """Whether what must not run twice is surely stopped when the engine is not heard."""
    counts_passes: bool = False
    """Whether ``health.healthy_after`` may be more than 1."""
    files: bool = False
    """Whether secrets can be given as files."""
    logins: bool = False
    """Whether images can come from a registry that asks who we are."""
    commands: bool = False
    """Whether a command can be the health check."""
    portless: bool = False
    """Whether an app may do without a port."""
    runs: bool = False
    """Whether it runs what ends by itself: jobs and other commands."""
    copies: int | None = None
    """How many copies of one app fit; None: any number."""


_HOSTED = Capabilities(frozenset({"docker"}), frozenset({"rolling"}), in_place=True, copies=1)
"""A provider's account: one web service per app, with a URL of its own."""
CAPABILITIES: Mapping[str, Capabilities] = {
    "agent": Capabilities(
        frozenset({"docker", "process"}),
        frozenset({"rolling", "blue-green", "canary"}),
        volumes=True,
        adopts=True,
        access=True,
        builds=True,
        fences=True,
        counts_passes=True,
        files=True,
        logins=True,
        commands=True,
        portless=True,
        runs=True,
    ),
    "swarm": Capabilities(
        frozenset({"docker"}),
        frozenset({"rolling"}),
        in_place=True,
        files=True,
        logins=True,
        commands=True,
        portless=True,
    ),
    "render": _HOSTED,
    "koyeb": _HOSTED,
    "cloudrun": _HOSTED,
}
"""By the ``kind`` of a node; kinds that are missing here run no apps."""


def unfit(kind: str, app: App) -> str:
    """Return why an app cannot run on a node of a kind, whatever else it offers, or nothing."""
    able = CAPABILITIES.get(kind)
    if able is None:
        return f"kind {kind} cannot be placed on by this version"
    if app.runtime not in able.runtimes:
        return f"kind {kind} does not offer the {app.runtime} runtime"
    if app.update.strategy not in able.strategies:
        return f"kind {kind} replaces copies by itself: update.strategy {app.update.strategy} is only for agents"
    if (app.once or app.job is not None) and not able.runs:
        return f"kind {kind} runs no jobs"
    if app.volumes and not able.volumes:
        return f"kind {kind} may restart a copy on another machine, without its volumes"
    if app.exclusive and not able.fences:
        return f"kind {kind} cannot make sure that a copy has ended (exclusive)"
    if app.adopt is not None and not able.adopts:
        return f"kind {kind} takes over no container by name (adopt)"
    if app.access != Access() and not able.access:
        return f"kind {kind} gives apps nothing of its machines (access)"
    if app.source is not None and not able.builds:
        return f"kind {kind} takes images from a registry, not from a source"
    if app.health is not None and app.health.healthy_after > 1 and not able.counts_passes:
        return f"kind {kind} calls a copy healthy after one pass: health.healthy_after must be 1"
    return _unfit_for_an_api(kind, able, app)


def _unfit_for_an_api(kind: str, able: Capabilities, app: App) -> str:
    if app.health is not None and app.health.kind == "command" and not able.commands:
        return f"kind {kind} runs no command as a health check: write health.path"
    if app.files and not able.files:
        return f"kind {kind} gives secrets as environment variables only, not as files"
    if app.registry and not able.logins:
        return f"kind {kind} takes images from public registries only"
    if app.port is None and not able.portless:
        return f"kind {kind} runs what answers on a port: write port"
    return ""


def in_place(kind: str) -> bool:
    """Whether nodes of a kind replace the copies of an app by themselves."""
    able = CAPABILITIES.get(kind)
    return able is not None and able.in_place
