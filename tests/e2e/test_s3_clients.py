"""Clients of S3, unchanged, against the endpoint over two directories: what they put is what they get."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from tests.support.buckets import blobs
from tests.support.s3_endpoint import ID, INSIDE, READER, SECRET, WRITER, RunningEndpoint, running_endpoint

BIG = os.urandom(9_000_000)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEndpoint]:
    with running_endpoint(tmp_path_factory.mktemp("s3"), versions=True, cors=["https://app.test"]) as running:
        yield running


def client(endpoint: RunningEndpoint, key: str = ID, style: str = "path", secret: str = SECRET) -> Any:
    config = Config(signature_version="s3v4", s3={"addressing_style": style}, retries={"total_max_attempts": 1})
    return boto3.client(
        "s3", endpoint_url=endpoint.url, aws_access_key_id=key, aws_secret_access_key=secret, region_name="us-east-1",
        config=config,
    )  # fmt: skip


def code(work: Any, *args: Any, **named: Any) -> str:
    with pytest.raises(ClientError) as error:
        work(*args, **named)
    return str(error.value.response["Error"]["Code"])


def test_boto3_puts_gets_and_lists_objects_of_any_name(endpoint: RunningEndpoint) -> None:
    s3 = client(endpoint)
    names = ["names/a b+c", "names/ü/%41", "names/..", "names//x", "names/\x01\n", "names/~'()*!"]
    for name in names:
        s3.put_object(Bucket="photos", Key=name, Body=name.encode(), Metadata={"who": "ana"}, Tagging="a=1&b=c%20d")
    for name in names:
        got = s3.get_object(Bucket="photos", Key=name)
        assert (got["Body"].read(), got["Metadata"], got["TagCount"]) == (name.encode(), {"who": "ana"}, 2)
    listed = s3.list_objects_v2(Bucket="photos", Prefix="names/")["Contents"]
    assert [c["Key"] for c in listed] == sorted(names)
    assert s3.get_object_tagging(Bucket="photos", Key=names[0])["TagSet"] == [
        {"Key": "a", "Value": "1"}, {"Key": "b", "Value": "c d"},
    ]  # fmt: skip
    assert [b["Name"] for b in s3.list_buckets()["Buckets"]] == ["photos"]


def test_pages_and_folders_are_those_of_all_names(endpoint: RunningEndpoint) -> None:
    s3 = client(endpoint)
    names = [f"pages/{a}/{b}" for a in "abc" for b in "123"] + ["pages/z"]
    for name in names:
        s3.put_object(Bucket="photos", Key=name, Body=b"")
    for kind in ("list_objects_v2", "list_objects", "list_object_versions"):
        found, prefixes = [], []
        for page in s3.get_paginator(kind).paginate(Bucket="photos", Prefix="pages/", PaginationConfig={"PageSize": 2}):
            found += [c["Key"] for c in page.get("Contents", page.get("Versions", []))]
        assert found == sorted(names), kind
        pages = s3.get_paginator(kind).paginate(
            Bucket="photos", Prefix="pages/", Delimiter="/", PaginationConfig={"PageSize": 1}
        )
        found = []
        for page in pages:
            found += [c["Key"] for c in page.get("Contents", page.get("Versions", []))]
            prefixes += [p["Prefix"] for p in page.get("CommonPrefixes", [])]
        assert (found, prefixes) == (["pages/z"], ["pages/a/", "pages/b/", "pages/c/"]), kind


def test_large_objects_go_up_in_parts_and_come_down_in_ranges(endpoint: RunningEndpoint, tmp_path: Path) -> None:
    s3 = client(endpoint)
    (tmp_path / "big").write_bytes(BIG)
    s3.upload_file(str(tmp_path / "big"), "photos", "big")
    s3.download_file("photos", "big", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == BIG
    assert s3.get_object(Bucket="photos", Key="big", Range="bytes=-5")["Body"].read() == BIG[-5:]
    part = s3.get_object(Bucket="photos", Key="big", Range="bytes=99999-100001")
    assert (part["Body"].read(), part["ContentRange"]) == (BIG[99_999:100_002], f"bytes 99999-100001/{len(BIG)}")
    assert code(s3.get_object, Bucket="photos", Key="big", Range="bytes=9000000-") == "InvalidRange"
    upload = s3.create_multipart_upload(Bucket="photos", Key="parts")["UploadId"]
    named = {"Bucket": "photos", "Key": "parts", "UploadId": upload}
    one = s3.upload_part(**named, PartNumber=1, Body=BIG[:6_000_000])["ETag"]
    two = s3.upload_part_copy(
        **named, PartNumber=7, CopySource={"Bucket": "photos", "Key": "big"}, CopySourceRange="bytes=6000000-8999999"
    )["CopyPartResult"]["ETag"]
    assert [p["PartNumber"] for p in s3.list_parts(**named)["Parts"]] == [1, 7]
    assert [u["Key"] for u in s3.list_multipart_uploads(Bucket="photos")["Uploads"]] == ["parts"]
    wrong = {"Parts": [{"PartNumber": 7, "ETag": two}, {"PartNumber": 1, "ETag": one}]}
    assert code(s3.complete_multipart_upload, **named, MultipartUpload=wrong) == "InvalidPartOrder"
    missing = {"Parts": [{"PartNumber": 1, "ETag": two}]}
    assert code(s3.complete_multipart_upload, **named, MultipartUpload=missing) == "InvalidPart"
    s3.complete_multipart_upload(**named, MultipartUpload={"Parts": wrong["Parts"][::-1]})
    assert s3.get_object(Bucket="photos", Key="parts")["Body"].read() == BIG
    assert code(s3.list_parts, **named) == "NoSuchUpload"
    gone = s3.create_multipart_upload(Bucket="photos", Key="given-up")["UploadId"]
    s3.abort_multipart_upload(Bucket="photos", Key="given-up", UploadId=gone)
    assert code(s3.list_parts, Bucket="photos", Key="given-up", UploadId=gone) == "NoSuchUpload"


def test_conditions_hold_for_reading_and_for_writing(endpoint: RunningEndpoint) -> None:
    s3 = client(endpoint)
    first = s3.put_object(Bucket="photos", Key="cond", Body=b"1", IfNoneMatch="*")["ETag"]
    assert code(s3.put_object, Bucket="photos", Key="cond", Body=b"2", IfNoneMatch="*") == "PreconditionFailed"
    second = s3.put_object(Bucket="photos", Key="cond", Body=b"2", IfMatch=first)["ETag"]
    assert code(s3.put_object, Bucket="photos", Key="cond", Body=b"3", IfMatch=first) == "PreconditionFailed"
    assert code(s3.get_object, Bucket="photos", Key="cond", IfNoneMatch=second) == "304"
    assert code(s3.get_object, Bucket="photos", Key="cond", IfMatch=first) == "PreconditionFailed"
    assert s3.get_object(Bucket="photos", Key="cond", IfMatch=second)["Body"].read() == b"2"


def test_versions_are_kept_and_deletions_are_markers(endpoint: RunningEndpoint) -> None:
    s3 = client(endpoint)
    assert s3.get_bucket_versioning(Bucket="photos")["Status"] == "Enabled"
    old = s3.put_object(Bucket="photos", Key="ver", Body=b"old")["VersionId"]
    s3.put_object(Bucket="photos", Key="ver", Body=b"new")
    marker = s3.delete_object(Bucket="photos", Key="ver")
    assert marker["DeleteMarker"]
    assert code(s3.get_object, Bucket="photos", Key="ver") == "NoSuchKey"
    assert s3.get_object(Bucket="photos", Key="ver", VersionId=old)["Body"].read() == b"old"
    listed = s3.list_object_versions(Bucket="photos", Prefix="ver")
    assert (len(listed["Versions"]), [m["IsLatest"] for m in listed["DeleteMarkers"]]) == (2, [True])
    s3.delete_object(Bucket="photos", Key="ver", VersionId=marker["VersionId"])
    assert s3.get_object(Bucket="photos", Key="ver")["Body"].read() == b"new"
    named = [{"Key": "ver"}, {"Key": "never-there"}]
    assert {d["Key"] for d in s3.delete_objects(Bucket="photos", Delete={"Objects": named})["Deleted"]} == {
        "ver", "never-there",
    }  # fmt: skip


def test_copies_keep_what_was_said_or_take_what_is_said(endpoint: RunningEndpoint) -> None:
    s3 = client(endpoint)
    s3.put_object(Bucket="photos", Key="from", Body=b"x", Metadata={"a": "1"}, ContentType="text/x")
    source = {"Bucket": "photos", "Key": "from"}
    s3.copy_object(Bucket="photos", Key="to", CopySource=source)
    assert (head := s3.head_object(Bucket="photos", Key="to"))["Metadata"] == {"a": "1"}
    assert head["ContentType"] == "text/x"
    s3.copy_object(Bucket="photos", Key="to", CopySource=source, Metadata={"b": "2"}, MetadataDirective="REPLACE")
    assert s3.head_object(Bucket="photos", Key="to")["Metadata"] == {"b": "2"}
    assert code(s3.copy_object, Bucket="photos", Key="from", CopySource=source) == "InvalidRequest"
    assert code(s3.copy_object, Bucket="photos", Key="to", CopySource="photos/none") == "NoSuchKey"


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_checksums_of_clients_are_checked(endpoint: RunningEndpoint, algorithm: str) -> None:
    s3 = client(endpoint)
    put = s3.put_object(Bucket="photos", Key="sum", Body=b"hello", ChecksumAlgorithm=algorithm)
    assert put[f"Checksum{algorithm}"]
    wrong = {f"Checksum{algorithm}": "AAAAAA=="}
    assert code(s3.put_object, Bucket="photos", Key="sum", Body=b"other", **wrong) == "BadDigest"
    assert s3.get_object(Bucket="photos", Key="sum")["Body"].read() == b"hello"


def test_keys_open_what_they_are_for(endpoint: RunningEndpoint) -> None:
    everything = client(endpoint)
    everything.put_object(Bucket="photos", Key="inside/a", Body=b"a")
    everything.put_object(Bucket="photos", Key="outside", Body=b"b")
    reader, writer, inside = (client(endpoint, key) for key in (READER, WRITER, INSIDE))
    assert reader.get_object(Bucket="photos", Key="outside")["Body"].read() == b"b"
    assert code(reader.put_object, Bucket="photos", Key="r", Body=b"") == "AccessDenied"
    assert code(reader.delete_object, Bucket="photos", Key="outside") == "AccessDenied"
    denied = reader.delete_objects(Bucket="photos", Delete={"Objects": [{"Key": "outside"}]})["Errors"]
    assert [e["Code"] for e in denied] == ["AccessDenied"]
    writer.put_object(Bucket="photos", Key="w", Body=b"")
    assert code(writer.get_object, Bucket="photos", Key="outside") == "AccessDenied"
    assert code(writer.list_objects_v2, Bucket="photos") == "AccessDenied"
    assert code(writer.copy_object, Bucket="photos", Key="w", CopySource="photos/outside") == "AccessDenied"
    assert inside.get_object(Bucket="photos", Key="inside/a")["Body"].read() == b"a"
    assert code(inside.get_object, Bucket="photos", Key="outside") == "AccessDenied"
    assert code(inside.list_objects_v2, Bucket="photos") == "AccessDenied"
    assert [c["Key"] for c in inside.list_objects_v2(Bucket="photos", Prefix="inside/")["Contents"]] == ["inside/a"]
    assert code(client(endpoint, "AKNOBODY").list_buckets) == "InvalidAccessKeyId"
    assert code(client(endpoint, ID, "path", "wrong").list_buckets) == "SignatureDoesNotMatch"
    assert code(everything.list_objects_v2, Bucket="others") == "NoSuchBucket"
    assert httpx.get(f"{endpoint.url}/photos/outside").status_code == 403


def test_presigned_urls_work_without_a_client(endpoint: RunningEndpoint) -> None:
    s3 = client(endpoint)
    named = {"Bucket": "photos", "Key": "pre signed"}
    assert httpx.put(s3.generate_presigned_url("put_object", named), content=b"abc").status_code == 200
    url = s3.generate_presigned_url("get_object", {**named, "ResponseContentType": "text/y"})
    got = httpx.get(url, headers={"Origin": "https://app.test"})
    assert (got.content, got.headers["content-type"]) == (b"abc", "text/y")
    assert got.headers["access-control-allow-origin"] == "https://app.test"
    assert httpx.get(url.replace("signed", "signet")).status_code == 403
    asked = {"Origin": "https://app.test", "Access-Control-Request-Method": "PUT"}
    assert httpx.options(f"{endpoint.url}/photos/x", headers=asked).status_code == 200
    assert httpx.options(f"{endpoint.url}/photos/x", headers={**asked, "Origin": "https://evil"}).status_code == 403


def test_what_is_hostile_or_unknown_is_refused_and_changes_nothing(endpoint: RunningEndpoint) -> None:
    s3 = client(endpoint)
    s3.put_object(Bucket="photos", Key="safe", Body=b"safe")
    assert code(s3.put_object_acl, Bucket="photos", Key="safe", ACL="public-read") == "NotImplemented"
    assert code(s3.put_object, Bucket="photos", Key="safe", Body=b"", ACL="public-read") == "NotImplemented"
    assert code(s3.put_bucket_policy, Bucket="photos", Policy="{}") == "AccessDenied"
    assert code(s3.create_bucket, Bucket="another") == "NoSuchBucket"
    assert code(s3.put_object_retention, Bucket="photos", Key="safe", Retention={}) == "NotImplemented"
    assert code(s3.select_object_content, Bucket="photos", Key="safe", Expression="", ExpressionType="SQL",
                InputSerialization={}, OutputSerialization={}) == "NotImplemented"  # fmt: skip
    asked = AWSRequest("POST", f"{endpoint.url}/photos?delete")
    S3SigV4QueryAuth(Credentials(ID, SECRET), "s3", "us-east-1").add_auth(asked)
    url = str(asked.url)
    bomb = '<!DOCTYPE a [<!ENTITY b "bbbb">]><Delete><Object><Key>&b;</Key></Object></Delete>'
    for body in (bomb, "<Delete>", "<Other/>", "<Delete/>", "\x00"):
        assert httpx.post(url, content=body).status_code == 400, body
    assert httpx.post(url, content=b"<Delete>" + b" " * 2**20).status_code == 400
    assert s3.get_object(Bucket="photos", Key="safe")["Body"].read() == b"safe"


def ran(folder: Path, *argv: str) -> str:
    env = {**os.environ, "AWS_ACCESS_KEY_ID": ID, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1",
           "RESTIC_PASSWORD": "restic", "HOME": str(folder)}  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=90, cwd=folder)
    assert done.returncode == 0, done.stderr[-1000:]
    return done.stdout


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    for name, data in {"one": b"1" * 100, "sub/two": BIG, "sub/ü ö": b"", "sub/+ %": b"x"}.items():
        (tmp_path / "tree" / name).write_bytes(data)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def program(name: str) -> str:
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not on this machine")
    return found


def test_aws_cli_syncs_both_ways(endpoint: RunningEndpoint, tree: Path) -> None:
    aws = [program("aws"), "--endpoint-url", endpoint.url, "s3", "sync", "--quiet"]
    ran(tree, *aws, "tree", "s3://photos/aws")
    ran(tree, *aws, "s3://photos/aws", "back")
    assert contents(tree / "back") == contents(tree / "tree")


def test_rclone_copies_checks_and_finds_nothing_to_do_again(endpoint: RunningEndpoint, tree: Path) -> None:
    options = ["--config", "/dev/null", "--s3-provider", "Other", "--s3-endpoint", endpoint.url,
               "--s3-access-key-id", ID, "--s3-secret-access-key", SECRET]  # fmt: skip
    rclone = program("rclone")
    ran(tree, rclone, "copy", "tree", ":s3:photos/rclone", *options)
    before = len(endpoint.run(endpoint.bucket.list("rclone/")).versions)
    ran(tree, rclone, "check", "tree", ":s3:photos/rclone", "--download", *options)
    ran(tree, rclone, "sync", "tree", ":s3:photos/rclone", *options)
    assert before == 4
    assert len(endpoint.run(endpoint.bucket.versions("rclone/"))) == before
    ran(tree, rclone, "copy", ":s3:photos/rclone", "back", *options)
    assert contents(tree / "back") == contents(tree / "tree")


def test_s3cmd_puts_in_parts_and_gets(endpoint: RunningEndpoint, tree: Path) -> None:
    host = endpoint.url.removeprefix("http://")
    s3cmd = [program("s3cmd"), "-c", "/dev/null", "--access_key", ID, "--secret_key", SECRET, "--host", host,
             "--host-bucket", host, "--no-ssl", "--region", "us-east-1", "--quiet"]  # fmt: skip
    (tree / "back").mkdir()
    ran(tree, *s3cmd, "put", "-r", "tree/", "s3://photos/s3cmd/", "--multipart-chunk-size-mb=5")
    ran(tree, *s3cmd, "get", "-r", "s3://photos/s3cmd/", "back/")
    assert contents(tree / "back") == contents(tree / "tree")
    ran(tree, *s3cmd, "del", "-r", "s3://photos/s3cmd/")
    assert not endpoint.run(endpoint.bucket.list("s3cmd/")).versions


def test_restic_keeps_a_repository_in_it(endpoint: RunningEndpoint, tree: Path) -> None:
    restic = [program("restic"), "--no-cache", "-q", "-r", f"s3:{endpoint.url}/photos/restic"]
    ran(tree, *restic, "init")
    ran(tree, *restic, "backup", "tree")
    ran(tree, *restic, "check", "--read-data")
    ran(tree, *restic, "restore", "latest", "--target", "back")
    assert contents(tree / "back" / "tree") == contents(tree / "tree")


def test_a_broken_copy_is_passed_over_and_a_lost_object_is_no_answer(tmp_path: Path) -> None:
    with running_endpoint(tmp_path) as endpoint:
        s3 = client(endpoint, style="path")
        s3.put_object(Bucket="photos", Key="big", Body=BIG)
        for blob in blobs(tmp_path):
            if "p0" in blob.parts:
                blob.write_bytes(b"rotten" * 1000)
        assert s3.get_object(Bucket="photos", Key="big")["Body"].read() == BIG
        for blob in blobs(tmp_path):
            blob.write_bytes(b"rotten" * 1000)
        assert code(s3.get_object, Bucket="photos", Key="big") == "InternalError"
