"""The agent with the process runtime, against a stand-in of the engine."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.fake_engine import Agent, Doc, FakeEngine, http_probe, process_instance, wait_for

pytestmark = pytest.mark.timeout(120)

SERVER = (
    "import http.server,os,sys\n"
    "class H(http.server.BaseHTTPRequestHandler):\n"
    "    def do_GET(self):\n"
    "        self.send_response(200); self.end_headers(); self.wfile.write(os.environ.get('GREETING','hi').encode())\n"
    "    def log_message(self,*a): pass\n"
    "http.server.HTTPServer(('127.0.0.1',int(os.environ['PORT'])),H).serve_forever()\n"
)
TELL = (
    "import json,os,resource,sys,time\n"
    "print(json.dumps({'env':dict(os.environ),'cwd':os.getcwd(),'uid':os.getuid(),'sid':os.getsid(0)==os.getpid(),\n"
    "  'core':resource.getrlimit(resource.RLIMIT_CORE),'fds':sorted(map(int,os.listdir('/proc/self/fd')))[:-1],\n"
    "  'status':open('/proc/self/status').read(),'argv':sys.argv[1:]}),flush=True)\n"
    "time.sleep(1000)\n"
)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    engine = FakeEngine(tmp_path)
    try:
        yield engine
    finally:
        engine.close()


def server(name: str = "web", **more: Any) -> Doc:
    return process_instance(name, sys.executable, "-c", SERVER, port=8080, **({"health": http_probe()} | more))


def python(name: str, program: str, *arguments: str, **more: Any) -> Doc:
    return process_instance(name, sys.executable, "-c", program, *arguments, **more)


def stamped(engine: FakeEngine, instance: str) -> list[int]:
    """Return the processes that carry an instance's stamp."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            env = (entry / "environ").read_bytes().split(b"\0") if entry.name.isdigit() else []
            zombie = b") Z " in (entry / "stat").read_bytes() if env else True
        except OSError:
            continue
        wanted = {f"A67_CLOUD={engine.cloud}".encode(), f"A67_INSTANCE={instance}".encode()}
        if wanted <= set(env) and not zombie:
            found.append(int(entry.name))
    return found


def told(agent: Agent, instance: str) -> Any:
    """Return what TELL printed."""
    log = agent.state / "instances" / instance / "out.log"
    return json.loads(wait_for("the log", lambda: log.exists() and log.read_text()))


def test_a_process_answers_and_is_reported_healthy(engine: FakeEngine) -> None:
    engine.want("n1", server(env={"GREETING": "hello"}))
    engine.agent("n1").start()
    found = engine.wait_instance("n1", "web-0-aaaa", phase="running", health="healthy")
    assert httpx.get(f"http://{found['address']}/").text == "hello"
    beat = engine.latest("n1")
    assert beat["runtimes"] == {"process": "ok"}


def test_a_process_runs_in_surroundings_of_its_own(engine: FakeEngine) -> None:
    engine.want(
        "n1",
        python("tell", TELL, "a b", "$HOME", env={"K": "v"}, volumes=[{"name": "d", "path": "/var/d"}]),
        process_instance("plain", "cat", "/proc/self/status", restart="no"),
    )
    agent = engine.agent("n1").start(A67_SECRET="2")
    engine.wait_instance("n1", "tell-0-aaaa", phase="running")
    doc = told(agent, "tell-0-aaaa")
    volume = agent.state / "volumes" / f"a67-{engine.cloud}-tell-0-d"
    assert doc["argv"] == ["a b", "$HOME"]
    assert doc["env"] == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": doc["cwd"],
        "K": "v", "A67_VOLUME_D": str(volume), "A67_CLOUD": engine.cloud, "A67_NODE": "n1", "A67_APP": "tell",
        "A67_INSTANCE": "tell-0-aaaa", "A67_SLOT": "0", "A67_REV": "aaaa", "A67_EPOCH": "1", "A67_PORT": "0",
    }  # fmt: skip
    assert doc["cwd"] == str(agent.state / "instances" / "tell-0-aaaa" / "work")
    assert doc["sid"] is True
    assert doc["core"] == [0, 0]
    assert doc["fds"] == [0, 1, 2]
    assert "NoNewPrivs:\t1" in doc["status"]
    engine.wait_instance("n1", "plain-0-aaaa", phase="exited", exit_code=0)
    status = (agent.state / "instances" / "plain-0-aaaa" / "out.log").read_text()
    ignored = int(status.partition("SigIgn:")[2].split()[0], 16)
    # 32 and 33 are the C library's own; it leaves them ignored in whatever it spawns.
    assert ignored & ~(3 << 31) == 0
    assert Path(doc["cwd"], "var", "d").resolve() == volume
    beat = engine.latest("n1")
    assert beat["volumes"] == [{"app": "tell", "slot": 0, "name": "d"}]


@pytest.mark.skipif(os.geteuid() != 0, reason="changing users needs root")
def test_a_process_runs_as_its_user() -> None:
    # Not in pytest's own directory, which only its owner may enter.
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o711)
        engine = FakeEngine(Path(directory))
        try:
            script = "touch mine var/d/mine; id -u; id -G; echo $USER; cat ../../../identity.pem; sleep 1000"
            engine.want(
                "n1",
                process_instance("tell", "sh", "-c", script, user="nobody", volumes=[{"name": "d", "path": "/var/d"}]),
            )
            agent = engine.agent("n1").start()
            engine.wait_instance("n1", "tell-0-aaaa", phase="running")
            home = agent.state / "instances" / "tell-0-aaaa"
            nobody = pwd.getpwnam("nobody")
            expected = f"{nobody.pw_uid}\n{nobody.pw_gid}\nnobody\n"
            wait_for("its words", lambda: (home / "out.log").read_text() == expected)
            wait_for("the refusal", lambda: "Permission denied" in (home / "err.log").read_text())
            volume = agent.state / "volumes" / f"a67-{engine.cloud}-tell-0-d"
            assert (home / "work" / "mine").owner() == (volume / "mine").owner() == "nobody"
        finally:
            engine.close()


def test_what_cannot_be_started_is_said_in_words(engine: FakeEngine) -> None:
    engine.want(
        "n1", process_instance("a", "/no/such/program"), process_instance("b", "true", user="no-such-user"),
        process_instance("c", sys.executable, runtime="docker", image="x:1"),
    )  # fmt: skip
    engine.agent("n1").start()
    found = engine.wait_instance("n1", "a-0-aaaa", phase="failed")
    assert found["detail"] == "the command cannot be started: there is no /no/such/program"
    found = engine.wait_instance("n1", "b-0-aaaa", phase="failed")
    assert found["detail"] == "there is no user no-such-user on this node"
    found = engine.wait_instance("n1", "c-0-aaaa", phase="pending")
    assert found["detail"] == "this node does not offer the docker runtime"


def test_a_crash_is_restarted_with_backoff_and_told(engine: FakeEngine) -> None:
    engine.agent("n1").start()
    wait_for("a heartbeat", lambda: engine.heartbeats)
    engine.want("n1", python("bad", "import sys; print('no such table', file=sys.stderr); sys.exit(3)"))
    began = time.monotonic()
    found = wait_for(
        "two restarts", lambda: (i := engine.instance("n1", "bad-0-aaaa")) and i["restarts"] >= 2 and i, 30
    )
    # Again after 1 s, and then after 2 s.
    assert time.monotonic() - began > 3
    found = engine.wait_instance("n1", "bad-0-aaaa", phase="failed")
    assert found["exit_code"] == 3
    assert found["detail"] == "ended with exit code 3: no such table"


def test_a_job_that_ends_well_is_not_run_again(engine: FakeEngine) -> None:
    engine.want("n1", process_instance("job", "true", restart="on-failure"))
    engine.agent("n1").start()
    found = engine.wait_instance("n1", "job-0-aaaa", phase="exited", exit_code=0)
    assert found["restarts"] == 0


def test_stopping_ends_all_that_a_process_started(engine: FakeEngine) -> None:
    # A child that ignores the signal, and one that has left the session.
    program = (
        "import os,signal,subprocess,sys,time\n"
        "subprocess.Popen([sys.executable,'-c','import signal,time; signal.signal(15,1); time.sleep(1000)'])\n"
        "subprocess.Popen(['sleep','1000'],start_new_session=True)\n"
        "print('ready',flush=True)\n"
        "time.sleep(1000)\n"
    )
    engine.want("n1", python("web", program, stop_timeout=1))
    agent = engine.agent("n1").start()
    engine.wait_instance("n1", "web-0-aaaa", phase="running")
    wait_for("all three", lambda: len(stamped(engine, "web-0-aaaa")) == 3)
    time.sleep(0.3)
    rev = engine.want("n1")
    engine.wait_applied("n1", rev)
    assert stamped(engine, "web-0-aaaa") == []
    assert not (agent.state / "instances" / "web-0-aaaa").exists()


def test_a_new_revision_comes_before_the_old_goes(engine: FakeEngine) -> None:
    engine.want("n1", server())
    agent = engine.agent("n1").start()
    old = engine.wait_instance("n1", "web-0-aaaa", health="healthy")
    rev = engine.want("n1", server(rev="bbbb"))
    engine.wait_applied("n1", rev)
    new = engine.wait_instance("n1", "web-0-bbbb", health="healthy")
    assert new["address"] != old["address"]
    steps = [line.partition(" (")[0] for line in agent.output().splitlines() if line.startswith("web-")]
    assert steps == ["web-0-aaaa: create", "web-0-bbbb: create", "web-0-aaaa: remove"]


def test_processes_outlive_the_agent_and_are_found_again(engine: FakeEngine) -> None:
    engine.want("n1", server())
    agent = engine.agent("n1").start()
    before = engine.wait_instance("n1", "web-0-aaaa", health="healthy")
    (pid,) = stamped(engine, "web-0-aaaa")
    agent.kill()
    assert httpx.get(f"http://{before['address']}/").status_code == 200
    engine.heartbeats.clear()
    agent.start()
    after = engine.wait_instance("n1", "web-0-aaaa", health="healthy")
    assert stamped(engine, "web-0-aaaa") == [pid]
    assert (after["address"], after["restarts"]) == (before["address"], 0)
    # The new agent notices its end though it is no child of it.
    os.kill(pid, signal.SIGKILL)
    engine.wait_instance("n1", "web-0-aaaa", restarts=1, health="healthy")


def test_a_process_is_found_by_its_stamp_where_the_record_is_lost(engine: FakeEngine) -> None:
    engine.want("n1", server())
    agent = engine.agent("n1").start()
    before = engine.wait_instance("n1", "web-0-aaaa", health="healthy")
    (pid,) = stamped(engine, "web-0-aaaa")
    agent.kill()
    (agent.state / "instances" / "web-0-aaaa" / "process.json").unlink()
    engine.heartbeats.clear()
    agent.start()
    after = engine.wait_instance("n1", "web-0-aaaa", health="healthy")
    assert stamped(engine, "web-0-aaaa") == [pid]
    assert after["address"] == before["address"]


@pytest.mark.skipif(not os.access("/sys/fs/cgroup/memory", os.W_OK), reason="needs a writable memory cgroup")
def test_memory_is_limited(engine: FakeEngine) -> None:
    program = "x=[]\nwhile True: x.append(bytearray(2**20))"
    engine.want("n1", python("fat", program, memory=32 * 2**20, restart="no"))
    engine.agent("n1").start()
    found = engine.wait_instance("n1", "fat-0-aaaa", phase="exited", oom=True)
    assert found["exit_code"] == 137
    assert found["detail"] == "killed: out of memory"


@pytest.mark.slow
def test_logs_are_rotated_and_read(engine: FakeEngine) -> None:
    program = (
        "import sys,time\n"
        "for i in range(12): sys.stdout.write('x'*(2**20-1)+'\\n')\n"
        "sys.stdout.flush()\n"
        "i=0\n"
        "while True:\n"
        "    i+=1; print('tick',i,flush=True); print('tock',i,file=sys.stderr,flush=True); time.sleep(0.2)\n"
    )
    engine.want("n1", python("talk", program))
    agent = engine.agent("n1").start()
    engine.wait_instance("n1", "talk-0-aaaa", phase="running")
    log = agent.state / "instances" / "talk-0-aaaa" / "out.log"
    wait_for("the rotation", lambda: Path(f"{log}.1").exists() and log.stat().st_size < 2**20)
    task = engine.ask_logs("n1", "talk-0-aaaa", tail=1, follow=True)
    lines = wait_for("lines", lambda: len(found := engine.lines.get(task, [])) > 8 and found)
    assert {x["s"] for x in lines} == {"out", "err"}
    ticks = [int(x["m"].split()[1]) for x in lines if x["s"] == "out"]
    assert ticks == list(range(ticks[0], ticks[0] + len(ticks)))
    engine.close_task.add(task)
    wait_for("the end of the task", lambda: task in engine.task_ended)


def test_a_command_probe_runs_beside_the_process(engine: FakeEngine) -> None:
    probe = http_probe(interval=0.3, unhealthy_after=1) | {
        "kind": "command", "target": "", "command": [sys.executable, "-c", "import os; os.stat('ok'); os.environ['K']"],
    }  # fmt: skip
    program = "import os,time\nopen('ok','w').close()\ntime.sleep(3)\nos.unlink('ok')\ntime.sleep(1000)"
    engine.want("n1", python("web", program, health=probe, env={"K": "v"}))
    engine.agent("n1").start()
    engine.wait_instance("n1", "web-0-aaaa", health="healthy")
    found = engine.wait_instance("n1", "web-0-aaaa", health="unhealthy")
    assert found["detail"] == f"probe command {sys.executable}: exit code 1"


def test_usage_is_measured(engine: FakeEngine) -> None:
    engine.next_s = 1
    engine.want("n1", python("busy", "x=bytearray(20*2**20)\nwhile True: pass"))
    engine.agent("n1").start()
    found = wait_for("usage", lambda: (i := engine.instance("n1", "busy-0-aaaa")) and i.get("cpu", 0) > 0.2 and i, 30)
    # It may have half a core.
    assert found["cpu"] < 0.8
    assert 20 * 2**20 < found["memory"] < 100 * 2**20
    beat = engine.latest("n1")
    assert 0 < beat["usage"]["memory"] < beat["capacity"]["memory"]
    assert beat["capacity"]["cpu"] == len(os.sched_getaffinity(0))


def test_the_service_manager_is_told(engine: FakeEngine) -> None:
    path = engine.directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(20)
        agent = engine.agent("n1").start(NOTIFY_SOCKET=str(path), WATCHDOG_USEC="400000")
        assert [manager.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]
        assert agent.kill(signal.SIGTERM) == 0
        while (said := manager.recv(100)) == b"WATCHDOG=1":
            continue
        assert said == b"STOPPING=1"
    assert agent.output().endswith("stopped; what runs keeps running\n")


def test_purge_leaves_nothing(engine: FakeEngine) -> None:
    engine.want("n1", server(volumes=[{"name": "d", "path": "/d"}]))
    agent = engine.agent("n1").start()
    engine.wait_instance("n1", "web-0-aaaa", phase="running")
    agent.kill(signal.SIGTERM)
    assert stamped(engine, "web-0-aaaa")
    agent.close()
    assert stamped(engine, "web-0-aaaa") == []
    assert sorted(p.name for p in agent.state.iterdir()) == [
        "agent.json",
        "ca.pem",
        "identity.pem",
        "instances",
        "lock",
    ]
    assert list((agent.state / "instances").iterdir()) == []
