"""What remains to be done for jobs and for other runs of an app. Pure.

A run that ends is a fact to be recorded (``finish``); one that is to begin is placed like a copy (``run``). Runs of
the same app never wait for a rollout, nor a rollout for them, but for its `before` command.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from automator67.engine.apps.before import before
from automator67.engine.apps.building import building
from automator67.engine.apps.runs import KEPT, ended, words
from automator67.engine.apps.schedule import Due, due
from automator67.engine.apps.steps import Prior, keeps, leave, step
from automator67.engine.copies import Copy
from automator67.engine.desired import App
from automator67.engine.jobs import DEPLOY, Job, Kind, Run, as_run
from automator67.engine.nodes.placement import place
from automator67.engine.plan.describe import describe
from automator67.engine.plan.failover import home_of
from automator67.engine.plan.found import Pass
from automator67.engine.plan.model import Action, Blocked


def plan_runs(p: Pass, app: App) -> None:
    """Add the steps for the runs of an app that were asked for: those that ended, must end, are to begin, are old."""
    runs = p.observed.runs.of(app.name)
    copies = {c.run: c for c in p.runs(app.name)}
    for run in sorted(runs, key=lambda r: r.number):
        if run.over:
            continue
        if not run.started_at:
            p.actions.append(_stopped_before(p, run) if run.stop else _begin(p, app, run))
            continue
        over, wake = ended(run, copies.get(run.number), app.update.deadline, p.now)
        p.wake(wake)
        if over is not None:
            p.actions += finish(over, copies.get(run.number))
    _keep_some(p, runs, list(copies.values()))


def finish(over: Run, copy: Copy | None) -> list[Action]:
    """Return the steps that record how a run ended, and end what still runs of it."""
    resource = f"app/{over.app}"
    steps = [Action(f"finish:{over.instance}", "finish", resource, f"run {over.number} {words(over)}", rev=over.rev,
                    instance=over.instance, node=over.node, run=over)]  # fmt: skip
    if copy is not None and copy.phase != "exited" and not copy.stopping:
        steps.append(step("stop", copy, f"run {over.number} {over.state}"))
    return steps


def plan_job(p: Pass, app: App, job: Job) -> None:
    """Add what is due for a job, and take away the copies of the time when it was none."""
    resource = f"app/{app.name}"
    before_it = p.replicas(app.name)
    steps = keeps(before_it)
    for c in before_it:
        left, wake = leave(c, f"{app.origin.path} makes it a job", app.drain, p.now)
        steps += left
        p.wake(wake)
    runs = p.observed.runs.of(app.name)
    made = building(app, p.observed.builds, p.desired.nodes, p.observed.nodes)
    if made.failed:
        p.blocked.append(Blocked(resource, made.failed))
    deployed = p.observed.deployed.get(app.name)
    if deployed is not None:
        what = due(job, app.rev, runs, p.observed.moments.get(app.name), p.now)
        p.wake(what.next_at)
        if not made.failed:
            steps += _what_is_due(p, app, job, what, made.gate or p.gate(app))
    steps += [made.action] if made.action else []
    p.actions += steps
    change = describe(app, before_it, steps, deployed)
    p.changes += [change] if change else []
    p.unchanged += 0 if change else 1
    _standing(p, app, job, runs)


def prior(p: Pass, app: App) -> Prior:
    """Return what the first copies of a revision wait for: the run of its `before` command."""
    found, ask = before(app, p.observed.runs.of(app.name))
    if ask and app.before is not None:
        reason = f"before revision {app.rev} starts"
        run = _new(p, app, "before", reason, 0.0, app.before.command, app.before.timeout)
        return replace(found, action=_begin(p, app, run))
    return found


def _what_is_due(p: Pass, app: App, job: Job, what: Due, waits: str) -> list[Action]:
    kind: Kind = "deploy" if job.cron == DEPLOY else "schedule"
    run = _new(p, app, kind, what.reason, what.at, (), job.timeout)
    match what.what:
        case "run":
            begun = _begin(p, app, run)
            return [replace(begun, waits=waits) if waits else begun]
        case "skip":
            skipped = replace(run, state="skipped", ended_at=p.now, detail=what.reason)
            resource = f"app/{app.name}"
            return [
                Action(f"skip:{run.instance}", "skip", resource, f"skipped: {what.reason}", rev=app.rev, run=skipped)
            ]
        case "replace":
            active = next(r for r in p.observed.runs.of(app.name) if not r.over)
            copy = next((c for c in p.runs(app.name) if c.run == active.number), None)
            return finish(replace(active, state="stopped", detail=what.reason, ended_at=p.now), copy)
        case "wait":
            p.notes[f"app/{app.name}"] = what.reason
    return []


def _standing(p: Pass, app: App, job: Job, runs: Sequence[Run]) -> None:
    """Say how the job stands, and whether what depends on it may start."""
    resource = f"app/{app.name}"
    mine = [r for r in runs if r.over and r.state != "skipped" and r.kind in ("schedule", "deploy")]
    if any(r.rev == app.rev and r.state == "succeeded" for r in mine):
        p.healthy.add(app.name)
    if job.cron != DEPLOY or app.name in p.healthy:
        p.complete.append((app.name, app.rev))
    elif mine and mine[0].rev == app.rev:
        p.blocked.append(Blocked(resource, f"run {mine[0].number} {words(mine[0])}"))
    if mine:
        p.notes.setdefault(resource, f"run {mine[0].number} {words(mine[0])}")


def _new(p: Pass, app: App, kind: Kind, reason: str, due_at: float, command: tuple[str, ...], timeout: float) -> Run:
    number = p.observed.runs.next_number(app.name)
    return Run(app.name, number, kind, app.rev, p.now, command, timeout, reason, app.origin.blob, due_at)


def _begin(p: Pass, app: App, run: Run) -> Action:
    """Return the step that gives a run to a node, the one with its volumes if it has some."""
    told = as_run(app, run.command)
    only = home_of(p, app, 0)
    others = frozenset(n for n in p.desired.nodes if n != only) if only else frozenset()
    decision = place(told, 0, p.ledger, prefer_node=only, exclude=others)
    action = Action(f"run:{run.instance}", "run", f"app/{app.name}", f"run {run.number}: {run.reason}",
                    instance=run.instance, rev=run.rev, epoch=1)  # fmt: skip
    if decision.node is None:
        return replace(action, waits=f"waits for a node: {decision.reason}")
    p.ledger.take(told, 0, decision.node)
    return replace(action, node=decision.node, run=replace(run, node=decision.node, started_at=p.now))


def _stopped_before(p: Pass, run: Run) -> Action:
    return finish(replace(run, state="stopped", detail=run.stop, ended_at=p.now), None)[0]


def _keep_some(p: Pass, runs: Sequence[Run], copies: Sequence[Copy]) -> None:
    """Take found runs into the books, and let go of all but the last few that are over."""
    known = {r.number: r for r in runs}
    over = sorted((c for c in copies if not c.stopping and c.run in known and known[c.run].over), key=lambda c: -c.run)
    p.actions += [step("stop", c, f"only the last {KEPT} runs are kept") for c in over[KEPT:] if c.assigned]
    for c in copies:
        if c.run not in known and not c.assigned and c.phase != "exited":
            run = Run(c.app, c.run, "manual", c.rev, c.since, reason="found running", node=c.node, started_at=c.since)
            p.actions.append(replace(step("keep", c, "found running with this cloud's stamp"), run=run))
