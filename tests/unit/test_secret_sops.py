"""SOPS files, as the real ``sops`` writes them: opened, verified, and refused in words when they are not right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pyrage import x25519

from automator67.engine.desired import Origin
from automator67.engine.secrets.errors import SecretError
from automator67.engine.secrets.keys import Keyring
from automator67.engine.secrets.sops import open_document, read_identities
from automator67.engine.secrets.vault import Opener, Vault
from automator67.schemas.repository import check_files

SOPS = Path(sys.executable).with_name("sops")
PLAIN = """\
DB_PASSWORD: hunter22
token: "0123"
port: 5432
ratio: 0.25
huge: 1.0e+30
debug: true
empty: ""
umlaut: "grüße: und mehr"
multi: |
  one
  two
nested:
  user: ana
  list: [x, y, 3, true]
# a remark
plain_unencrypted: shown
count_unencrypted: 7
yes_unencrypted: true
"""
BASE = {"automator67.yaml": b"name: home\n", "nodes/n.yaml": b"region: eu\n"}


@pytest.fixture(scope="module")
def identity() -> x25519.Identity:
    return x25519.Identity.generate()


def encrypted(directory: Path, identity: x25519.Identity, plain: str = PLAIN, config: str = "") -> bytes:
    """Return what the real SOPS makes of a document."""
    (directory / "all.sops.yaml").write_text(plain)
    rules = f"creation_rules:\n  - age: {identity.to_public()}\n{config}"
    (directory / ".sops.yaml").write_text(rules)
    argv = [SOPS, "--config", directory / ".sops.yaml", "encrypt", directory / "all.sops.yaml"]
    done = subprocess.run(argv, capture_output=True, cwd=directory)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "config", ["", "    mac_only_encrypted: true\n", "    encrypted_regex: '^(DB|token|nested)'\n"]
)
def test_what_sops_wrote_opens(tmp_path: Path, identity: x25519.Identity, config: str) -> None:
    values = open_document("all.sops.yaml", encrypted(tmp_path, identity, config=config), [identity])
    assert values["db-password"] == b"hunter22"
    assert values["token"] == b"0123"
    if "regex" in config:
        assert values.keys() == {"db-password", "token"}
        return
    assert (values["port"], values["ratio"], values["debug"]) == (b"5432", b"0.25", b"true")
    assert (values["umlaut"].decode(), values["multi"]) == ("grüße: und mehr", b"one\ntwo\n")
    assert values.keys().isdisjoint({"empty", "nested", "plain-unencrypted", "sops"})


def test_every_change_without_sops_is_noticed(tmp_path: Path, identity: x25519.Identity) -> None:
    data = encrypted(tmp_path, identity)
    text = data.decode()
    db = next(line for line in text.splitlines() if line.startswith("DB_PASSWORD"))
    token = next(line for line in text.splitlines() if line.startswith("token"))
    swapped = text.replace(db, "DB_PASSWORD:" + token.removeprefix("token:"))
    for changed in (
        swapped, text.replace(db, "DB_PASSWORD: other"), text.replace(db + "\n", ""), text.replace("shown", "Shown"),
        text.replace("lastmodified: \"2", "lastmodified: \"3"), text.replace("mac: ENC[", "mac: ["),
        text.replace("count_unencrypted: 7", "count_unencrypted: 8"), text.replace(db, db.replace("iv:", "iv:A")),
    ):  # fmt: skip
        assert changed != text
        with pytest.raises(SecretError, match="changed without sops") as error:
            open_document("all.sops.yaml", changed.encode(), [identity])
        assert "hunter22" not in str(error.value)


def test_a_file_for_somebody_else_or_of_another_kind_says_so(tmp_path: Path, identity: x25519.Identity) -> None:
    data = encrypted(tmp_path, identity)
    with pytest.raises(SecretError, match=f"encrypted to {identity.to_public()}, and the engine's age identity is"):
        open_document("all.sops.yaml", data, [x25519.Identity.generate()])
    with pytest.raises(SecretError, match="not a document of SOPS"):
        open_document("all.sops.yaml", b"a: b\n", [identity])
    only_kms = data.decode().replace("    age:\n", "    other:\n").encode()
    with pytest.raises(SecretError, match="only age is understood"):
        open_document("all.sops.yaml", only_kms, [identity])
    with pytest.raises(SecretError, match="several groups"):
        open_document("a", data.replace(b"sops:\n", b"sops:\n    shamir_threshold: 2\n"), [identity])


def test_identities_are_read_as_age_keygen_writes_them(tmp_path: Path, identity: x25519.Identity) -> None:
    file = tmp_path / "age.txt"
    with pytest.raises(SecretError, match="is missing"):
        read_identities(file)
    file.write_text(
        f"# created: today\n# public key: {identity.to_public()}\n{identity}\n{x25519.Identity.generate()}\n"
    )
    assert len(read_identities(file)) == 2
    for wrong, words in (("# nothing\n", "holds no age identity"), ("AGE-SECRET-KEY-1BAD\n", "is no age identity")):
        file.write_text(wrong)
        with pytest.raises(SecretError, match=words):
            read_identities(file)


def test_keys_of_a_file_are_secrets_of_the_commit(tmp_path: Path, identity: x25519.Identity) -> None:
    data = encrypted(tmp_path, identity, "DB_PASSWORD: hunter22\nother: two\n")
    ring = Keyring(tmp_path / "keys")
    ring.ensure()
    (tmp_path / "keys" / "age.txt").write_text(str(identity))
    learned: list[str] = []
    places = {name: Origin("secrets/all.sops.yaml", "blob") for name in ("db-password", "other")}
    vault = Vault("home", places, lambda _: data, Opener(ring, lambda name, _: learned.append(name)))
    assert vault.value("db-password") == b"hunter22"
    assert learned == ["db-password"]
    assert vault.fingerprint("db-password") == ring.fingerprint("db-password", b"hunter22")


def test_validate_knows_the_names_and_refuses_what_is_not_encrypted(tmp_path: Path, identity: x25519.Identity) -> None:
    data = encrypted(tmp_path, identity, "DB_PASSWORD: hunter22\nother: two\n")
    app = b"image: a\nenv:\n  A: {secret: db-password}\n  B: {secret: db-pasword}\n"
    found = check_files({**BASE, "secrets/all.sops.yaml": data, "apps/a.yaml": app}).problems
    assert [str(p) for p in found] == [
        "apps/a.yaml:4:7: env.B.secret: there is no secret db-pasword; did you mean db-password?"
    ]
    (plain,) = check_files({**BASE, "secrets/all.sops.yaml": b"DB_PASSWORD: hunter22\n"}).problems
    assert "is not encrypted by SOPS; encrypt it before it is committed" in str(plain)
    assert "hunter22" not in str(plain)
    twice = encrypted(tmp_path, identity, "A_B: x\na-b: y\n'?': z\n")
    found = check_files({**BASE, "secrets/all.sops.yaml": twice, "secrets/more.sops.yaml": data,
                         "secrets/again.sops.yaml": data}).problems  # fmt: skip
    texts = [str(p) for p in found]
    assert any("a-b: A_B is the secret a-b already" in t for t in texts)
    assert any("cannot be the name of a secret" in t for t in texts)
    assert any("secrets/again.sops.yaml is the secret db-password already" in t for t in texts)
