"""Rules within buckets/NAME.yaml: providers that exist, enough of them, a quota that holds the replicas. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from automator67.schemas.findings import Finding
from automator67.schemas.near import near
from automator67.schemas.units import human_bytes, size_bytes

STORAGE_KINDS = frozenset({"agent", "s3", "r2", "b2", "webdav", "sftp", "gdrive", "local", "supabase"})
MIN_CHUNK, MAX_CHUNK = 64 * 1024, 512 * 2**20


def bucket_findings(value: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Yield what is wrong in one buckets file."""
    entries = [e if isinstance(e, Mapping) else {"node": e} for e in value["providers"]]
    names = [e["node"] for e in entries]
    for n, name in enumerate(names):
        node = nodes.get(name)
        if node is None:
            hint = near(name, nodes, f"declare it in nodes/{name}.yaml")
            yield Finding("unknown-provider", ("providers", n), f"there is no node {name}", hint)
        elif node.get("kind", "agent") not in STORAGE_KINDS:
            yield Finding("wrong-provider", ("providers", n), f"node {name} of kind {node.get('kind')} stores no files")
        if name in names[:n]:
            yield Finding("duplicate", ("providers", n), f"{name} is here twice")
    need = _parts(value)
    if len(set(names)) < need:
        what = f"code {value['code']}" if "code" in value else f"{need} replicas"
        text = f"{what} need {need} providers, {len(set(names))} given"
        key = "code" if "code" in value else "replicas" if "replicas" in value else "providers"
        yield Finding("replicas", (key,), text, "add providers or ask for less")
    chunk = size_bytes(value.get("chunk", "5MB"))
    if not MIN_CHUNK <= chunk <= MAX_CHUNK:
        text = f"a chunk has {human_bytes(MIN_CHUNK)} to {human_bytes(MAX_CHUNK)}, not {human_bytes(chunk)}"
        yield Finding("out-of-range", ("chunk",), text, "write for example 5MB")
    yield from _quota(value, entries, nodes)


def _parts(value: Mapping[str, Any]) -> int:
    if "code" in value:
        data, parity = value["code"].split("+")
        return int(data) + int(parity)
    return int(value.get("replicas", 2))


def _quota(
    value: Mapping[str, Any], entries: list[Mapping[str, Any]], nodes: Mapping[str, Mapping[str, Any]]
) -> Iterator[Finding]:
    """The bucket's quota, times its replicas, must fit into what its providers allow, where all say so."""
    if "quota" not in value:
        return
    limits = []
    for e in entries:
        limit = e.get("quota") or nodes.get(e["node"], {}).get("quota", {}).get("storage")
        if limit is None:
            return
        limits.append(size_bytes(limit))
    factor = 1.0
    if "code" in value:
        data, parity = (int(part) for part in value["code"].split("+"))
        factor = (data + parity) / data if data else 1.0
    else:
        factor = float(value.get("replicas", 2))
    need = size_bytes(value["quota"]) * factor
    if need > sum(limits):
        text = f"the quota with its replicas takes {human_bytes(need)}; the providers allow {human_bytes(sum(limits))}"
        yield Finding("quota", ("quota",), text, "lower it, or add a provider")
