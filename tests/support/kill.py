"""Ends a piece of work with SIGKILL at each step it takes in the file system, one step later every time."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable

_STEPS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "shutil.rmtree", "tempfile.mkdtemp",
          "os.truncate", "fcntl.flock")  # fmt: skip


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Do ``work`` in a forked process that is killed when it begins its ``step``-th change (from 1) on disk.

    Returns False when the work ended before that, so that a loop over steps knows when it is through. Work that
    fails by itself fails the test.
    """
    child = os.fork()
    if child == 0:
        _work_and_exit(step, work)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, "the work failed by itself; see its output above"
    return False


def _work_and_exit(step: int, work: Callable[[], object]) -> None:
    left = step

    def count(event: str, args: tuple[object, ...]) -> None:
        nonlocal left
        if event in _STEPS and not (event == "open" and _only_reads(args)):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    code = 1
    try:
        sys.addaudithook(count)
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _only_reads(args: tuple[object, ...]) -> bool:
    flags = args[2] if len(args) > 2 else 0
    return isinstance(flags, int) and not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
