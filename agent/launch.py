"""Becomes a process of the process runtime: reads what to run from standard input, prepares itself, executes it.

Run as a file by a fresh interpreter (``python -I -S launch.py``), not imported: limits, session and user are set in
a process of one thread, and the environment with its secrets is in no command line. On standard output nothing is
written if all is well (the descriptor closes at the exec); else one line saying why not.
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys

_PR_SET_NO_NEW_PRIVS = 38


def main() -> None:
    """Execute what standard input describes; exit 127 when that cannot be done."""
    report = os.dup(1)  # closes on exec
    doc = {"argv": ["?"], "cwd": ""}
    try:
        doc = json.loads(sys.stdin.buffer.read())
        if "error" in doc:
            _fail(report, doc["error"])
        if doc["environ_of"]:
            doc["env"] = _environ(doc["environ_of"]) | doc["env"]
        _prepare(doc)
        _execute(doc["argv"], doc["env"])
    except FileNotFoundError as e:
        where = doc["cwd"] if e.filename == doc["cwd"] else doc["argv"][0]
        _fail(report, f"the command cannot be started: there is no {where}")
    except OSError as e:
        _fail(report, f"the command cannot be started: {e.strerror}: {e.filename or doc['argv'][0]}")
    except (ValueError, KeyError) as e:
        _fail(report, f"the command cannot be started: {e}")


def _environ(pid: int) -> dict[str, str]:
    """Return the environment that a process began with: that of the app, for its probe."""
    with open(f"/proc/{pid}/environ", "rb") as file:
        pairs = (pair.partition(b"=") for pair in file.read().split(b"\0"))
        return {os.fsdecode(key): os.fsdecode(value) for key, found, value in pairs if found}


def _prepare(doc: dict) -> None:  # type: ignore[type-arg]
    os.setsid()
    for path in doc["cgroups"]:
        with open(path, "w") as file:
            file.write(str(os.getpid()))
    # The agent is hard to kill when memory is short; what it runs is not.
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("0")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if doc["data_limit"]:
        resource.setrlimit(resource.RLIMIT_DATA, (doc["data_limit"], doc["data_limit"]))
    source = os.open(doc["in"], os.O_RDONLY)
    out = os.open(doc["out"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    err = os.open(doc["err"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for fd, to in ((source, 0), (out, 1), (err, 2)):
        os.dup2(fd, to)
    os.umask(0o022)
    if doc["user"]:
        os.initgroups(doc["user"]["name"], doc["user"]["gid"])
        os.setgid(doc["user"]["gid"])
        os.setuid(doc["user"]["uid"])
    os.chdir(doc["cwd"])
    ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # What is ignored, by this interpreter or by whoever started the agent, would stay so over the exec.
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError):
            signal.signal(number, signal.SIG_DFL)


def _execute(argv: list[str], env: dict[str, str]) -> None:
    """Execute a command, found by the PATH of its own environment.

    Not by os.execvpe: that imports a module, which the user we are now may not be allowed to read.
    """
    if "/" in argv[0]:
        os.execve(argv[0], argv, env)  # noqa: S606
    for directory in env["PATH"].split(":"):
        try:
            os.execve(f"{directory or '.'}/{argv[0]}", argv, env)  # noqa: S606
        except (FileNotFoundError, NotADirectoryError):
            continue
    raise FileNotFoundError(2, "not found", argv[0])


def _fail(report: int, text: str) -> None:
    os.write(report, text.encode())
    os._exit(127)


if __name__ == "__main__":
    main()
