"""The mirror over real transports: smart HTTP with a token, TLS, and SSH."""

from __future__ import annotations

import datetime
import getpass
import ipaddress
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pygit2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from automator67.engine.remote_errors import BranchMissing, MirrorFailed, RemoteError, RemoteRefused, RemoteUnreachable
from automator67.engine.repo.commits import log
from automator67.engine.repo.credentials import Credentials
from automator67.engine.repo.mirror import Mirror
from automator67.engine.repo.packs import repack_if_needed
from automator67.engine.repo.tree import Tree
from tests.support.cloud import wait_for
from tests.support.githttp import GitServer, commit_files, git

TOKEN = "ghp_sesame/open+wide="


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    with GitServer(tmp_path) as running:
        yield running


@pytest.fixture
def private(tmp_path: Path) -> Iterator[GitServer]:
    with GitServer(tmp_path / "private", token=TOKEN) as running:
        yield running


def test_follows_pushes_over_http(server: GitServer, tmp_path: Path) -> None:
    repo = server.create("cloud")
    mirror = Mirror(tmp_path / "m.git", repo.url, "main")
    with pytest.raises(BranchMissing, match="push a first commit"):
        mirror.fetch()
    ids = []
    for i in range(40):
        ids.append(commit_files(repo.path, {f"apps/a{i % 5}.yaml": f"image: x:{i}\n"}))
        assert mirror.fetch().head == ids[-1]
        repack_if_needed(mirror)
    assert [c.id for c in log(mirror, ids[-1], 100)] == ids[::-1]
    assert len(Tree(mirror, ids[-1]).entries()) == 5
    assert len(list(mirror.path.glob("objects/pack/*.idx"))) < 40
    git("-C", mirror.path, "fsck", "--strict")


def test_only_the_wanted_branch_is_sent(server: GitServer, tmp_path: Path) -> None:
    repo = server.create("cloud")
    commit_files(repo.path, {"a": "1"})
    other = commit_files(repo.path, {"b": "2"}, branch="other")
    git("-C", repo.path, "tag", "v1", "main")
    mirror = Mirror(tmp_path / "m.git", repo.url, "main")
    mirror.fetch()
    assert other not in mirror.repository
    refs = git("-C", mirror.path, "for-each-ref", "--format=%(refname)").split()
    assert "refs/heads/main" in refs
    assert not [r for r in refs if "other" in r or "tags" in r]


def test_nothing_new_costs_one_request(server: GitServer, tmp_path: Path) -> None:
    repo = server.create("cloud")
    commit_files(repo.path, {"a": "1"})
    mirror = Mirror(tmp_path / "m.git", repo.url, "main")
    mirror.fetch()
    server.requests.clear()
    mirror.fetch()
    assert [(method, path) for method, path, _ in server.requests] == [
        ("GET", "/cloud.git/info/refs?service=git-upload-pack")
    ]


def test_force_push_and_deleted_branch(server: GitServer, tmp_path: Path) -> None:
    repo = server.create("cloud")
    base = commit_files(repo.path, {"a": "1"})
    old = commit_files(repo.path, {"a": "2"})
    mirror = Mirror(tmp_path / "m.git", repo.url, "main")
    mirror.fetch()
    git("-C", repo.path, "update-ref", "refs/heads/main", base)
    new = commit_files(repo.path, {"a": "3"})
    found = mirror.fetch()
    assert (found.head, found.previous, found.forced) == (new, old, True)
    git("-C", repo.path, "branch", "-m", "main", "trunk")
    with pytest.raises(BranchMissing, match="it has trunk; keeping"):
        mirror.fetch()
    assert mirror.head() == new
    assert [c.id for c in log(mirror, new)] == [new, base]


def test_a_token_opens_and_appears_nowhere(private: GitServer, tmp_path: Path) -> None:
    repo = private.create("cloud")
    head = commit_files(repo.path, {"a": "1"})
    mirror = Mirror(tmp_path / "m.git", repo.url, "main", Credentials(TOKEN))
    assert mirror.fetch().head == head
    in_url = repo.url.replace("http://", "http://ana:ghp_sesame%2Fopen%2Bwide%3D@")
    other = Mirror(tmp_path / "n.git", in_url, "main")
    assert other.fetch().head == head
    assert TOKEN not in repr((mirror, other, other.address, Credentials(TOKEN)))
    for file in tmp_path.glob("[mn].git*/**/*"):
        if file.is_file():
            assert b"sesame" not in file.read_bytes(), file


@pytest.mark.parametrize(
    ("credentials", "says"),
    [(None, "there are none"), (Credentials("wrong-sesame"), "does not accept the token")],
)
def test_no_way_in_without_the_right_token(
    private: GitServer, tmp_path: Path, credentials: Credentials | None, says: str
) -> None:
    repo = private.create("cloud")
    commit_files(repo.path, {"a": "1"})
    mirror = Mirror(tmp_path / "m.git", repo.url, "main", credentials)
    with pytest.raises(RemoteRefused, match=says) as raised:
        mirror.fetch()
    assert "sesame" not in str(raised.value)
    assert len(private.requests) <= 3
    assert not mirror.path.exists()


def test_credentials_go_to_nobody_else(private: GitServer, server: GitServer, tmp_path: Path) -> None:
    """Another host, and another port of the same host, that we are sent on to before or after we named ourselves."""
    repo = private.create("cloud")
    head = commit_files(repo.path, {"a": "1"})
    mirror = Mirror(tmp_path / "m.git", repo.url, "main", Credentials(TOKEN))
    mirror.fetch()
    server.token = "something else"
    elsewhere = [server.url, server.url.replace("127.0.0.1", "localhost")]
    for first_asks in (True, False):
        private.token = TOKEN if first_asks else None
        for target in elsewhere:
            private.redirect_to(target)
            with pytest.raises(RemoteRefused, match="sends us"):
                mirror.fetch()
            assert mirror.head() == head
    assert all(authorization == "" for _, _, authorization in server.requests)
    private.heal()
    private.token = TOKEN
    assert mirror.fetch().head == head


def test_another_host_is_not_taken_for_the_repository(server: GitServer, tmp_path: Path) -> None:
    """Also when it asks for nothing."""
    with GitServer(tmp_path / "other") as other:
        commit_files(other.create("cloud").path, {"apps/evil.yaml": "1"})
        server.redirect_to(other.url.replace("127.0.0.1", "localhost"))
        with pytest.raises(RemoteRefused, match="another host"):
            Mirror(tmp_path / "m.git", f"{server.url}/cloud.git", "main").fetch()
        assert other.requests == []


def test_a_damaged_copy_is_made_anew(server: GitServer, tmp_path: Path) -> None:
    repo = server.create("cloud")
    commit_files(repo.path, {"apps/a.yaml": "1"})
    mirror = Mirror(tmp_path / "m.git", repo.url, "main")
    mirror.fetch()
    base = set(mirror.path.glob("objects/pack/*"))
    head = commit_files(repo.path, {"apps/b.yaml": "1"})
    mirror.fetch()
    for damage in (base, set(mirror.path.glob("objects/pack/*")) - base, set(mirror.path.glob("objects/pack/*"))):
        shutil.rmtree(tmp_path / "d.git", ignore_errors=True)
        shutil.copytree(mirror.path, tmp_path / "d.git")
        for file in damage:
            (tmp_path / "d.git" / "objects" / "pack" / file.name).unlink()
        damaged = Mirror(tmp_path / "d.git", repo.url, "main")
        assert damaged.head() == head
        for _ in range(2):
            assert damaged.fetch().head == head
            try:
                assert len([Tree(damaged, head).read(e.blob) for e in Tree(damaged, head).entries()]) == 2
            except MirrorFailed:
                continue
        git("-C", tmp_path / "d.git", "fsck", "--strict")


def test_another_name_of_the_repository_on_the_same_server_is_followed(server: GitServer, tmp_path: Path) -> None:
    repo = server.create("new-name")
    head = commit_files(repo.path, {"a": "1"})
    server.renamed = {"/old-name": "/new-name.git"}
    assert Mirror(tmp_path / "m.git", f"{server.url}/old-name", "main").fetch().head == head


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    path = tmp_path / "server.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


def test_https_needs_a_certificate_that_holds(tmp_path: Path, certificate: Path) -> None:
    with GitServer(tmp_path, certificate=certificate, token=TOKEN) as server:
        repo = server.create("cloud")
        head = commit_files(repo.path, {"a": "1"})
        mirror = Mirror(tmp_path / "m.git", repo.url, "main", Credentials(TOKEN))
        with pytest.raises(RemoteRefused, match=r"TLS certificate of 127\.0\.0\.1 does not hold"):
            mirror.fetch()
        assert server.requests == []
        before = pygit2.settings.ssl_cert_file, pygit2.settings.ssl_cert_dir
        pygit2.settings.set_ssl_cert_locations(str(certificate), None)
        try:
            assert mirror.fetch().head == head
        finally:
            if any(before):
                pygit2.settings.set_ssl_cert_locations(*before)


class Sshd:
    """An OpenSSH server on loopback that lets one key in."""

    def __init__(self, place: Path) -> None:
        place.mkdir()
        for name in ("host", "client", "stranger"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place / name], check=True)
        (place / "authorized").write_text((place / "client.pub").read_text())
        (place / "authorized").chmod(0o600)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        config = (
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {place / 'host'}\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {place / 'authorized'}\nStrictModes no\nPasswordAuthentication no\n"
            "PermitRootLogin yes\nLogLevel QUIET\n"
        )
        (place / "config").write_text(config)
        self.place = place
        self.known = f"[127.0.0.1]:{self.port} {(place / 'host.pub').read_text()}"
        Path("/run/sshd").mkdir(exist_ok=True)
        self._process = subprocess.Popen(
            ["/usr/sbin/sshd", "-D", "-e", "-f", place / "config"], stderr=subprocess.DEVNULL
        )
        wait_for("sshd", self._answers)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    if not Path("/usr/sbin/sshd").exists() or getpass.getuser() != "root":
        pytest.skip("needs root and an OpenSSH server (openssh-server)")
    running = Sshd(tmp_path / "sshd")
    yield running
    running.stop()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home directory of libgit2's own, for known_hosts."""
    before = pygit2.settings.homedir
    (tmp_path / "home" / ".ssh").mkdir(parents=True)
    pygit2.settings.homedir = str(tmp_path / "home")
    yield tmp_path / "home"
    pygit2.settings.homedir = before


def test_ssh_with_a_key_file(tmp_path: Path, sshd: Sshd, home: Path) -> None:
    path = tmp_path / "cloud.git"
    git("init", "-q", "--bare", "-b", "main", path)
    head = commit_files(path, {"a": "1"})
    url = f"ssh://{getpass.getuser()}@127.0.0.1:{sshd.port}{path}"
    mirror = Mirror(tmp_path / "m.git", url, "main", Credentials(ssh_key=sshd.place / "client"))
    with pytest.raises(RemoteRefused, match=f"ssh-keyscan -p {sshd.port} 127.0.0.1"):
        mirror.fetch()
    (home / ".ssh" / "known_hosts").write_text(sshd.known)
    assert mirror.fetch().head == head
    head = commit_files(path, {"a": "2"})
    assert mirror.fetch().head == head
    other = (sshd.place / "stranger.pub").read_text()
    (home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{sshd.port} {other}")
    with pytest.raises(RemoteRefused, match="has changed"):
        mirror.fetch()
    (home / ".ssh" / "known_hosts").write_text(sshd.known)
    for key, says in (
        (None, "there is none"),
        (sshd.place / "nope", "cannot be read"),
        (sshd.place / "stranger", "does not accept the SSH key"),
    ):
        with pytest.raises(RemoteRefused, match=says):
            Mirror(tmp_path / "m.git", url, "main", Credentials(ssh_key=key)).fetch()
    with pytest.raises(RemoteError, match="nowhere"):
        Mirror(tmp_path / "n.git", url + "/nowhere", "main", Credentials(ssh_key=sshd.place / "client")).fetch()


def test_an_ssh_server_that_says_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ssh://git@127.0.0.1:{silent.getsockname()[1]}/x.git"
        with pytest.raises(RemoteUnreachable, match="cannot be reached"):
            Mirror(tmp_path / "m.git", url, "main", silence=0.5).fetch()


def test_a_mirror_of_a_mirror(server: GitServer, tmp_path: Path) -> None:
    repo = server.create("cloud")
    head = commit_files(repo.path, {"apps/a.yaml": "1"})
    Mirror(tmp_path / "m.git", repo.url, "main").fetch()
    shutil.rmtree(repo.path)
    assert Mirror(tmp_path / "n.git", str(tmp_path / "m.git"), "main").fetch().head == head
