"""Backups over SFTP: a real OpenSSH server, and the node's own way of logging in."""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from automator67.agent.restic import Restic, ResticError
from tests.support.cloud import free_port, wait_for
from tests.support.volumes import Node

pytestmark = [pytest.mark.skipif(not shutil.which("restic"), reason="restic is not on this machine"), pytest.mark.slow]


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Run an SSH server, and let ``ssh`` know its host key and ours, as a node's owner sets it up."""
    if not Path("/usr/sbin/sshd").exists() or getpass.getuser() != "root":
        pytest.skip("needs root and an OpenSSH server (openssh-server)")
    place, port = tmp_path / "ssh", free_port()
    place.mkdir(mode=0o700)
    for key in ("host", "client"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place / key], check=True)
    (place / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {place}/host\nAuthorizedKeysFile {place}/client.pub\n"
        "StrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n"
    )
    (place / "known").write_text(f"[127.0.0.1]:{port} {(place / 'host.pub').read_text()}")
    wrapper = place / "bin" / "ssh"
    wrapper.parent.mkdir()
    mine = f"-F none -oUserKnownHostsFile={place}/known -i {place}/client"
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} {mine} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}:/usr/sbin:/usr/bin:/sbin:/bin")
    Path("/run/sshd").mkdir(exist_ok=True)
    server = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", place / "config"], stderr=subprocess.DEVNULL)

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_for("sshd", answers)
    yield port
    server.terminate()
    server.wait(10)


def test_a_volume_goes_there_and_comes_back(tmp_path: Path, port: int) -> None:
    node = Node(tmp_path / "node", f"sftp://root@127.0.0.1:{port}/{tmp_path}/far/c/db/0/data")
    old = node.fill("old")
    made = node.do("backup", "b1")
    assert (tmp_path / "far/c/db/0/data/config").exists()
    node.fill("new")
    node.do("restore", "r1", snapshot=made["snapshot"])
    node.do("switch", "r1", snapshot=made["snapshot"])
    assert node.holds() == old


def test_a_stranger_is_not_asked_for_a_password(tmp_path: Path, port: int) -> None:
    (tmp_path / "ssh" / "client").unlink()
    node = Node(tmp_path / "node", f"sftp://root@127.0.0.1:{port}/{tmp_path}/far")
    node.fill("old")
    # restic sometimes ends before it has read what ssh said.
    with pytest.raises(ResticError, match=r"Permission denied|unable to start the sftp session"):
        node.do("backup", "b1")


@pytest.mark.parametrize(
    "name", ["sftp://-oProxyCommand=x/p", "sftp://a b/p", "sftp://h:p/x", "sftp:h:/p", "sftp://h -x/p"]
)
def test_a_name_that_ssh_could_misread_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ResticError, match="cannot be used"):
        Restic("restic", name, {}, str(tmp_path), "")
