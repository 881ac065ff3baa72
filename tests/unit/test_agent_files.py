"""What the agent writes and reads: state, sealed state, logs, cgroups, processes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_csr

from automator67.agent import cgroups, logfiles, proctable, sealing
from automator67.agent.model import Adopted
from automator67.agent.state import Membership, Memory, StateError, lock, membership, read_json, write_private
from automator67.agent.trees import remove_tree
from tests.support.cloud import wait_for
from tests.support.kill import killed_at


def test_a_file_is_old_or_new_whenever_the_power_fails(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_private(str(path), b"old")
    for step in range(1, 20):
        if not killed_at(step, lambda: write_private(str(path), b"new" * 1000)):
            break
        assert path.read_bytes() in (b"old", b"new" * 1000)
    assert path.read_bytes() == b"new" * 1000
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_what_cannot_be_written_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_private(str(path), b"old")
    (tmp_path / "file.new").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        write_private(str(path), b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_membership(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="join first with"):
        membership(str(tmp_path))
    write_private(str(tmp_path / "agent.json"), b'{"engine":"https://e:1","node":"n","cloud":"c","heartbeat_s":30}')
    assert membership(str(tmp_path)) == Membership("https://e:1", "n", "c", 30.0)
    for damaged in (b"{", b"[]", b'{"engine":1}'):
        write_private(str(tmp_path / "agent.json"), damaged)
        with pytest.raises(StateError):
            membership(str(tmp_path))
    assert read_json(str(tmp_path / "nothing")) is None


def test_only_one_agent_has_a_state(tmp_path: Path) -> None:
    held = lock(str(tmp_path))
    with pytest.raises(StateError, match="another agent already runs"):
        lock(str(tmp_path))
    os.close(held)
    os.close(lock(str(tmp_path)))


def test_memory_survives_and_is_written_only_when_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "memory.json"
    memory = Memory(str(path))
    memory.keep()
    assert not path.exists()
    memory.made.add("a-0-r")
    memory.adopted["old"] = Adopted("c1", "a-0-r", "a", 0, "r", 1)
    memory.images["i:1"] = ("a", 5.0)
    memory.keep()
    again = Memory(str(path))
    assert (again.made, again.adopted, again.images) == (memory.made, memory.adopted, memory.images)
    path.write_text('{"made": 7, "adopted": {"x": [1]}, "images": {"i": "y"}}')
    damaged = Memory(str(path))
    assert (damaged.made, damaged.adopted, damaged.images) == (set(), {}, {})


def test_sealing() -> None:
    key, other = sealing.new_key(), sealing.new_key()
    sealed = sealing.seal(key + b"certificate", b"secret", b"about")
    assert b"secret" not in sealed
    # The key decides, whatever certificate stands beside it now.
    assert sealing.unseal(key + b"another", sealed, b"about") == b"secret"
    assert sealing.seal(key, b"secret", b"about") != sealing.seal(key, b"secret", b"about")
    changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for k, s, about in (
        (other, sealed, b"about"),
        (key, changed, b"about"),
        (key, sealed, b"x"),
        (key, b"", b"about"),
        (key, sealed[:20], b"about"),
    ):
        with pytest.raises(sealing.SealError):
            sealing.unseal(k, s, about)


def test_a_key_and_its_request() -> None:
    key = sealing.new_key()
    csr = load_pem_x509_csr(sealing.signing_request(key, "n" * 100).encode())
    assert csr.is_signature_valid
    private = load_pem_private_key(key, None)
    assert csr.public_key().public_numbers() == private.public_key().public_numbers()  # type: ignore[union-attr]


def test_logs_rotate_and_keep_three(tmp_path: Path) -> None:
    log = tmp_path / "out.log"
    assert not logfiles.rotate(str(log))
    with log.open("ab", buffering=0) as file:
        for letter in b"abcd":
            file.write(bytes([letter]) * 100 + b"\n")
            assert logfiles.rotate(str(log), 100)
            assert log.read_bytes() == b""
        # The writer goes on as if nothing had happened.
        file.write(b"e\n")
    assert log.read_bytes() == b"e\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.log", "out.log.1", "out.log.2"]
    assert not logfiles.rotate(str(log), 100)
    assert logfiles.tail(str(log), 2) == ["d" * 100, "e"]
    assert logfiles.tail(str(log), 99) == ["c" * 100, "d" * 100, "e"]
    assert logfiles.tail(str(log), 0) == []


def test_pieces_of_a_log_are_found_without_reading_it_whole(tmp_path: Path) -> None:
    log, older = tmp_path / "out.log", tmp_path / "out.log.1"
    older.write_text("a\nbb\n")
    log.write_text("ccc\ndddd\n")
    both = [(str(older), 0, 5), (str(log), 0, 9)]
    assert logfiles.pieces(str(log), -1) == both
    assert logfiles.pieces(str(log), 4) == both
    assert logfiles.pieces(str(log), 3) == [(str(older), 2, 5), (str(log), 0, 9)]
    assert logfiles.pieces(str(log), 1) == [(str(log), 4, 9)]
    assert logfiles.pieces(str(log), 0) == [(str(log), 9, 9)]
    os.utime(older, (1, 1))
    assert logfiles.pieces(str(log), -1, 5.0) == [(str(older), 5, 5), (str(log), 0, 9)]
    assert logfiles.pieces(str(tmp_path / "none"), 5) == []


def test_tails_of_long_and_odd_logs(tmp_path: Path) -> None:
    log = tmp_path / "out.log"
    log.write_bytes(b"".join(b"%07d\n" % i for i in range(50_000)) + b"\xff no end")
    assert logfiles.tail(str(log), 2) == ["0049999", "\ufffd no end"]
    assert logfiles.tail(str(log), 20_000)[0] == "0030001"
    assert logfiles.last_line(str(tmp_path / "none"), str(log)) == "\ufffd no end"
    assert logfiles.last_line(str(tmp_path / "none")) == ""


def test_cgroup_directories() -> None:
    version_1 = "9:name=systemd:/s\n4:memory:/m/x\n2:cpu,cpuacct:/\n0::/u\n"
    own = cgroups.own_cgroups(version_1, "/cg")
    assert (own["memory"], own["cpu"], own["cpuacct"], own[""]) == (
        "/cg/memory/m/x", "/cg/cpu,cpuacct", "/cg/cpu,cpuacct", "/cg/u",
    )  # fmt: skip
    assert cgroups.own_cgroups("0::/system.slice/a.service\n", "/cg") == {"": "/cg/system.slice/a.service"}


def test_cgroups_of_version_2_where_they_may_be_made(tmp_path: Path) -> None:
    # The kernel makes these files with the directory; here they must be there beforehand.
    inner = tmp_path / "web"
    inner.mkdir()
    for name in ("memory.max", "cpu.max", "memory.swap.max", "cgroup.procs", "memory.events"):
        (inner / name).write_text("oom 1\noom_kill 2\n" if name == "memory.events" else "")
    limits = cgroups.make({"": f"{tmp_path}/agent"}, "web", 2**20, 0.25)
    assert (limits.memory, limits.cpu) == (True, True)
    assert (inner / "memory.max").read_text() == str(2**20)
    assert (inner / "cpu.max").read_text() == "25000 100000"
    assert limits.joins == (str(inner / "cgroup.procs"),)
    assert cgroups.oom_kills(limits) == 2
    cgroups.make({"": str(tmp_path)}, "web", 0, 0)
    assert (inner / "cpu.max").read_text().startswith("max 100000")
    # What is no cgroup is not taken for one.
    (tmp_path / "plain").mkdir()
    assert cgroups.make({"": str(tmp_path / "plain")}, "web", 1, 1) == cgroups.Limits()
    assert list((tmp_path / "plain" / "web").iterdir()) == []


def test_processes_are_known_by_their_start() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env={"A67_CLOUD": "x"})
    try:
        found = proctable.look(child.pid)
        assert found is not None
        assert proctable.is_alive(child.pid, found.start)
        assert not proctable.is_alive(child.pid, found.start + 1)
        # Between fork and exec it still has the environment of this process.
        wait_for("its own environment", lambda: proctable.stamp(child.pid).get("A67_CLOUD") == "x")
    finally:
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        # It waits to be reaped: it does not run any more.
        assert proctable.look(child.pid) is None
        child.communicate()
    assert proctable.stamp(child.pid) == {}


def test_removing_a_tree_follows_no_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "link").symlink_to(outside)
    (tree / "a" / "b" / "file").write_text("x")
    remove_tree(str(tree))
    assert not tree.exists()
    assert (outside / "kept").exists()
    remove_tree(str(tree))


@pytest.mark.parametrize("around", [0, 1, 65_520, 65_536, 131_060])
def test_the_stamp_is_found_wherever_it_is_in_a_large_environment(around: int) -> None:
    padding = {f"V{n}": "x" * min(60_000, around - n * 60_000) for n in range(around // 60_000 + 1)}
    stamp = {"A67_CLOUD": "x", "A67_INSTANCE": "i" * 100, "NOT_A67_X": "no"}
    child = subprocess.Popen(["sleep", "60"], env={**padding, **stamp, **{f"W{n}": v for n, v in padding.items()}})
    try:
        # The kernel shows the environment a moment after the program was begun.
        found = wait_for("the environment to show", lambda: proctable.stamp(child.pid))
        assert found == {"A67_CLOUD": "x", "A67_INSTANCE": "i" * 100}
    finally:
        child.kill()
        child.wait()
