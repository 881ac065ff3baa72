"""Commit statuses: what a forge can hold, and when one is worth posting. Pure.

A forge keeps every post, so only changes are posted, and descriptions must be stable: what is written into them says
what is, without times or durations. Limits are GitHub's: context 255 characters, description 140, 1000 posts per
commit and context.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

State = Literal["pending", "success", "failure", "error"]

MAX_CONTEXT = 255
MAX_DESCRIPTION = 140
STATES_ONLY_FROM = 900
"""From this many posts of one context on one commit, only a changed state is worth another."""
LAST_POST = 990
"""After this many posts one more says that there will be no others."""
LAST_WORDS = "this commit has had too many updates for the forge; see the page for what is true now"

_UNSHOWN = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


@dataclass(frozen=True, slots=True)
class Status:
    """One fact about a commit. ``context`` names which one; ``description`` is one line without times."""

    context: str
    state: State
    description: str = ""


@dataclass(frozen=True, slots=True)
class Posted:
    """What the forge shows of one context now, and how many posts led there."""

    state: str
    description: str
    count: int


@dataclass(frozen=True, slots=True)
class Due:
    """A status that the forge should get for a commit (full id)."""

    commit: str
    status: Status


def fit(status: Status) -> Status:
    """Return the status within the forge's limits: single lines; a cut context stays unique by a hash at its end."""
    context, description = _line(status.context), _line(status.description)
    if len(context) > MAX_CONTEXT:
        mark = hashlib.sha256(context.encode()).hexdigest()[:12]
        context = f"{context[: MAX_CONTEXT - len(mark) - 1]}-{mark}"
    if len(description) > MAX_DESCRIPTION:
        description = description[: MAX_DESCRIPTION - 1].rstrip() + "…"
    return replace(status, context=context, description=description)


def next_post(wanted: Status, posted: Posted | None) -> Status | None:
    """Return what to post so that the forge shows ``wanted`` (which fits), None when nothing is worth a post."""
    if posted is None or posted.count == 0:
        return wanted
    if (wanted.state, wanted.description) == (posted.state, posted.description) or posted.count > LAST_POST:
        return None
    if posted.count == LAST_POST:
        return replace(wanted, description=LAST_WORDS)
    if posted.count >= STATES_ONLY_FROM and wanted.state == posted.state:
        return None
    return wanted


def merge(wanted: Sequence[Status], posted: Mapping[str, Posted]) -> list[Status]:
    """Return what to post for one commit, by context in order of first mention; the last word on a context counts."""
    last = {status.context: status for status in map(fit, wanted)}
    return [due for status in last.values() if (due := next_post(status, posted.get(status.context)))]


def _line(text: str) -> str:
    return _UNSHOWN.sub(" ", text.encode("utf-8", "replace").decode()).strip()
