"""The process runtime: processes that outlive the agent and are found again by the next one."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from automator67.agent import box, cgroups, logfiles, metrics, proctable, secret_files
from automator67.agent.cgroups import Limits
from automator67.agent.launching import launch, launch_document
from automator67.agent.model import Seen, Use, Wanted
from automator67.agent.process_files import ProcessError, RunPlan, files_directory, plan_of, prepare, volumes
from automator67.agent.process_record import Record, from_json, from_stamp, to_json
from automator67.agent.state import read_json, write_json
from automator67.agent.trees import remove_tree

Post = Callable[[tuple[Any, ...]], None]

_KILL_TIMEOUT = 10.0
_POLL = 0.05


class Processes:
    """All processes of this node. Its methods are for the main thread; starting and stopping run in threads that
    post ("process", instance id, Record or None, error, verb) for ``started`` or ``stopped``."""

    def __init__(self, state: str, cloud: str, node: str, prefix: str, post: Post) -> None:
        self._state, self._cloud, self._node, self._prefix, self._post = state, cloud, node, prefix, post
        self._records: dict[str, Record] = {}
        self._children: set[int] = set()
        self._boot = proctable.boot_id()
        with open("/proc/self/cgroup") as file:
            self._own_cgroups = cgroups.own_cgroups(file.read())
        self._last_lines: dict[str, str] = {}
        self._volumes: list[tuple[str, int, str]] = []

    def load(self) -> None:
        """Find what runs already: by the written records, then by the stamp in the environment."""
        self.look_at_volumes()
        cgroups.prepare_version_2(self._own_cgroups)
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(f"{self._state}/instances"):
                record = from_json(read_json(f"{self._state}/instances/{name}/process.json"))
                if record is not None and record.id == name:
                    self._records[name] = record
        stamped = proctable.stamped(self._cloud, self._node)
        for pid, env in stamped.items():
            record = self._records.get(env["A67_INSTANCE"])
            found = proctable.look(pid)
            if (
                env.get("A67_PROBE")
                or found is None
                or found.session != pid
                or (record is not None and self._lives(record))
            ):
                continue
            # Started by an agent that was killed before it could write the record.
            self._records[env["A67_INSTANCE"]] = from_stamp(env, found, self._boot)
        for record in list(self._records.values()):
            if not record.ended and not self._lives(record):
                self._set_ended(record, None)

    def start(self, w: Wanted) -> None:
        """Start an instance, or start it again, in a thread."""
        before = self._records.get(w.id)
        taken = frozenset(r.port for r in self._records.values() if r.port and not r.ended)
        threading.Thread(target=self._start, args=(w, before, taken), daemon=True).start()

    def stop(self, instance: str, timeout: float) -> None:
        """End an instance with all it started and remove its files, but not its volumes, in a thread."""
        record = self._records.get(instance)
        threading.Thread(target=self._stop, args=(instance, record, timeout), daemon=True).start()

    def started(self, instance: str, record: Record | None) -> None:
        """Take up what a starting thread posted."""
        if record is not None:
            self._records[instance] = record
            self._children.add(record.pid)
            self.look_at_volumes()
            self._last_lines.pop(instance, None)

    def stopped(self, instance: str) -> None:
        """Take up that a stopping thread is done."""
        self._records.pop(instance, None)
        self._last_lines.pop(instance, None)

    def forget_unstarted(self, wanted: set[str]) -> None:
        """Remove what was fetched for instances that never ran and that nobody wants any more."""
        with contextlib.suppress(OSError):
            for name in set(os.listdir(f"{self._state}/instances")) - wanted - set(self._records):
                threading.Thread(target=_remove_quietly, args=(f"{self._state}/instances/{name}",), daemon=True).start()

    def check(self) -> list[str]:
        """Look which processes have ended since the last look and return their instance ids."""
        ended = []
        for pid in list(self._children):
            done, status = os.waitpid(pid, os.WNOHANG)
            if not done:
                continue
            self._children.discard(pid)
            record = next((r for r in self._records.values() if r.pid == pid and not r.ended), None)
            if record is not None:
                code = os.waitstatus_to_exitcode(status)
                # As a shell and the Docker Engine count: 128 and the signal's number.
                self._set_ended(record, code if code >= 0 else 128 - code)
                ended.append(record.id)
        for record in list(self._records.values()):
            if not record.ended and record.pid not in self._children and not self._lives(record):
                self._set_ended(record, None)
                ended.append(record.id)
        return ended

    def seen(self) -> tuple[Seen, ...]:
        """Return all instances of this runtime."""
        return tuple(self._seen(r) for r in self._records.values())

    def volumes(self) -> list[tuple[str, int, str]]:
        """Return the volumes here as (app, slot, name)."""
        return self._volumes

    def look_at_volumes(self) -> None:
        """Read again which volumes are here: something was done with them."""
        self._volumes = volumes(self._state, self._cloud, self._node)

    def usage(self, meter: metrics.Meter) -> dict[str, Use]:
        """Return by instance what each uses now."""
        found: dict[str, Use] = {}
        sessions: dict[int, str] = {}
        for r in self._records.values():
            if r.ended:
                continue
            use = metrics.cgroup_use(meter, r.id, r.pid) if r.limits.memory else None
            if use is not None:
                found[r.id] = use
            else:
                sessions[r.pid] = r.id
        return found | (metrics.sessions_use(meter, sessions) if sessions else {})

    def logs(self, instance: str) -> tuple[str, str]:
        """Return the paths of an instance's logs (out, err)."""
        return f"{self._state}/instances/{instance}/out.log", f"{self._state}/instances/{instance}/err.log"

    def large_logs(self) -> list[str]:
        """Return the logs that are to be rotated."""
        return [path for instance in self._records for path in self.logs(instance) if logfiles.is_large(path)]

    def probe_document(self, w: Wanted, command: tuple[str, ...]) -> dict[str, Any] | None:
        """Return how to run a probe's command as the process itself runs; None when it does not."""
        record = self._records.get(w.id)
        if record is None or record.ended:
            return None
        plan = plan_of(w, self._state, self._cloud, self._node, self._prefix, record.port)
        plan = plan._replace(env=plan.env | {"A67_PROBE": "1"}, out="/dev/null", err="/dev/null")
        # The values are in the environment of the app itself, and nowhere in this process.
        return launch_document(command, plan, environ_of=record.pid if w.sealed else 0)

    def exec_document(self, w: Wanted, argv: tuple[str, ...]) -> dict[str, Any] | None:
        """Return how to run a person's command as the process itself runs, within its limits; None when it does not."""
        doc, record = self.probe_document(w, argv), self._records.get(w.id)
        return doc | {"cgroups": list(record.limits.joins)} if doc is not None and record is not None else None

    def running(self) -> bool:
        """Whether any process is here to be looked after."""
        return any(not r.ended for r in self._records.values())

    def _lives(self, r: Record) -> bool:
        return r.boot == self._boot and proctable.is_alive(r.pid, r.start)

    def _seen(self, r: Record) -> Seen:
        ports = ((r.inner_port or r.port, f"127.0.0.1:{r.port}"),) if r.port else ()
        return Seen(
            runtime="process", handle=r.id, name=r.id, state="exited" if r.ended else "running", instance=r.id,
            app=r.app, slot=r.slot, rev=r.rev, epoch=r.epoch, ended="self" if r.ended else "", started=r.started,
            exit_code=r.exit_code, oom=r.oom, restarts=r.restarts, last_line=self._last_lines.get(r.id, ""),
            ports=ports, volumes=r.volumes, stop_timeout=r.stop_timeout, pid=r.pid,
        )  # fmt: skip

    def _set_ended(self, record: Record, exit_code: int | None) -> None:
        out, err = self.logs(record.id)
        record = record._replace(ended=True, exit_code=exit_code, oom=cgroups.oom_kills(record.limits) > 0)
        self._records[record.id] = record
        self._last_lines[record.id] = logfiles.last_line(err, out)
        with contextlib.suppress(OSError):
            write_json(self._file(record.id), to_json(record))

    def _file(self, instance: str) -> str:
        return f"{self._state}/instances/{instance}/process.json"

    def _start(self, w: Wanted, before: Record | None, taken: frozenset[int]) -> None:
        record, error = None, ""
        try:
            # What it left behind when it ended must not run beside it, nor what an agent began that was then killed.
            self._end_all(w.id, before, 0.0)
            if before is not None:
                cgroups.remove(before.limits)
            plan = prepare(w, self._state, self._cloud, self._node, self._prefix, before.port if before else 0, taken)
            limits = cgroups.make(self._own_cgroups, f"a67-{self._cloud}-{self._node}-{w.id}", w.memory, w.cpu)
            record = self._launch(w, plan, limits, before)
            write_json(self._file(w.id), to_json(record))
        except ProcessError as e:
            error = str(e)
        except (OSError, ValueError) as e:
            # The process runs; only its record could not be written. The stamp finds it again.
            error = "" if record is not None else f"it could not be started: {e}"
        self._post(("process", w.id, record, error, "start"))

    def _launch(self, w: Wanted, plan: RunPlan, limits: Limits, before: Record | None) -> Record:
        # A limit on data, not on the address space: many runtimes reserve far more of that than they ever use.
        data_limit = 0 if limits.memory else w.memory
        try:
            pid = launch(launch_document(w.command, plan, limits.joins, data_limit), self._sealed(w))
        except (ProcessError, OSError):
            cgroups.remove(limits)
            raise
        found = proctable.look(pid)
        start = found.start if found else 0
        return Record(
            w.id, w.app, w.slot, w.rev, w.epoch, pid, start, self._boot,
            port=plan.port, inner_port=w.port or 0, started=time.time(),
            restarts=before.restarts + 1 if before else 0, volumes=plan.volumes,
            stop_timeout=w.stop_timeout, limits=limits,
        )  # fmt: skip

    def _sealed(self, w: Wanted) -> dict[str, Any] | None:
        request = box.request(w, self._state, self._cloud, self._node)
        if request is None:
            return None
        where = files_directory(self._cloud, self._node, w) if w.sealed and w.sealed.files else ""
        return {"request": request, "directory": where}

    def _stop(self, instance: str, record: Record | None, timeout: float) -> None:
        error = ""
        try:
            self._end_all(instance, record, timeout)
            if record is not None:
                cgroups.remove(record.limits)
            secret_files.forget(self._cloud, self._node, instance)
            remove_tree(f"{self._state}/instances/{instance}")
        except ProcessError as e:
            error = str(e)
        except OSError as e:
            error = f"it could not be removed: {e.strerror}: {e.filename or ''}"
        self._post(("process", instance, None, error, "stop"))

    def _end_all(self, instance: str, record: Record | None, timeout: float) -> None:
        """Ask the process and all it started to end; kill what is left after ``timeout`` seconds."""
        members = self._members(instance, record)
        if timeout > 0:
            _signal(members, signal.SIGTERM)
            deadline = time.monotonic() + timeout
            while members and time.monotonic() < deadline:
                time.sleep(_POLL)
                members = self._members(instance, record, members)
        deadline = time.monotonic() + _KILL_TIMEOUT
        while members:
            if time.monotonic() > deadline:
                raise ProcessError(f"process {min(members)} cannot be killed")
            _signal(members, signal.SIGKILL)
            time.sleep(_POLL)
            members = self._members(instance, record)

    def _members(self, instance: str, record: Record | None, among: Iterable[int] = ()) -> set[int]:
        """Return the live processes of an instance: its session, and whatever carries its stamp."""
        if among:
            return {pid for pid in among if proctable.look(pid) is not None}
        stamped = proctable.stamped(self._cloud, self._node)
        found = {pid for pid, env in stamped.items() if env["A67_INSTANCE"] == instance}
        if record is not None and self._lives(record):
            for name in os.listdir("/proc"):
                process = proctable.look(int(name)) if name.isdigit() else None
                if process is not None and process.session == record.pid:
                    found.add(process.pid)
        return found


def _remove_quietly(path: str) -> None:
    with contextlib.suppress(OSError):
        remove_tree(path)


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
