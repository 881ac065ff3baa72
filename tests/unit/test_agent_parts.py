"""The agent's small pure parts: retries, images, log lines, metrics, addresses, command line, unit."""

from __future__ import annotations

import configparser
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automator67.agent import logs_task
from automator67.agent.images import Image, full_name, images_to_remove
from automator67.agent.joining import JoinError, parse_token
from automator67.agent.link import Place, place_of
from automator67.agent.logs_task import FrameReader, Line, LogsTask, task_of
from automator67.agent.metrics import Meter, cgroup_of
from automator67.agent.offer import offered
from automator67.agent.options import UsageError, parse
from automator67.agent.retry import after_failure, chance, longest_reconnect, reconnect_delay, request_delay
from automator67.agent.unit import unit

DAY = 86400.0


def test_delays() -> None:
    assert [reconnect_delay(n, 0.999999) for n in range(1, 8)] == pytest.approx([0.5, 1, 2, 4, 8, 15, 15], rel=1e-4)
    assert reconnect_delay(10**6, 0.0) == 0.0
    assert [longest_reconnect(h) for h in (0.5, 5.0, 30.0, 300.0)] == [0.5, 2.5, 15.0, 15.0]
    assert reconnect_delay(9, 0.5, 2.0) == 1.0
    assert [request_delay(n, 5.0, 60.0, 0.0) for n in range(1, 6)] == [2.5, 5, 10, 20, 30]
    assert request_delay(10**6, 5.0, 60.0, 0.999999) == pytest.approx(60.0)
    retry, waits = None, []
    for _ in range(8):
        retry = after_failure(retry, "x", 100.0, 0.0)
        waits.append(retry.not_before - 100.0)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert after_failure(None, "x", 0.0, 1.0).not_before == 1.25
    assert all(0 <= chance() < 1 for _ in range(100))


def test_images_that_may_go() -> None:
    now = 100 * DAY
    images = [
        Image("i1", ("web:1",), 0.0), Image("i2", ("web:2",), 0.0), Image("i3", ("web:3",), 0.0),
        Image("i4", ("theirs:1",), 0.0), Image("i5", (), 0.0), Image("i6", (), now - 60), Image("i7", (), 0.0),
        Image("i8", ("job:1", "their-name-for:it"), 0.0), Image("i9", ("job:2",), now - 60),
    ]  # fmt: skip
    ours = {
        "web:1": ("web", now - 9 * DAY), "web:2": ("web", now - 5 * DAY), "web:3": ("web", now),
        "job:1": ("job", now - 9 * DAY), "job:2": ("job", now - 8 * DAY), "job:3": ("job", now - 7 * DAY),
        "job:4": ("job", now - 6 * DAY),
    }  # fmt: skip
    # web:1 is the third last; i5 dangles; of i8 only our name goes; i9 was only just brought here; i7 is in use.
    assert images_to_remove(images, ["i7"], ours, now) == ["web:1", "i5", "job:1"]
    assert images_to_remove(images, ["i1", "i5", "i7", "i8"], ours, now) == []
    recent = ours | {"web:1": ("other", now - 60)}
    assert "web:1" not in images_to_remove(images, [], recent, now)


def test_full_names() -> None:
    assert full_name("busybox") == "busybox:latest"
    assert full_name("docker.io/library/busybox:1") == "busybox:1"
    assert full_name("r:5000/a/b") == "r:5000/a/b:latest"
    assert full_name("a@sha256:0") == "a@sha256:0"


@given(
    st.lists(st.tuples(st.sampled_from((1, 2)), st.text(alphabet="ab", max_size=8), st.booleans()), max_size=12),
    st.lists(st.integers(1, 25), max_size=40),
)
def test_log_frames_however_they_are_cut(parts: list[tuple[int, str, bool]], cuts: list[int]) -> None:
    wire, expected = b"", {"out": "", "err": ""}
    for stream, text, ends in parts:
        data = (f"2026-01-01T00:00:01Z {text}" + ("\n" if ends else "")).encode()
        wire += bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data
        expected["out" if stream == 1 else "err"] += data.decode()
    reader, at, lines = FrameReader(), 0, []
    for cut in [*cuts, len(wire)]:
        lines += reader.feed(wire[at : at + cut])
        at += cut
    lines += reader.end()
    for name, text in expected.items():
        wanted = [line.partition(" ")[2] for line in text.split("\n") if line]
        assert [x.text for x in lines if x.stream == name] == wanted
    assert all(x.at == 1767225601.0 for x in lines)


def test_a_log_of_a_terminal_has_no_frames() -> None:
    reader = FrameReader()
    assert reader.feed(b"2026-01-01T00:00:01Z hello\r\n2026") == [Line(1767225601.0, "out", "hello")]


def test_tasks_that_are_understood() -> None:
    doc = {"id": "t1", "kind": "logs", "instance": "web-0-r", "tail": 5, "follow": True, "since": 7}
    assert task_of(doc) == LogsTask("t1", "web-0-r", 5, True, 7.0)
    assert task_of({"id": "t1", "kind": "logs", "instance": "x"}) == LogsTask("t1", "x", 100, False, 0.0)
    for bad in (None, {}, doc | {"kind": "exec"}, doc | {"id": "../x"}, doc | {"id": ""}, doc | {"instance": 5}):
        assert task_of(bad) is None
    assert task_of(doc | {"tail": -1}) == LogsTask("t1", "web-0-r", logs_task.ALL, True, 7.0)
    with pytest.raises(logs_task.CannotTell, match="gone"):
        next(logs_task.refuses("gone"))


def test_rates() -> None:
    meter = Meter()
    assert meter.rate("a", 10.0, 100.0) == 0.0
    assert meter.rate("a", 10.5, 100.5) == 0.0
    assert meter.rate("a", 11.0, 102.0) == 0.5
    assert meter.rate("a", 99.0, 102.1) == 0.5
    # A counter that begins anew is a container that was started again.
    assert meter.rate("a", 0.0, 104.0) == 0.0
    meter.forget([])
    assert meter.rate("a", 50.0, 105.0) == 0.0


def test_where_figures_are_found() -> None:
    version_1 = "4:memory:/docker/c1\n2:cpu,cpuacct:/docker/c1\n0::/docker/c1\n"
    assert cgroup_of(version_1) == ("/sys/fs/cgroup/memory/docker/c1", "/sys/fs/cgroup/cpu,cpuacct/docker/c1", False)
    version_2 = "0::/system.slice/docker-c1.scope\n"
    directory = "/sys/fs/cgroup/system.slice/docker-c1.scope"
    assert cgroup_of(version_2) == (directory, directory, True)


def test_addresses_of_engines() -> None:
    assert place_of("https://cloud.example.org:6767/") == Place("cloud.example.org", 6767)
    assert place_of("https://[::1]:6767") == Place("::1", 6767)
    for bad in (
        "cloud:6767",
        "http://cloud:6767",
        "https://cloud",
        "https://:1",
        "https://a/b:1",
        "https://c:70000",
        "https://ü:1",
    ):
        with pytest.raises(ValueError, match=r"https://|xn--"):
            place_of(bad)


def test_tokens() -> None:
    token = parse_token(f" a67.{'0' * 32}.id.secret\n")
    assert (token.fingerprint, token.credential) == ("0" * 32, "id.secret")
    for bad in ("", "a67.0.id.secret", f"a68.{'0' * 32}.id.secret", f"a67.{'0' * 32}.idsecret", f"a67.{'G' * 32}.i.s"):
        with pytest.raises(JoinError, match="copy it whole"):
            parse_token(bad)


def test_which_runtimes_are_offered() -> None:
    assert offered("auto", True) == (True, False)
    assert offered("auto", False) == (False, True)
    assert offered("both", False) == (True, True)
    assert offered("docker", False) == (True, False)
    assert offered("process", True) == (False, True)


def test_the_command_line() -> None:
    found = parse(["run", "--state=/x", "--runtime", "both"])
    assert (found.values["--state"], found.values["--runtime"], found.values["--name-prefix"]) == ("/x", "both", "")
    assert parse(["join", "https://e:1", "-", "--run"]).positional == ["https://e:1", "-"]
    for argv, words in (
        (["rnu"], "there is no command 'rnu' (did you mean run?)"),
        (["run", "--sate", "x"], "run has no option --sate (did you mean --state?)"),
        (["run", "--state"], "--state needs a value"),
        (["run", "--runtime", "dokcer"], "--runtime must be one of auto, docker, process, both (did you mean docker?)"),
        (["run", "--volumes"], "run has no option --volumes"),
        (["join", "https://e:1"], "join takes URL and TOKEN; 1 given"),
        (["run", "--name-prefix", "a b"], "--name-prefix may have"),
    ):
        with pytest.raises(UsageError) as e:
            parse(argv)
        assert str(e.value).startswith(words)


def test_commands_that_cannot_work_end_with_words() -> None:
    for argv, code, words in (
        (["run", "--state", "/nonexistent"], 1, "holds no membership: join first"),
        (["purge", "--state", "/nonexistent"], 1, "holds no membership: join first"),
        (["join", "http://x", "a67.x"], 1, "not joined: the token is not complete"),
        (["bogus"], 2, "there is no command 'bogus'"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "automator67.agent", *argv], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == code
        assert words in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("runtime", ["docker", "both"])
def test_the_unit(runtime: str) -> None:
    text = unit("/opt/a b/python", "/var/lib/x%y", runtime, "--name-prefix z")
    parser = configparser.RawConfigParser(strict=False, comment_prefixes=("#",), delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    service = dict(parser["Service"])
    assert service["ExecStart"] == (
        f'"/opt/a b/python" -P -m automator67.agent run --state /var/lib/x%%y --runtime {runtime} --name-prefix z'
    )
    assert (service["Type"], service["Restart"], service["WatchdogSec"]) == ("notify", "always", "25")
    # Apps of the process runtime are children: the service manager must not end them with the agent.
    assert service["KillMode"] == "process"
    assert ("MemoryMax" in service) == (runtime == "docker")
    assert ("Delegate" in service) == (runtime == "both")


def test_the_resident_process_imports_little() -> None:
    program = (
        "import sys; import automator67.agent.resident\n"
        "heavy = {'docker','cryptography','requests','asyncio','logging','dataclasses','inspect','argparse',\n"
        "  'subprocess','tempfile','shutil','http.client','email','datetime','hashlib','random',\n"
        "  'unicodedata','traceback'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_the_agent_starts_fast() -> None:
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "automator67.agent", "--version"], check=True, capture_output=True)
    assert time.monotonic() - began < 5
