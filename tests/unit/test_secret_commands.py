"""Listing secrets, changing the key they are sealed to, and removing keys that nothing needs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from automator67.engine.apps.revisions import to_spec
from automator67.engine.cli.main import root
from automator67.engine.desired import Origin
from automator67.engine.load import Loader
from automator67.engine.nodes.registry import Registry
from automator67.engine.observed import Revision
from automator67.engine.options import Options
from automator67.engine.reconcile import Reconciler
from automator67.engine.secrets.contents import assumed, bound
from automator67.engine.secrets.errors import SecretError
from automator67.engine.secrets.keys import Keyring, PrivateKey, read_public_key
from automator67.engine.secrets.rekeying import next_key, reseal
from automator67.engine.secrets.sealing import seal
from automator67.engine.secrets.vault import Opener, Vault
from automator67.engine.source import open_source
from automator67.engine.store.database import open_store
from automator67.engine.store.intents import ask_revision
from tests.support.cloud import GIT
from tests.support.sealed import sealed
from tests.unit.test_load import BASE, Repository
from tests.unit.test_load import app as load_app

VALUES = {"a": "hunter22", "b": "other-value"}


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, Path]:
    """A copy of a repository with two sealed values, and the engine's state directory."""
    repo, state = tmp_path / "repo", tmp_path / "state"
    key = Keyring(state / "secrets").ensure().public
    files = {
        "automator67.yaml": "name: home\nalerts: [{to: {secret: b}}]\n",
        "apps/x.yaml": "image: a\nenv: {A: {secret: a}}\n",
        "secrets/engine.pub": key.text(), **{f"secrets/{n}.sealed": seal(key, "home", n, v.encode())
                                             for n, v in VALUES.items()},
    }  # fmt: skip
    for name, text in files.items():
        (repo / name).parent.mkdir(exist_ok=True, parents=True)
        (repo / name).write_text(text)
    subprocess.run([*GIT, "init", "-q", "-b", "main"], cwd=repo, check=True)
    subprocess.run([*GIT, "add", "-A"], cwd=repo, check=True)
    subprocess.run([*GIT, "commit", "-qm", "first"], cwd=repo, check=True)
    open_store(state / "store.db").close()
    return repo, state


def run(place: tuple[Path, Path], *argv: str, code: int = 0) -> str:
    done = CliRunner().invoke(root, [*argv, "--repo", str(place[0]), "--state", str(place[1])])
    assert done.exit_code == code, done.output + str(done.exception)
    assert not any(value in done.output for value in VALUES.values())
    return done.output


def test_every_secret_is_listed_with_its_users_and_whether_it_opens(place: tuple[Path, Path]) -> None:
    repo, state = place
    found = {s["name"]: s for s in json.loads(run(place, "secrets", "list", "--json"))}
    assert (found["a"]["used_by"], found["b"]["used_by"]) == (["app/x"], ["automator67.yaml"])
    assert {s["opens"] for s in found.values()} == {"yes"}
    foreign = PrivateKey.new().public
    (repo / "secrets/b.sealed").write_text(seal(foreign, "home", "b", b"x"))
    (repo / "apps/y.yaml").write_text("image: a\nenv: {A: {secret: gone}}\n")
    text = run(place, "secrets", "list", code=1)
    assert foreign.id in text
    assert "there is no such secret; make it: automator67 seal gone" in text
    (state / "secrets/key-0001").unlink()
    assert "no key here" in run(place, "secrets", "list", code=1)


def test_a_new_key_opens_everything_and_the_old_one_stays_until_nothing_needs_it(place: tuple[Path, Path]) -> None:
    repo, state = place
    ring = Keyring(state / "secrets")
    first = ring.ids()[0]
    before = (repo / "secrets/a.sealed").read_text()
    assert "would make a new key and seal 2 values" in run(place, "rekey", "--dry-run")
    assert ring.ids() == [first]
    assert "sealed 2 values" in run(place, "rekey")
    second = read_public_key(repo / "secrets/engine.pub").id
    assert ring.ids() == [first, second]
    assert {s["key"] for s in json.loads(run(place, "secrets", "list", "--json"))} == {second}
    # A revision that the engine keeps was sealed to the old key.
    subprocess.run([*GIT, "clone", "-q", "--bare", str(repo), str(state / "repository")], check=True)
    blob = subprocess.run([*GIT, "rev-parse", "HEAD:secrets/a.sealed"], cwd=repo, check=True, capture_output=True,
                          text=True).stdout.strip()  # fmt: skip
    spec = {"secrets": [{"name": "a", "path": "secrets/a.sealed", "blob": blob, "fingerprint": ""}]}
    with open_store(state / "store.db") as store, store.begin() as tx:
        ask_revision(tx, "x", "r1", "c", spec, 1.0)
    assert f"{first}  stays" in run(place, "keys", "drop")
    with open_store(state / "store.db") as store, store.begin() as tx:
        ask_revision(tx, "x", "r1", "c", {"secrets": []}, 1.0)
    assert f"{first}  would be removed" in run(place, "keys", "drop", "--dry-run")
    assert f"{first}  removed" in run(place, "keys", "drop")
    assert ring.ids() == [second]
    (repo / "secrets/a.sealed").write_text(before)
    assert "nothing was changed" in run(place, "rekey", code=1)
    assert ring.ids() == [second]


def test_a_new_key_can_come_as_a_commit_on_a_branch(place: tuple[Path, Path]) -> None:
    repo, _ = place
    before = (repo / "secrets/a.sealed").read_text()
    assert "on branch new-key" in run(place, "rekey", "--branch", "new-key")
    assert (repo / "secrets/a.sealed").read_text() == before

    def git(*argv: str) -> str:
        return subprocess.run([*GIT, *argv], cwd=repo, check=True, capture_output=True, text=True).stdout

    assert git("diff", "--name-only", "main", "new-key").split() == [
        "secrets/a.sealed", "secrets/b.sealed", "secrets/engine.pub",
    ]  # fmt: skip
    assert git("status", "--porcelain") == ""
    assert "there is a branch new-key already" in run(place, "rekey", "--branch", "new-key", code=1)
    git("merge", "-q", "new-key")
    assert {s["opens"] for s in json.loads(run(place, "secrets", "list", "--json"))} == {"yes"}


def test_a_change_of_keys_that_was_cut_off_goes_on_with_the_same_key(place: tuple[Path, Path]) -> None:
    repo, state = place
    ring = Keyring(state / "secrets")
    published = read_public_key(repo / "secrets/engine.pub")
    key = next_key(ring, published.id)
    files = {f"secrets/{n}.sealed": (repo / f"secrets/{n}.sealed").read_bytes() for n in VALUES}
    done = reseal(files, "home", ring, key)
    (repo / "secrets/a.sealed").write_text(done.files["secrets/a.sealed"])
    assert "sealed 1 values" in run(place, "rekey")
    assert read_public_key(repo / "secrets/engine.pub") == key
    assert len(ring.ids()) == 2


def test_an_app_counts_its_values_in_its_revision(tmp_path: Path) -> None:
    ring = Keyring(tmp_path)
    key = ring.ensure().public

    def loaded(
        value: bytes, opener: Opener | None, app: str = "image: a\nenv: {A: {secret: s}}"
    ) -> tuple[str, str, str]:
        files = {**BASE, "apps/x.yaml": app, "secrets/s.sealed": seal(key, "home", "s", value)}
        desired = Repository(files).load(Loader(opener)).desired
        assert desired is not None
        found = desired.apps["x"]
        return found.rev, found.blocked, found.shape

    opener = Opener(ring)
    first = loaded(b"one", opener)
    assert first == loaded(b"one", Opener(Keyring(tmp_path)))
    other = loaded(b"two", opener)
    assert (first[0] != other[0], first[2]) == (True, other[2])
    assert loaded(b"one", None)[0] != first[0]
    assert "is not text; give it to the app as a file" in loaded(b"\xff", opener)[1]
    assert "too long for the environment" in loaded(b"x" * 131_072, opener)[1]
    as_file = "image: a\nfiles: [{path: /run/s, secret: s}]"
    assert loaded(b"\xff", opener, as_file)[1] == ""


def test_without_a_key_an_app_whose_files_are_the_same_counts_as_deployed() -> None:

    found = load_app("image: a\nenv: {A: {secret: s}}", **{"secrets/s.sealed": sealed("s")})
    deployed = Revision(found.name, "abc", "c", to_spec(found))
    assert assumed(found, deployed).rev == "abc"
    spec = to_spec(found) | {"secrets": [{"name": "s", "path": "p", "blob": "other", "fingerprint": ""}]}
    assert assumed(found, Revision(found.name, "abc", "c", spec)) == found
    assert assumed(found, None) == found


def test_a_blocked_app_says_which_of_its_secrets_does_not_open(tmp_path: Path) -> None:

    found = load_app("image: a\nenv: {A: {secret: s}}", **{"secrets/s.sealed": sealed("s")})
    vault = Vault("home", {"s": Origin("secrets/s.sealed", "x")}, lambda _: b"rubbish", Opener(Keyring(tmp_path)))
    assert bound(found, vault).blocked.startswith("secrets/s.sealed:1:1: ")
    with pytest.raises(SecretError):
        vault.value("s")


def test_a_restarted_engine_knows_values_before_it_asks_anybody(place: tuple[Path, Path]) -> None:
    repo, state = place
    options = Options(state, str(repo))
    ring = Keyring(state / "secrets")
    old = seal(ring.ensure().public, "home", "a", b"value of before").encode()
    blob = subprocess.run([*GIT, "hash-object", "-w", "--stdin"], cwd=repo, input=old, check=True, capture_output=True)
    (repo / "secrets/a.sealed").write_bytes(old)
    subprocess.run([*GIT, "commit", "-qam", "an older value"], cwd=repo, check=True)
    subprocess.run([*GIT, "revert", "--no-edit", "HEAD"], cwd=repo, check=True, capture_output=True)
    open_source(options).fetch()
    repo.rename(repo.with_name("away"))
    use = {"name": "a", "path": "secrets/a.sealed", "blob": blob.stdout.decode().strip(), "fingerprint": ""}
    learned: list[tuple[str, bytes]] = []
    with open_store(state / "store.db") as store:
        with store.begin() as tx:
            ask_revision(tx, "x", "r1", "c", {"secrets": [use, use | {"blob": "0" * 40}]}, 1.0)
        source = open_source(options, Opener(ring, lambda name, value: learned.append((name, value))))
        Reconciler(store, source, Registry(store, lambda: 0.0), started=0.0).learn_secrets()
    assert sorted(learned) == [("a", b"hunter22"), ("a", b"value of before")]
