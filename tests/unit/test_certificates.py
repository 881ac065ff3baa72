"""The cloud's CA: what it signs, what it refuses, and that its files survive."""

from __future__ import annotations

import base64
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from automator67.engine.nodes.certificates import AGENT_LIFE, Authority, CertificateError, identity_of

NOW = datetime.now(UTC).replace(microsecond=0)


def csr(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, name: str = "whatever I say") -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def der(pem: str) -> bytes:
    return x509.load_pem_x509_certificate(pem.encode()).public_bytes(serialization.Encoding.DER)


def sign(key: ec.EllipticCurvePrivateKey, text: str) -> str:
    return base64.b64encode(key.sign(text.encode(), ec.ECDSA(hashes.SHA256()))).decode()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.open(tmp_path / "ca")


def test_opening_again_gives_the_same_ca_and_private_files(tmp_path: Path) -> None:
    first = Authority.open(tmp_path / "ca")
    assert Authority.open(tmp_path / "ca").fingerprint == first.fingerprint
    assert len(first.fingerprint) == 32
    assert {f.stat().st_mode & 0o777 for f in (tmp_path / "ca").iterdir()} == {0o600}


def test_a_passphrase_encrypts_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A67_CA_PASSPHRASE", "correct horse")
    Authority.open(tmp_path / "ca")
    assert b"ENCRYPTED" in (tmp_path / "ca" / "ca.key").read_bytes()
    monkeypatch.setenv("A67_CA_PASSPHRASE", "wrong")
    with pytest.raises(CertificateError, match="cannot be read"):
        Authority.open(tmp_path / "ca")


def test_a_ca_that_was_half_made_is_made_anew(tmp_path: Path) -> None:
    Authority.open(tmp_path / "ca")
    (tmp_path / "ca" / "ca.pem").unlink()
    assert Authority.open(tmp_path / "ca").fingerprint


def test_names_in_the_csr_do_not_count(authority: Authority) -> None:
    request = csr(ec.generate_private_key(ec.SECP256R1()), "spiffe://automator67/home/node/evil")
    issued = authority.sign(request, "home", "hel1", NOW)
    identity = identity_of(der(issued.pem))
    assert (identity.cloud, identity.node, identity.serial) == ("home", "hel1", issued.serial)
    certificate = x509.load_pem_x509_certificate(issued.pem.encode())
    assert certificate.not_valid_before_utc < NOW - timedelta(minutes=4)
    assert abs(certificate.not_valid_after_utc - NOW - AGENT_LIFE) < timedelta(minutes=1)
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert not constraints.ca


@pytest.mark.parametrize(
    "bad", ["", "nonsense", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----"]
)
def test_nonsense_is_refused(authority: Authority, bad: str) -> None:
    with pytest.raises(CertificateError):
        authority.sign(bad, "home", "hel1")


def test_weak_or_unusual_keys_are_refused(authority: Authority) -> None:
    with pytest.raises(CertificateError, match="neither ECDSA nor Ed25519"):
        authority.sign(csr(rsa.generate_private_key(65537, 2048)), "home", "hel1")
    with pytest.raises(CertificateError, match="use P-256"):
        authority.sign(csr(ec.generate_private_key(ec.SECP384R1())), "home", "hel1")


def test_renewal_needs_the_old_key(authority: Authority) -> None:
    old, new = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issued = authority.sign(csr(old), "home", "hel1", NOW - timedelta(days=3))
    request = csr(new)
    assert authority.check_renewal(issued.pem, request, sign(old, request), NOW).node == "hel1", "expired two days ago"
    with pytest.raises(CertificateError, match="not valid"):
        authority.check_renewal(issued.pem, request, sign(new, request), NOW)
    with pytest.raises(CertificateError, match="not valid"):
        authority.check_renewal(issued.pem, csr(old), sign(old, request), NOW)
    with pytest.raises(CertificateError, match="more than 7 days"):
        authority.check_renewal(issued.pem, request, sign(old, request), NOW + timedelta(days=8))


def test_another_cas_certificate_is_refused(authority: Authority, tmp_path: Path) -> None:
    other, key = Authority.open(tmp_path / "other"), ec.generate_private_key(ec.SECP256R1())
    issued, request = other.sign(csr(key), "home", "hel1"), csr(key)
    with pytest.raises(CertificateError, match="not valid"):
        authority.check_renewal(issued.pem, request, sign(key, request), NOW)


def test_the_endpoint_speaks_tls_1_3_only(authority: Authority) -> None:
    context = authority.server_context(["cloud.example.org", "192.0.2.1", "::1"])
    assert context.minimum_version == ssl.TLSVersion.TLSv1_3
    assert context.verify_mode == ssl.CERT_OPTIONAL


def test_a_certificate_without_a_node_speaks_for_nobody(authority: Authority) -> None:
    with pytest.raises(CertificateError, match="names no node"):
        identity_of(der(authority.pem))
