"""``automator67 bucket`` and ``automator67 s3`` as programs, with a config repository whose secrets are sealed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
import yaml
from botocore.config import Config

from automator67.engine.secrets.keys import Keyring
from automator67.engine.secrets.sealing import seal
from tests.support.buckets import KEY
from tests.support.cloud import free_port, wait_for

BIG = os.urandom(3_000_000)
SECRETS = {"photos-key": KEY, "phone": b"a secret key of the phone"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A config repository with a bucket on two directories, and files to copy."""
    for folder in ("buckets", "nodes", "secrets", "disk1", "disk2", "from/sub"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "automator67.yaml").write_text("name: home\n")
    key = Keyring(tmp_path / "state" / "secrets").ensure().public
    for name, value in SECRETS.items():
        (tmp_path / "secrets" / f"{name}.sealed").write_text(seal(key, "home", name, value))
    for n in (1, 2):
        node = {"kind": "local", "bucket": str(tmp_path / f"disk{n}")}
        (tmp_path / "nodes" / f"disk{n}.yaml").write_text(yaml.safe_dump(node))
    bucket = {
        "providers": ["disk1", "disk2"], "key": {"secret": "photos-key"}, "chunk": "256Ki", "quota": "100MB",
        "access": [{"id": "PHONE", "secret": {"secret": "phone"}}],
    }  # fmt: skip
    (tmp_path / "buckets" / "photos.yaml").write_text(yaml.safe_dump(bucket))
    (tmp_path / "from" / "a.txt").write_text("a")
    (tmp_path / "from" / "sub" / "big.bin").write_bytes(BIG)
    return tmp_path


def run(home: Path, *argv: str, code: int = 0, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [
        sys.executable,
        "-m",
        "automator67.engine.cli",
        *argv,
        "--repo",
        str(home),
        "--state",
        str(home / "state"),
    ]
    done = subprocess.run(command, capture_output=True, input=given, cwd=home, timeout=60)
    assert done.returncode == code, done.stderr.decode()
    return done


def names(home: Path, *more: str) -> list[str]:
    listed = json.loads(run(home, "bucket", "ls", "photos", "-r", "--json", *more).stdout)
    return [e["name"] for e in listed]


def test_a_folder_goes_in_and_comes_back_and_nothing_is_copied_twice(home: Path) -> None:
    first = run(home, "bucket", "cp", "-r", "from", "photos:2026")
    assert b"copied 2 files" in first.stderr
    assert names(home) == ["2026/a.txt", "2026/sub/big.bin"]
    assert b"copied 0 files" in (again := run(home, "bucket", "cp", "-r", "from", "photos:2026")).stderr
    assert b"2 were there already" in again.stderr
    run(home, "bucket", "cp", "-r", "photos:2026/", "back")
    assert (home / "back/sub/big.bin").read_bytes() == BIG
    assert (home / "back/a.txt").stat().st_mtime_ns == (home / "from/a.txt").stat().st_mtime_ns
    shown = run(home, "bucket", "ls", "photos:2026/").stdout.decode().splitlines()
    assert [line.split()[-1] for line in shown] == ["2026/a.txt", "2026/sub/"]
    assert run(home, "bucket", "cp", "photos:2026/sub/big.bin", "-").stdout == BIG
    run(home, "bucket", "cp", "-", "photos:typed", given=b"typed")
    assert run(home, "bucket", "cp", "photos:typed", "-").stdout == b"typed"


def test_what_is_deleted_can_be_restored(home: Path) -> None:
    run(home, "bucket", "cp", "-r", "from", "photos:d")
    assert b"would delete d/a.txt" in run(home, "bucket", "rm", "-r", "photos:d/", "--dry-run").stdout
    assert len(names(home)) == 2
    assert b"deleted 2" in run(home, "bucket", "rm", "-r", "photos:d/").stdout
    assert names(home) == []
    assert "d/a.txt" in names(home, "--versions")
    run(home, "bucket", "restore", "photos:d/a.txt")
    assert b"restored d/sub/big.bin" in run(home, "bucket", "restore", "-r", "photos:d").stdout
    assert names(home) == ["d/a.txt", "d/sub/big.bin"]
    assert b"no object d/never" in run(home, "bucket", "cp", "photos:d/never", "-", code=255).stderr


def test_du_counts_and_list_shows_what_is_declared(home: Path) -> None:
    run(home, "bucket", "cp", "-r", "from", "photos:d")
    (held,) = json.loads(run(home, "bucket", "du", "--json").stdout)
    assert (held["files"], held["bytes"], held["quota"]) == (2, len(BIG) + 1, 100_000_000)
    assert set(held["held"]) == {"disk1", "disk2"}
    assert held["held"]["disk1"] > len(BIG)
    (listed,) = json.loads(run(home, "bucket", "list", "--json").stdout)
    assert listed["providers"] == ["disk1", "disk2"]
    assert b"rclone mount photos:photos/" in run(home, "bucket", "mount-info", "photos").stdout


def test_mistakes_are_said_in_one_line(home: Path) -> None:
    assert b"did you mean photos" in run(home, "bucket", "ls", "photo", code=255).stderr
    assert b"copy it with -r" in run(home, "bucket", "cp", "from", "photos:", code=255).stderr
    assert b"one of SOURCE and TARGET" in run(home, "bucket", "cp", "from", "to", code=255).stderr
    assert b"name a file" in run(home, "bucket", "rm", "photos:", code=255).stderr
    (home / "secrets" / "photos-key.sealed").unlink()
    assert b"photos-key" in run(home, "bucket", "ls", "photos", code=255).stderr


def test_names_that_lead_elsewhere_are_not_written(home: Path) -> None:
    for name in ("x/../../evil", "x/good", "x//empty"):
        run(home, "bucket", "cp", "-", f"photos:{name}", given=b"data")
    failed = run(home, "bucket", "cp", "-r", "photos:x/", "out", code=255)
    assert b"cannot be names of files" in failed.stderr
    assert [f.name for f in (home / "out").rglob("*") if f.is_file()] == ["good"]
    assert not (home / "evil").exists()


def test_a_large_file_whose_upload_was_killed_goes_on(home: Path) -> None:
    with (home / "large").open("wb") as file:
        for _ in range(20):
            file.write(os.urandom(10_000_000))
    document = yaml.safe_load((home / "buckets" / "photos.yaml").read_text())
    (home / "buckets" / "photos.yaml").write_text(yaml.safe_dump({**document, "chunk": "4Mi", "quota": "1GB"}))
    argv = [sys.executable, "-m", "automator67.engine.cli", "bucket", "cp", "large", "photos:large"]
    argv += ["--repo", str(home), "--state", str(home / "state")]
    first = subprocess.Popen(argv, cwd=home, stderr=subprocess.DEVNULL)

    def begun() -> bool:
        return sum(f.stat().st_size for f in (home / "disk1").rglob("*") if f.is_file()) > 75_000_000

    wait_for("the first part", lambda: begun() or first.poll() is not None)
    first.send_signal(signal.SIGKILL)
    first.wait()
    if names(home):
        pytest.skip("it was quicker than the test")
    again = run(home, "bucket", "cp", "large", "photos:large")
    assert b"copied 1 file, 190.7Mi" not in again.stderr
    assert names(home) == ["large"]
    run(home, "bucket", "cp", "photos:large", "back")
    assert (home / "back").read_bytes() == (home / "large").read_bytes()


def test_the_endpoint_serves_the_bucket_while_commands_use_it(home: Path) -> None:
    port = free_port()
    argv = [sys.executable, "-m", "automator67.engine.cli", "s3", "--repo", str(home), "--state", str(home / "state")]
    with (home / "log").open("wb") as log:
        endpoint = subprocess.Popen([*argv, "--listen", f"127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        wait_for("it", lambda: "serving photos" in (home / "log").read_text() or endpoint.poll() is not None)
        s3 = boto3.client(
            "s3", endpoint_url=f"http://127.0.0.1:{port}", aws_access_key_id="PHONE", region_name="us-east-1",
            aws_secret_access_key=SECRETS["phone"].decode(), config=Config(signature_version="s3v4"),
        )  # fmt: skip
        s3.put_object(Bucket="photos", Key="by-s3", Body=b"1")
        run(home, "bucket", "cp", "from/a.txt", "photos:by-command")
        assert {c["Key"] for c in s3.list_objects_v2(Bucket="photos")["Contents"]} == {"by-s3", "by-command"}
        assert names(home) == ["by-command", "by-s3"]
        endpoint.terminate()
        assert endpoint.wait(20) == 0
        assert b"a secret key" not in (home / "log").read_bytes()
    finally:
        if endpoint.poll() is None:
            endpoint.kill()
            endpoint.wait()


def test_the_endpoint_says_why_it_does_not_start(home: Path) -> None:
    def said(*more: str) -> bytes:
        return run(home, "s3", "--listen", *more, code=255).stderr

    assert b"--certificate" in said("0.0.0.0:9067")
    assert b"HOST:PORT" in said("9067")
    document = yaml.safe_load((home / "buckets" / "photos.yaml").read_text())
    del document["access"]
    (home / "buckets" / "photos.yaml").write_text(yaml.safe_dump(document))
    assert b"no bucket has an access key" in said("127.0.0.1:0")


def test_commands_find_mend_and_bring_back_what_was_lost(home: Path) -> None:
    run(home, "bucket", "cp", "-r", "from", "photos:d")
    chunk = next(f for f in (home / "disk1").rglob("*") if f.is_file() and "chunks" in f.parts)
    chunk.write_bytes(b"rotten")
    assert b"1 bad or missing" in run(home, "bucket", "verify", "photos", code=1).stdout
    assert b"1 copies would be written" in run(home, "bucket", "repair", "photos", "--dry-run").stdout
    assert b"1 copies written" in run(home, "bucket", "repair", "photos").stdout
    assert json.loads(run(home, "bucket", "verify", "photos", "--json").stdout)["bad"] == 0
    assert b"0 removed" in run(home, "bucket", "collect", "photos").stdout
    shutil.rmtree(home / "state" / "buckets")
    assert b"automator67 bucket rebuild photos" in run(home, "bucket", "ls", "photos", code=255).stderr
    assert b"2 files from" in run(home, "bucket", "rebuild", "photos").stdout
    run(home, "bucket", "cp", "-r", "photos:d/", "back")
    assert (home / "back/sub/big.bin").read_bytes() == BIG
    assert b"there are metadata" in run(home, "bucket", "rebuild", "photos", code=255).stderr
