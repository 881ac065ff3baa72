"""``automator67 rekey``: a new key for the engine, and every secret sealed to it."""

from __future__ import annotations

from pathlib import Path

import click

from automator67.engine.cli.checkout import cloud_name, documents, repo_option, write_file
from automator67.engine.cli.common import state_option


@click.command("rekey", short_help="Change the key that secrets are sealed to.")
@repo_option
@click.option("--branch", default="", help="Make a commit on this new branch, and leave the files as they are.")
@click.option("--dry-run", is_flag=True, help="Check that every value opens, and change nothing.")
@state_option
def command(repo: Path, branch: str, dry_run: bool, state: Path) -> None:
    """Make a new key and seal every value in secrets/ to it, with the new public key beside them.

    Run it on the engine's machine, in a copy of the repository; then commit and push (or merge the branch). No app
    is restarted, since no value changes. The old key stays until `automator67 keys drop` finds that nothing needs
    it. Cut off anywhere, it goes on where it was when it is run again. Values that were ever sealed to a key that
    became known need more: new values.
    """
    from automator67.engine.secrets.errors import SecretError
    from automator67.engine.secrets.keys import Keyring, read_public_key
    from automator67.engine.secrets.rekeying import next_key, reseal
    from automator67.schemas.sealed import PUBLIC_KEY_FILE

    cloud = cloud_name(repo)
    files = {path: data for path, (_, data) in documents(repo).items() if path.endswith(".sealed")}
    keyring = Keyring(state / "secrets")
    try:
        published = read_public_key(repo / PUBLIC_KEY_FILE)
        reseal(files, cloud, keyring, published)
        if dry_run:
            click.echo(f"would make a new key and seal {len(files)} values to it, instead of to {published.id}")
            return
        key = next_key(keyring, published.id)
        done = reseal(files, cloud, keyring, key)
    except SecretError as error:
        raise click.ClickException(str(error)) from error
    texts = {**done.files, PUBLIC_KEY_FILE: key.text()}
    if branch:
        _commit(repo, branch, texts, key.id)
        click.echo(f"sealed {len(done.files)} values to the new key {key.id} on branch {branch}: push and merge it")
        return
    # The public key last: until it is there, the change counts as not done and is taken up again.
    for path, text in texts.items():
        write_file(repo, path, text)
    click.echo(f"sealed {len(done.files)} values to the new key {key.id}: commit secrets/ and push")


def _commit(repo: Path, branch: str, texts: dict[str, str], key: str) -> None:
    """Commit files on a new branch that begins at HEAD. Raises click.ClickException."""
    import pygit2

    from automator67.engine.repo.propose import commit_files

    found = pygit2.discover_repository(str(repo.resolve()))
    if found is None:
        raise click.ClickException(f"{repo} is not in a git repository")
    repository = pygit2.Repository(found)
    if branch in repository.branches.local:
        raise click.ClickException(f"there is a branch {branch} already; choose another --branch")
    if not pygit2.reference_is_valid_name(f"refs/heads/{branch}") or repository.head_is_unborn:
        raise click.ClickException(f"{branch!r} cannot be a branch here")
    head = repository.head.peel(pygit2.Commit)
    prefix = repo.resolve().relative_to(Path(repository.workdir).resolve()).as_posix()
    files = {path if prefix == "." else f"{prefix}/{path}": text.encode() for path, text in texts.items()}
    try:
        who = repository.default_signature
    except KeyError:
        who = None
    made = commit_files(repository, str(head.id), files, f"Seal all secrets to the key {key}\n", who)
    repository.references.create(f"refs/heads/{branch}", made)
