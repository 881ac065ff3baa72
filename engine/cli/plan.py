"""``automator67 plan``: what would change, and why."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import click

from automator67.engine.cli.checkout import opener_of
from automator67.engine.cli.common import json_option, print_json, reading, state_option
from automator67.engine.desired import Desired
from automator67.engine.load import Loader
from automator67.engine.observed import Observed, Revision
from automator67.engine.plan.model import Plan
from automator67.engine.plan.planner import plan, why
from automator67.engine.plan.render import as_data, as_text
from automator67.engine.preview import observed_from_store, settled_from_store
from automator67.engine.remote_errors import RemoteError
from automator67.engine.repo.local import LocalRepository
from automator67.engine.repo.tree import Tree
from automator67.engine.secrets.contents import assumed
from automator67.engine.secrets.vault import Opener


@click.command("plan", short_help="What would change, and why.")
@click.argument("ref", default="")
@click.option("--base", default="", help="Compare with this ref instead of with what is deployed.")
@click.option("--head", default="", help="The ref to plan for (the same as the argument).")
@click.option("--repo", type=click.Path(path_type=Path, file_okay=False), help="The repository; default: this one.")
@click.option("--path", "subdir", default="", help="The folder of the repository that holds the configuration.")
@click.option("--why", "resource", default="", metavar="app/NAME", help="Show how every node scores for an app.")
@state_option
@json_option
def command(
    ref: str, base: str, head: str, repo: Path | None, subdir: str, resource: str, state: Path, as_json: bool
) -> None:
    """Show what applying REF (default: HEAD of the repository here, else the tip the engine knows) would do.

    With --base the two refs are compared purely, without looking at what runs. Exit code 0: nothing to do;
    1: changes; 255: error.
    """
    mirror = state / "repository"
    directory = repo or (Path.cwd() if (Path.cwd() / ".git").exists() or not mirror.exists() else mirror)
    # Two commits are compared without any key, since what is proposed may come from anybody.
    opener = None if base else opener_of(state)
    wanted = _load(directory, head or ref or "HEAD", subdir, opener)
    if base:
        planned = plan(wanted, _as_deployed(_load(directory, base, subdir)), time.time())
        planned = _without_steps(planned)
    else:
        wanted = settled_from_store(reading(state), wanted)
        observed = observed_from_store(reading(state), wanted, time.time())
        if opener is None:
            apps = {name: assumed(app, observed.deployed.get(name)) for name, app in wanted.apps.items()}
            wanted = replace(wanted, apps=apps)
        if resource:
            _explain(wanted, observed, resource, as_json)
            return
        planned = plan(wanted, observed, time.time())
    if as_json:
        print_json(as_data(planned))
    else:
        click.echo(as_text(planned))
    raise click.exceptions.Exit(0 if planned.empty else 1)


def _load(directory: Path, ref: str, subdir: str, opener: Opener | None = None) -> Desired:
    try:
        repository = LocalRepository(directory)
        commit = repository.resolve(ref)
        tree = Tree(repository, commit, subdir or os.environ.get("A67_PATH", ""))
        loaded = Loader(opener).load(tree.entries(), tree.read, commit)
    except RemoteError as error:
        raise click.ClickException(str(error)) from error
    if loaded.desired is None:
        raise click.ClickException("\n".join(str(p) for p in loaded.problems))
    return loaded.desired


def _as_deployed(base: Desired) -> Observed:
    """Return the observation in which all of ``base`` is deployed and healthy, for a comparison of two commits."""
    from automator67.engine.apps.revisions import to_spec

    deployed = {name: Revision(name, app.rev, base.commit, to_spec(app)) for name, app in base.apps.items()}
    return Observed(deployed=deployed, last_good=deployed)


def _without_steps(planned: Plan) -> Plan:
    """A comparison of two commits says what changes; where things would run depends on the nodes, unknown here."""
    return Plan(planned.commit, planned.changes, unchanged=planned.unchanged, notes=planned.notes)


def _explain(wanted: Desired, observed: Observed, resource: str, as_json: bool) -> None:
    name = resource.removeprefix("app/")
    app = wanted.apps.get(name)
    if app is None:
        from automator67.schemas.near import near_hint

        raise click.ClickException(f"there is no app {name}{near_hint(name, wanted.apps)}")
    decisions = why(wanted, observed, app)
    if as_json:
        print_json(
            [
                {
                    "slot": slot,
                    "node": d.node,
                    "reason": d.reason,
                    "scores": [{"node": s.node, "total": s.total, "terms": s.terms} for s in d.scores],
                    "refused": [{"node": r.node, "reason": r.reason} for r in d.refusals],
                }
                for slot, d in enumerate(decisions)
            ]
        )
        return
    for slot, d in enumerate(decisions):
        click.echo(f"app/{name} slot {slot}: {d.node or 'nowhere'} — {d.reason}")
        for s in sorted(d.scores, key=lambda s: -s.total):
            terms = "  ".join(f"{term} {value:.2f}×{weight:g}" for term, value, weight in s.terms)
            click.echo(f"  {s.node:<16} {s.total:6.3f}  {terms}")
        for r in d.refusals:
            click.echo(f"  {r.node:<16} refused  {r.reason}")
