"""Goes back to an earlier revision the only way there is: by a commit, on a branch that a person merges.

The branch is ``rollback/APP-REV``; its one commit restores the app's file as the revision had it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import unified_diff
from typing import Any

from automator67.engine.desired import Desired
from automator67.engine.forges.pull_requests import PullRequestFailed, PullRequests
from automator67.engine.remote_errors import RemoteError, UnknownCommit
from automator67.engine.repo.mirror import Mirror
from automator67.engine.repo.propose import propose, read_file
from automator67.engine.store.database import Store
from automator67.engine.store.revisions import Kept, kept_revisions
from automator67.schemas.near import near_hint

_LEAST_DIGITS = 4


class RollbackError(Exception):
    """There is nothing to go back to, or the branch cannot be made; one line that says why."""


@dataclass(frozen=True, slots=True)
class Rollbacks:
    """``subdir`` is the folder of the configuration in the repository; ``requests``: where pull requests are opened."""

    store: Store
    mirror: Mirror
    subdir: str = ""
    requests: PullRequests | None = None

    def make(self, desired: Desired, app: str, revision: str, *, dry_run: bool) -> Mapping[str, Any]:
        """Have the remote hold a branch that goes back to a revision (empty: the last healthy one before this).

        Returns ``branch``, ``into``, ``rev``, ``commit`` (whose file it is), ``diff``, ``made`` (False: the branch was
        there before, or a dry run), ``page`` of the pull request ("" where none was opened), ``notes``. Raises
        RollbackError.
        """
        with self.store.read() as tx:
            kept = kept_revisions(tx, app)
        wanted = desired.apps.get(app)
        if not kept:
            raise RollbackError(f"no revision of app/{app} is known{near_hint(app, desired.apps)}")
        target = chosen(app, kept, wanted.rev if wanted else "", revision)
        path = wanted.origin.path if wanted else target.path
        old, new, notes = self._texts(desired, target, path, there=wanted is not None)
        if old == new:
            text = f"{path} is as revision {target.rev} had it: what changed since is a secret or an image it names"
            raise RollbackError(text)
        branch = f"rollback/{app}-{target.rev}"
        before, after = (text.decode(errors="replace").splitlines(keepends=True) for text in (old, new))
        diff = "".join(unified_diff(before, after, f"a/{path}", f"b/{path}"))
        title = f"Roll {app} back to revision {target.rev}"
        body = f"Restores {path} as of commit {target.commit[:12]}."
        made, page = False, ""
        if not dry_run:
            made, page = self._propose(desired.commit, branch, {self._full(path): new}, title, body, notes)
        return {
            "branch": branch, "into": self.mirror.branch, "rev": target.rev, "commit": target.commit, "diff": diff,
            "made": made, "page": page, "notes": notes,
        }  # fmt: skip

    def _texts(self, desired: Desired, target: Kept, path: str, *, there: bool) -> tuple[bytes, bytes, list[str]]:
        """Return the file as it is and as the revision had it, and what else differs."""
        try:
            old = read_file(self.mirror, desired.commit, self._full(path)) if there else b""
        except RemoteError as error:
            raise RollbackError(str(error)) from error
        try:
            new = read_file(self.mirror, target.commit, self._full(target.path))
        except UnknownCommit:
            text = f"commit {target.commit[:12]}, which had revision {target.rev}, is not in the history any more"
            raise RollbackError(text) from None
        now = {use.path: use.blob for app in desired.apps.values() for use in app.secrets}
        changed = [p for p, blob in target.secrets if now.get(p, blob) != blob]
        return old, new, [f"{p} has another value since; it is left as it is" for p in changed]

    def _propose(
        self, base: str, branch: str, files: Mapping[str, bytes], title: str, body: str, notes: list[str]
    ) -> tuple[bool, str]:
        try:
            made = propose(self.mirror, base, branch, files, f"{title}\n\n{body}\n")
        except RemoteError as error:
            raise RollbackError(str(error)) from error
        if self.requests is None:
            return made, ""
        try:
            return made, self.requests.open(branch, self.mirror.branch, title, body)
        except PullRequestFailed as error:
            notes.append(f"no pull request was opened: {error}")
            return made, ""

    def _full(self, path: str) -> str:
        return f"{self.subdir.strip('/')}/{path}".lstrip("/")


def chosen(app: str, kept: Sequence[Kept], wanted: str, asked: str) -> Kept:
    """Return the revision that begins with ``asked``; without it the last healthy one other than ``wanted``.

    Raises RollbackError.
    """
    listed = f"automator67 revisions {app} lists them"
    if asked:
        found = [k for k in kept if k.rev.startswith(asked)]
        if len(asked) < _LEAST_DIGITS or len(found) > 1:
            raise RollbackError(f"{asked!r} says not enough of a revision; {listed}")
        if not found:
            raise RollbackError(f"app/{app} has no revision {asked!r}{near_hint(asked, [k.rev for k in kept], listed)}")
        if found[0].rev == wanted and not found[0].held:
            raise RollbackError(f"revision {wanted} is what the present commit asks for")
        return found[0]
    before = [k for k in kept if k.healthy_at and k.rev != wanted]
    if not before:
        raise RollbackError(f"app/{app} has no earlier healthy revision; {listed}")
    return max(before, key=lambda k: k.healthy_at)
