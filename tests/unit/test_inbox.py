"""The inbox: complete files under safe names, no delivery twice, none lost, a wake-up that is only a hint."""

from __future__ import annotations

import asyncio
import os
import select
import threading
import time
from pathlib import Path

import pytest

from automator67.engine.inbox import Delivery, Inbox, InboxRefused, Waker, delivery_key


def put(inbox: Inbox, delivery_id: str, at: float = 1.0) -> bool:
    return inbox.put(delivery_id, "github", "push", "ana/cloud", "refs/heads/main", at)


def files(directory: Path) -> list[str]:
    return sorted(p.name for p in directory.iterdir())


def test_a_delivery_arrives_whole_and_is_removed_only_when_done(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox")
    assert put(inbox, "one", 2.5)
    (taken,) = inbox.take()
    assert taken == Delivery(
        delivery_key("github", "one"), "one", "github", "push", "ana/cloud", "refs/heads/main", 2.5
    )
    assert inbox.take() == [taken]
    inbox.done(taken)
    inbox.done(taken)
    assert inbox.take() == []
    assert files(tmp_path / "inbox") == []


def test_the_same_delivery_is_kept_once_and_the_same_id_of_another_forge_is_another(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox")
    assert put(inbox, "one")
    assert not put(inbox, "one")
    assert inbox.put("one", "gitlab", "push", "ana/cloud", "refs/heads/main", 1.0)
    assert len(inbox.take()) == 2


def test_oldest_first(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox")
    for at, name in ((3.0, "c"), (1.0, "a"), (2.0, "b")):
        put(inbox, name, at)
    assert [d.delivery_id for d in inbox.take()] == ["a", "b", "c"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a\0b", "a\nb", "ü" * 5000, "", "\ud800"])
def test_no_name_from_outside_becomes_a_path(tmp_path: Path, name: str) -> None:
    inbox = Inbox(tmp_path / "inbox")
    assert put(inbox, name)
    (only,) = files(tmp_path / "inbox")
    assert len(only) == 64
    assert only.isalnum()
    assert [d.key for d in inbox.take()] == [only]


def test_done_refuses_a_name_that_is_not_one_of_a_delivery(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    with pytest.raises(ValueError, match="not the name of a delivery"):
        Inbox(tmp_path / "inbox").done(Delivery("../precious"))
    assert (tmp_path / "precious").exists()


def test_a_full_inbox_refuses_with_a_reason_but_still_knows_what_it_has(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox", max_files=2)
    put(inbox, "a")
    put(inbox, "b")
    with pytest.raises(InboxRefused, match="2 deliveries wait already"):
        put(inbox, "c")
    assert not put(inbox, "a")
    inbox.done(inbox.take()[0])
    assert put(inbox, "c")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_directory_that_cannot_be_written_refuses(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox")
    (tmp_path / "inbox").chmod(0o500)
    with pytest.raises(InboxRefused, match="cannot be written"):
        put(inbox, "a")


def test_a_directory_that_is_gone_refuses(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox")
    (tmp_path / "inbox").rmdir()
    with pytest.raises(InboxRefused, match="cannot be written"):
        put(inbox, "a")


def test_only_the_owner_reads_it(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox")
    put(inbox, "a")
    assert (tmp_path / "inbox").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "inbox" / files(tmp_path / "inbox")[0]).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"forge": 1}', b"\xff", b"x" * 100_000])
def test_a_file_that_cannot_be_read_still_asks_for_a_look(tmp_path: Path, content: bytes) -> None:
    inbox = Inbox(tmp_path / "inbox")
    name = "f" * 64
    (tmp_path / "inbox" / name).write_bytes(content)
    (tmp_path / "inbox" / "notes.txt").write_text("not ours")
    (taken,) = inbox.take()
    assert taken == Delivery(name)
    inbox.done(taken)
    assert files(tmp_path / "inbox") == ["notes.txt"]


def test_what_a_killed_writer_left_is_cleared_but_not_what_is_being_written(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox")
    for name, age in ((".old", 3600), (".new", 0)):
        path = tmp_path / "inbox" / name
        path.write_text("{}")
        os.utime(path, (time.time() - age, time.time() - age))
    assert inbox.take() == []
    assert files(tmp_path / "inbox") == [".new"]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text('{"delivery_id": "x", "forge": "", "event": "", "repository": "", "ref": "", "received_at": 0}')
    inbox = Inbox(tmp_path / "inbox")
    (tmp_path / "inbox" / ("a" * 64)).symlink_to(secret)
    assert inbox.take() == [Delivery("a" * 64)]


def test_many_writers_of_the_same_deliveries_keep_each_once(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox")
    kept: list[bool] = []

    def write() -> None:
        kept.extend(put(inbox, str(n)) for n in range(20))

    threads = [threading.Thread(target=write) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(kept) == 20
    assert len(inbox.take()) == 20
    assert len(files(tmp_path / "inbox")) == 20


def readable(waker: Waker) -> bool:
    return bool(select.select([waker.fileno()], [], [], 0)[0])


def test_a_delivery_wakes_a_burst_wakes_once_and_a_duplicate_does_not(tmp_path: Path) -> None:
    inbox, waker = Inbox(tmp_path / "inbox"), Waker(tmp_path)
    assert not readable(waker)
    for n in range(50):
        put(inbox, str(n))
    assert readable(waker)
    waker.drain()
    assert not readable(waker)
    put(inbox, "1")
    assert not readable(waker)
    waker.close()
    assert put(inbox, "nobody listens")


def test_an_event_loop_is_called_back(tmp_path: Path) -> None:
    inbox, waker = Inbox(tmp_path / "inbox"), Waker(tmp_path)

    async def wait() -> int:
        woken = asyncio.Event()
        waker.attach(asyncio.get_running_loop(), woken.set)
        await asyncio.get_running_loop().run_in_executor(None, put, inbox, "a")
        await asyncio.wait_for(woken.wait(), 10)
        return len(inbox.take())

    assert asyncio.run(wait()) == 1
    waker.close()


def test_a_new_waker_replaces_a_stale_socket_and_survives_the_end_of_the_old_one(tmp_path: Path) -> None:
    old = Waker(tmp_path)
    new = Waker(tmp_path)
    old.close()
    assert (tmp_path / "wake.sock").exists()
    put(Inbox(tmp_path / "inbox"), "a")
    assert readable(new)
    new.close()
    assert not (tmp_path / "wake.sock").exists()


def test_a_path_too_long_for_a_socket_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="use a shorter path"):
        Waker(tmp_path / ("x" * 120))
