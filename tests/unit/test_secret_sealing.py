"""Sealing and opening: bound to name and cloud, refused when anything was changed; keys that are made once."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hpke
from hypothesis import given
from hypothesis import strategies as st

from automator67.engine.secrets.errors import SecretError
from automator67.engine.secrets.keys import Keyring, PrivateKey, PublicKey, read_public_key
from automator67.engine.secrets.sealing import MAX_VALUE_BYTES, open_sealed, read_sealed_file, seal
from automator67.schemas.armor import ArmorError, read_block, write_block
from automator67.schemas.sealed import MAX_SEALED_BYTES, read_sealed
from tests.support.sealed import sealed, sealing_key

# A fixed key and a value sealed to it: what earlier versions sealed must open for ever.
VECTOR_KEY = bytes(range(96))
VECTOR_ID = "56fa094becb1d98e4f3c07bcad889748"


def opened(text: str, name: str = "db", cloud: str = "home", key: PrivateKey | None = None) -> bytes:
    file = read_sealed_file(f"secrets/{name}.sealed", text.encode())
    return open_sealed(key or sealing_key(), file, cloud, name, f"secrets/{name}.sealed")


@given(st.binary(min_size=1, max_size=300))
def test_what_is_sealed_opens(value: bytes) -> None:
    assert opened(seal(sealing_key().public, "home", "db", value)) == value


def test_the_longest_value_fits_into_the_longest_file() -> None:
    text = seal(sealing_key().public, "home", "db", os.urandom(MAX_VALUE_BYTES))
    assert len(text) <= MAX_SEALED_BYTES
    assert len(opened(text)) == MAX_VALUE_BYTES
    for wrong in (b"", b"x" * (MAX_VALUE_BYTES + 1)):
        with pytest.raises(SecretError):
            seal(sealing_key().public, "home", "db", wrong)


def test_the_length_of_a_short_value_does_not_show() -> None:
    assert len({len(sealed("db", "x" * n)) for n in (1, 8, 32, 63)}) == 1


def test_a_value_moved_to_another_name_or_cloud_is_refused_in_words() -> None:
    text = sealed("db", "hunter22")
    with pytest.raises(SecretError, match="sealed as secret db, not as other; seal the value again: automator67 seal"):
        opened(text, "other")
    with pytest.raises(SecretError, match="sealed for cloud home, not for away"):
        opened(text, cloud="away")
    for forged in (text.replace("Name: db", "Name: other"), text.replace("Cloud: home", "Cloud: other")):
        with pytest.raises(SecretError, match="does not open: it was changed") as error:
            opened(
                forged, "other" if "Name: other" in forged else "db", "other" if "Cloud: other" in forged else "home"
            )
        assert "hunter22" not in str(error.value)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_changed_byte_goes_unnoticed(at: int, bits: int) -> None:
    file = read_sealed(sealed("db").encode())
    box = bytearray(file.box)
    box[at % len(box)] ^= bits
    changed = write_block(
        "SEALED SECRET",
        {"Version": "1", "Name": "db", "Cloud": "home", "Key": file.key_id,
         "Suite": "MLKEM768-X25519, HKDF-SHA256, AES-256-GCM"},
        bytes(box),
    )  # fmt: skip
    with pytest.raises(SecretError):
        opened(changed)


def test_another_implementation_of_the_padding_opens_it_with_plain_hpke() -> None:
    """The file's content is exactly what RFC 9180's single-shot API of that suite takes."""
    suite = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
    box = base64.b64decode("".join(sealed("db", "hunter22").split("\n\n")[1].splitlines()[:-1]))
    padded = suite.decrypt(box, sealing_key().hpke, b"automator67 secret 1\0home\0db")
    assert padded == b"hunter22\x80" + bytes(64 - 9)


def test_a_key_of_fixed_bytes_has_a_fixed_id_and_public_half() -> None:
    key = PrivateKey.of(VECTOR_KEY)
    assert key.public.id == VECTOR_ID
    assert PublicKey.of(key.public.raw).id == VECTOR_ID
    assert VECTOR_KEY.hex() not in repr(key)
    assert opened((Path(__file__).parents[1] / "vectors/db.sealed").read_text(), key=key) == b"correct horse"


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (lambda t: "hello", 1, "BEGIN AUTOMATOR67 SEALED SECRET----- is missing"),
        (lambda t: "", 1, "is missing"),
        (lambda t: t.replace("Version: 1", "Version: 2"), 2, "a newer automator67"),
        (lambda t: t.replace("Name: db\n", ""), 1, "the header Name is missing"),
        (lambda t: t.replace("Name: db", "Name: ../db"), 3, "cannot be the name"),
        (lambda t: t.replace("Key: ", "Key: x"), 5, "cannot be the key"),
        (lambda t: t.replace("\n\n", "\nnothing here\n\n", 1), 7, "is not a header"),
        (lambda t: t.replace("-----END", "-----and"), None, "cut off"),
        (lambda t: t + "more\n", None, "after the end"),
        (lambda t: t.replace("\n\n", "\n\n!!!", 1), 8, "characters"),
        (lambda t: t.replace("\n\n", "\n\né", 1), 8, "ASCII"),
        (lambda t: t.replace("SEALED SECRET", "PUBLIC KEY"), 1, "a public key, not a sealed secret"),
        (lambda t: t + " " * MAX_SEALED_BYTES, 1, "more than"),
    ],
)  # fmt: skip
def test_a_malformed_file_is_an_error_with_its_line(change: object, line: int | None, words: str) -> None:
    with pytest.raises(ArmorError, match=words) as error:
        read_sealed(change(sealed("db")).encode())  # type: ignore[operator]
    assert line in (None, error.value.line)


@given(st.binary(max_size=400))
def test_reading_armour_never_raises_anything_else(data: bytes) -> None:
    for label in ("SEALED SECRET", "PUBLIC KEY"):
        with pytest.raises(ArmorError):
            read_block(data, label)


def test_keys_are_made_once_kept_private_and_replaced_without_losing_the_old(tmp_path: Path) -> None:
    ring = Keyring(tmp_path / "secrets")
    assert ring.present() is None
    first = ring.ensure()
    assert Keyring(tmp_path / "secrets").ensure().public.id == first.public.id
    text = seal(first.public, "home", "db", b"x")
    before = ring.fingerprint("db", b"x")
    second = Keyring(tmp_path / "secrets").add()
    assert ring.present() is not None
    assert [first.public.id, second.public.id] == ring.ids()
    assert opened(text, key=ring.find(read_sealed(text.encode()).key_id)) == b"x"
    assert Keyring(tmp_path / "secrets").fingerprint("db", b"x") == before
    assert ring.fingerprint("db2", b"x") != before != ring.fingerprint("db", b"y")
    assert {p.stat().st_mode & 0o777 for p in (tmp_path / "secrets").iterdir()} == {0o600}
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    ring.drop(first.public.id)
    assert Keyring(tmp_path / "secrets").ids() == [second.public.id]


def test_a_damaged_key_is_an_error_and_never_replaced(tmp_path: Path) -> None:
    Keyring(tmp_path).ensure()
    (tmp_path / "key-0001").write_text("rubbish")
    with pytest.raises(SecretError, match="put its backup in its place"):
        Keyring(tmp_path).ensure()
    assert (tmp_path / "key-0001").read_text() == "rubbish"


def test_a_key_maker_that_is_killed_leaves_one_whole_key_or_none(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from automator67.engine.secrets.keys import Keyring\n"
        "print('go', flush=True); k = Keyring(Path(sys.argv[1])); k.ensure(); k.fingerprint('a', b'b')"
    )
    for delay in range(6):
        directory = tmp_path / str(delay)
        makers = [
            subprocess.Popen([sys.executable, "-c", code, str(directory)], stdout=subprocess.PIPE) for _ in range(2)
        ]
        for maker in makers:
            assert maker.stdout is not None
            maker.stdout.readline()
        if delay:
            makers[0].send_signal(signal.SIGKILL)
        for maker in makers:
            maker.communicate(timeout=60)
        ring = Keyring(directory)
        assert [ring.ensure().public.id] == ring.ids()


def test_a_public_key_file_says_what_it_is_and_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "engine.pub"
    with pytest.raises(SecretError, match="automator67 keys export"):
        read_public_key(path)
    path.write_text(sealing_key().public.text())
    assert read_public_key(path) == sealing_key().public
    assert "It is no secret" in path.read_text()
    path.write_text(path.read_text().replace(sealing_key().public.id, "0" * 32))
    with pytest.raises(SecretError, match="export it again"):
        read_public_key(path)
