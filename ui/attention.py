"""What is wrong, most urgent first: decided from the overview. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from automator67.ui.model import App, Commit, Overview, Volume
from automator67.ui.words import Tone, rank, said, tone, worst

SILENT_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Concern:
    """One thing that needs a person. ``resource`` is ``app/NAME``, ``node/NAME``, ``commit/ID`` or empty."""

    tone: Tone
    title: str
    detail: str = ""
    resource: str = ""


def concerns(seen: Overview, now: float) -> tuple[Concern, ...]:
    """Return what needs attention, worst first, in a stable order."""
    found = [
        *_engine(seen, now), *_outside(seen), *_commits(seen.commits), *_nodes(seen), *_apps(seen.apps),
        *_volumes(seen.volumes),
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda c: rank(c.tone)))


def app_tone(app: App) -> Tone:
    """Return how an app is, in one tone."""
    starting = app.sync == "progressing" and not app.rev_running  # never ran yet: on its way, not broken
    facts = worst(tone("sync", app.sync), "busy" if starting else tone("health", app.health))
    return "warn" if app.drift == "drifted" and rank(facts) > rank("warn") else facts


def mood(seen: Overview, found: tuple[Concern, ...]) -> tuple[Tone, str]:
    """Return the page's headline and its tone."""
    if found:
        count = "1 thing needs" if len(found) == 1 else f"{len(found)} things need"
        return worst(*(c.tone for c in found)), f"{count} attention"
    if not seen.commits and not seen.apps and not seen.nodes:
        return "idle", "Waiting for the first commit"
    busy = [a for a in seen.apps if app_tone(a) == "busy"]
    if busy or (seen.commits and tone("commit", seen.commits[0].state) == "busy"):
        return "busy", "Changes are rolling out"
    return "ok", "Everything is well"


def _engine(seen: Overview, now: float) -> Iterator[Concern]:
    if seen.engine.remote_error:
        yield Concern("warn", "The repository cannot be read", seen.engine.remote_error)
    if seen.engine.reconciled_at and now - seen.engine.reconciled_at > SILENT_SECONDS:
        minutes = int((now - seen.engine.reconciled_at) // 60)
        yield Concern("bad", f"The engine has not looked for {minutes} minutes", "is it running?")


def _outside(seen: Overview) -> Iterator[Concern]:
    down = {f"node/{n.name}" for n in seen.nodes if tone("node", n.state) in ("bad", "warn")}
    for left in seen.left_alone:
        # A node that is known to be down says so itself.
        if left.name not in down:
            name = left.name.removeprefix("node/")
            resource = left.name if name != left.name else ""
            yield Concern("warn", f"{name} is left alone, since it fails", left.why, resource)


def _commits(commits: tuple[Commit, ...]) -> Iterator[Concern]:
    if not commits:
        return
    newest = commits[0]
    if newest.state == "invalid":
        first = newest.problems[0] if newest.problems else None
        place = f"{first.where}: " if first and first.where else ""
        detail = f"{place}{first.message}" if first else newest.summary
        yield Concern("bad", f"Commit {newest.id[:7]} is refused", detail, f"commit/{newest.id}")
    elif newest.state == "failed":
        yield Concern("bad", f"Commit {newest.id[:7]} failed", newest.summary, f"commit/{newest.id}")
    unsent = next((p for c in commits for p in c.posts if p.error), None)
    if unsent is not None:
        detail = f"{unsent.context}: {unsent.error}"
        yield Concern("warn", "A status could not be posted", detail, f"commit/{unsent.commit}")


def _nodes(seen: Overview) -> Iterator[Concern]:
    if seen.apps and not seen.nodes:
        yield Concern("warn", "No node has joined yet", "apps wait for one: automator67 node token NAME")
    for node in seen.nodes:
        how = tone("node", node.state)
        if how in ("bad", "warn") and node.state != "revoked":
            yield Concern(how, f"Node {node.name} is {said('node', node.state)}", node.reason, f"node/{node.name}")
        elif node.conditions:
            detail = ", ".join(c.replace("_", " ") for c in node.conditions)
            yield Concern("warn", f"Node {node.name} is short of something", detail, f"node/{node.name}")


def _apps(apps: tuple[App, ...]) -> Iterator[Concern]:
    for app in apps:
        how = app_tone(app)
        if how not in ("bad", "warn"):
            continue
        facts = [(kind, word) for kind, word in (("health", app.health), ("sync", app.sync), ("drift", app.drift))
                 if tone(kind, word) in ("bad", "warn")]  # fmt: skip
        words = " and ".join(said(kind, word) for kind, word in facts)
        drift = ", ".join(dict.fromkeys(d for i in app.instances for d in i.drift))
        detail = app.reason or next((i.detail for i in app.instances if i.detail and not i.healthy), "") or drift
        yield Concern(how, f"App {app.name} is {words}", detail, f"app/{app.name}")


def _volumes(volumes: tuple[Volume, ...]) -> Iterator[Concern]:
    for v in volumes:
        if v.failure:
            yield Concern("warn", f"The backup of {v.app}/{v.name} fails", v.failure, f"app/{v.app}")
