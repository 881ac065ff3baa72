"""What a delivery is about: does it concern the branch this cloud is kept in? Pure.

Only two facts are read from a payload, the repository's name and the ref, and both are only compared with what is
configured. Nothing else of it is kept or followed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

_HEADS: Final = "refs/heads/"
# "synchronize" is GitHub's word, "synchronized" that of Gitea and Forgejo; "edited" may be another base branch.
# The last five are GitLab's; its "update" comes for new labels too, and one look more than needed changes nothing.
_PULL_ACTIONS: Final = (
    "opened", "synchronize", "synchronized", "reopened", "closed", "edited",
    "open", "update", "reopen", "close", "merge",
)  # fmt: skip
_ZERO: Final = re.compile(r"0{40}(0{24})?")


@dataclass(frozen=True, slots=True)
class Interest:
    """A reason to look at the branch: ``repository`` and ``ref`` are the configured ones, not the payload's."""

    repository: str
    ref: str
    kind: Literal["push", "delete", "pull"]


@dataclass(frozen=True, slots=True)
class Ignored:
    """A good delivery that asks for nothing, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class _Said:
    repository: str
    ref: str
    deleted: bool
    pull: bool = False


def interest(forge: str, event: str, payload: Mapping[str, Any], repository: str, branch: str) -> Interest | Ignored:
    """Return whether a verified payload of ``forge`` asks for a look at ``branch`` of ``repository``.

    ``repository`` is its full name on the forge (``ana/cloud``) or its clone URL.
    """
    said = _READ[forge](event, payload)
    if isinstance(said, Ignored):
        return said
    ours = repository_name(repository)
    if said.repository and said.repository.lower() != ours.lower():
        return Ignored(f"another repository; this cloud is kept in {ours}")
    if said.ref and not said.ref.startswith(_HEADS):
        return Ignored("not a branch")
    if said.ref and said.ref != _HEADS + branch:
        return Ignored(f"another branch; this cloud is kept on {branch}")
    kind: Literal["push", "delete", "pull"] = "pull" if said.pull else "delete" if said.deleted else "push"
    return Interest(repository, _HEADS + branch, kind)


def repository_name(remote: str) -> str:
    """Return ``owner/name`` (or ``group/sub/name``) of a full name or a clone URL."""
    url = re.fullmatch(r"[a-z0-9+]+://[^/]*/(.*)", remote)
    scp = re.fullmatch(r"(?:[^@/:]+@)?[^/:]+:(?!//)(.*)", remote)
    match = url or scp
    path = match.group(1) if match else remote
    return path.strip("/").removesuffix(".git")


def _github_like(event: str, payload: Mapping[str, Any]) -> _Said | Ignored:
    # GitHub, Gitea and Forgejo: the same names of fields. "create" and "delete" give the bare name of the branch;
    # Gitea announces a deleted branch by "delete" alone.
    name = _text(payload, "repository", "full_name")
    ref = _text(payload, "ref")
    if event == "ping":
        return Ignored("the ping has arrived; the webhook works")
    if event == "pull_request":
        return _pull(_text(payload, "action"), name, _text(payload, "pull_request", "base", "ref"))
    if event not in ("push", "create", "delete"):
        return Ignored("not a push")
    if not name or not ref:
        return Ignored("the payload names no repository or no ref")
    if event == "push":
        return _Said(name, ref, payload.get("deleted") is True or _gone(payload))
    if _text(payload, "ref_type") != "branch":
        return Ignored("not a branch")
    return _Said(name, ref if ref.startswith("refs/") else _HEADS + ref, event == "delete")


def _pull(action: str, name: str, into: str) -> _Said | Ignored:
    # Its number is not taken from here either: the engine asks the forge what is open.
    if not name or not into:
        return Ignored("the payload names no repository or no branch")
    if action not in _PULL_ACTIONS:
        return Ignored("nothing of the pull request that a plan depends on has changed")
    return _Said(name, _HEADS + into, deleted=False, pull=True)


def _gitlab(event: str, payload: Mapping[str, Any]) -> _Said | Ignored:
    # System hooks carry the kind in the payload only.
    kind = _text(payload, "object_kind") or _text(payload, "event_name")
    if event in ("Merge Request Hook", "System Hook") and kind == "merge_request":
        into, action = (_text(payload, "object_attributes", key) for key in ("target_branch", "action"))
        return _pull(action, _text(payload, "project", "path_with_namespace"), into)
    if event not in ("Push Hook", "System Hook") or kind != "push":
        return Ignored("not a push")
    name = _text(payload, "project", "path_with_namespace")
    ref = _text(payload, "ref")
    if not name or not ref:
        return Ignored("the payload names no repository or no ref")
    return _Said(name, ref, _gone(payload))


def _generic(event: str, payload: Mapping[str, Any]) -> _Said | Ignored:
    if event != "push":
        return Ignored("not a push")
    ref = _text(payload, "ref")
    return _Said(_text(payload, "repository"), ref, _gone(payload))


_READ: Final[Mapping[str, Callable[[str, Mapping[str, Any]], _Said | Ignored]]] = {
    "github": _github_like,
    "gitea": _github_like,
    "forgejo": _github_like,
    "gitlab": _gitlab,
    "generic": _generic,
}


def _gone(payload: Mapping[str, Any]) -> bool:
    return _ZERO.fullmatch(_text(payload, "after")) is not None


def _text(payload: Mapping[str, Any], *path: str) -> str:
    value: Any = payload
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, str) else ""
