"""Which forge a remote is at, and where its API is. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

Kind = Literal["github", "gitea", "gitlab"]

GITHUB = "https://api.github.com"
_KNOWN: dict[str, tuple[Kind, str]] = {
    "github.com": ("github", GITHUB),
    "www.github.com": ("github", GITHUB),
    "ssh.github.com": ("github", GITHUB),
    "codeberg.org": ("gitea", "https://codeberg.org/api/v1"),
    "gitea.com": ("gitea", "https://gitea.com/api/v1"),
    "gitlab.com": ("gitlab", "https://gitlab.com/api/v4"),
}
_REMOTE = re.compile(
    r"(?:https?://(?:[^/@]*@)?|ssh://(?:[^/@]*@)?|[^/@:]+@)(?P<host>[^/:@]+)(?::[0-9]+(?=/))?[:/]/*"
    r"(?P<path>[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+?)+?)(?:\.git)?/?"
)


@dataclass(frozen=True, slots=True)
class Forge:
    """A repository at a forge. Gitea stands for Forgejo too; ``path`` is OWNER/NAME, at GitLab GROUP/SUB/NAME."""

    kind: Kind
    api: str
    path: str

    @property
    def owner_and_name(self) -> tuple[str, str]:
        """Return both parts of the path, where it has two."""
        owner, _, name = self.path.partition("/")
        return owner, name


def forge_of(url: str, api: str = "") -> Forge | None:
    """Return the forge of the repository at ``url``, None where there is none that we know.

    ``api`` is where the API of a forge of one's own is; its version tells whose it is: ``https://HOST/api/v1`` Gitea's
    and Forgejo's, ``/api/v3`` GitHub Enterprise's, ``/api/v4`` GitLab's.
    """
    remote = _REMOTE.fullmatch(url)
    if remote is None:
        return None
    if api:
        kind: Kind = _VERSIONS.get(urlsplit(api).path.rstrip("/").rpartition("/")[2], "github")
    else:
        known = _KNOWN.get(remote["host"].lower())
        if known is None:
            return None
        kind, api = known
    if kind != "gitlab" and remote["path"].count("/") != 1:
        return None
    return Forge(kind, api, remote["path"])


_VERSIONS: dict[str, Kind] = {"v1": "gitea", "v3": "github", "v4": "gitlab"}
