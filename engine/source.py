"""The config repository as the engine uses it: fetch the tip, check who signed it, load what it asks for."""

from __future__ import annotations

from pathlib import Path

from automator67.engine.load import Loaded, Loader
from automator67.engine.options import Options
from automator67.engine.remote_errors import RemoteError
from automator67.engine.repo.address import BadAddress
from automator67.engine.repo.commits import CommitInfo, commit_info
from automator67.engine.repo.credentials import Credentials
from automator67.engine.repo.mirror import Mirror
from automator67.engine.repo.packs import repack_if_needed
from automator67.engine.repo.signatures import AllowedSigners, Unsigned, verify_tip
from automator67.engine.repo.tree import Tree
from automator67.engine.secrets.vault import Opener


class SourceError(Exception):
    """The repository gave no new commit: it cannot be reached or read, or its tip may not be used. One line."""


class Source:
    """One branch and one folder of one remote, by way of a bare mirror."""

    def __init__(
        self, mirror: Mirror, subdir: str = "", signers: AllowedSigners | None = None, opener: Opener | None = None
    ) -> None:
        self.mirror = mirror
        self.name = mirror.name
        self._subdir = subdir
        self._signers = signers
        self._loader = Loader(opener)
        self._keyring = opener.keyring if opener else None
        self._keys = self._keyring.stamp() if self._keyring else ()

    def fetch(self) -> str:
        """Return the commit at the tip of the branch. Raises SourceError; then nothing has changed."""
        try:
            return self.mirror.fetch(self._signed if self._signers else None).head
        except (RemoteError, Unsigned) as error:
            raise SourceError(str(error)) from error

    def last_head(self) -> str:
        """Return the commit that was fetched last, or nothing."""
        try:
            return self.mirror.head() or ""
        except RemoteError:
            return ""

    def describe(self, commit: str) -> CommitInfo:
        """Return author, subject and time of a commit."""
        return commit_info(self.mirror, commit)

    def keys_changed(self) -> bool:
        """Whether keys for secrets came or went since the last load, so that another one may end differently."""
        return self._keyring is not None and self._keyring.stamp() != self._keys

    def load(self, commit: str) -> Loaded:
        """Return what a commit asks for, or the problems that keep it from being used. Raises SourceError."""
        try:
            self._keys = self._keyring.stamp() if self._keyring else ()
            tree = Tree(self.mirror, commit, self._subdir)
            return self._loader.load(tree.entries(), tree.read, commit)
        except RemoteError as error:
            raise SourceError(str(error)) from error

    def tidy(self) -> None:
        """Repack the mirror when packs have piled up."""
        repack_if_needed(self.mirror)

    def _signed(self, commit: str) -> None:
        if self._signers is not None:
            verify_tip(self.mirror, commit, self._signers)


def open_source(options: Options, opener: Opener | None = None) -> Source:
    """Return the repository the engine was told to follow; its secrets open with ``opener``.

    Raises SourceError when the options cannot be used."""
    credentials = credentials_of(options)
    try:
        mirror = Mirror(options.state / "repository", options.repository, options.branch, credentials)
        signers = _signers(options.signers) if options.signers else None
    except (BadAddress, OSError) as error:
        raise SourceError(str(error)) from error
    return Source(mirror, options.path, signers, opener)


def credentials_of(options: Options) -> Credentials | None:
    """Return what the engine shows to the config repository's host, None when it has nothing to show."""
    if not (options.forge_token or options.ssh_key):
        return None
    return Credentials(options.forge_token, options.git_user or "x-access-token", options.ssh_key)


def _signers(file: Path) -> AllowedSigners:
    """Read who may sign: lines of ssh-keygen's allowed signers, or armoured OpenPGP public keys."""
    text = file.read_text(encoding="utf-8")
    if "-----BEGIN PGP PUBLIC KEY BLOCK-----" in text:
        return AllowedSigners(gpg=(text,))
    lines = (line.strip() for line in text.splitlines())
    return AllowedSigners(ssh=tuple(line for line in lines if line and not line.startswith("#")))
