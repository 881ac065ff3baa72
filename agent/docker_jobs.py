"""What the worker does with the Docker SDK. Every job may be repeated: it looks before it acts."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import docker
from docker.errors import APIError, ImageNotFound, NotFound
from docker.types import LogConfig, Mount

from automator67.agent import docker_secrets, image_jobs, naming, secret_files
from automator67.agent.docker_read import epoch_seconds
from automator67.agent.images import Image, images_to_remove

Progress = Callable[[str], None]

_SILENT_NETWORK = re.compile(
    r"dial tcp|no such host|connection refused|i/o timeout|Client\.Timeout|handshake timeout|network is unreachable"
    r"|request canceled|: EOF$",
    re.IGNORECASE,
)
_NOT_THERE = re.compile(r"access denied|not found|manifest unknown|does not exist|unauthorized", re.IGNORECASE)
_local = threading.local()


class JobError(Exception):
    """A job failed; the text is for a person."""


def do(job: str, args: Mapping[str, Any], socket: str, progress: Progress) -> Any:
    """Do one job and return its result. Raises JobError or what the SDK raises."""
    try:
        return _JOBS[job](_client(socket), {**args, "socket": socket}, progress)
    except APIError as e:
        raise JobError(_words(e)) from None


def _client(socket: str) -> docker.APIClient:
    # Sessions of the SDK are not made for several threads.
    client = getattr(_local, "client", None)
    if client is None:
        client = _local.client = docker.APIClient(base_url=f"unix://{socket}", version="auto", timeout=30)
    return client


def _create(client: docker.APIClient, args: Mapping[str, Any], progress: Progress) -> str:
    """Make and start a container and return its id; what is already there is used."""
    contents = docker_secrets.opened(args["secrets"])
    _need_image(client, args, contents.login, progress)
    for volume in args["volumes"]:
        _need_volume(client, volume)
    files = docker_secrets.place_files(args["secrets"], contents)
    host = client.create_host_config(
        init=True,
        mem_limit=args["memory"] or None,
        # The same as the memory: no swap on top of the limit.
        memswap_limit=args["memory"] or None,
        nano_cpus=int(args["cpu"] * 1e9) or None,
        port_bindings=dict.fromkeys(args["ports"], ("127.0.0.1", None)),
        mounts=[
            *(Mount(target=v["path"], source=v["name"], type="volume") for v in args["volumes"]),
            *(Mount(m["path"], m["host"], type="bind", read_only=m["read_only"]) for m in args["mounts"]),
            *files,
        ],
        restart_policy={"Name": args["restart"]},
        log_config=LogConfig(type="json-file", config={"max-size": "10m", "max-file": "3"}),
        security_opt=["no-new-privileges:true"],
        privileged=args["privileged"],
        network_mode=args["network"],
        cap_add=args["cap_add"] or None,
        cap_drop=args["cap_drop"] or None,
        devices=args["devices"] or None,
        pids_limit=args["pids"],
    )
    try:
        container = client.create_container(
            image=args["image"],
            command=args["command"] or None,
            environment=args["env"] | contents.env,
            labels=args["labels"],
            name=args["name"],
            ports=list(args["ports"]),
            host_config=host,
            stop_timeout=args["stop_timeout"],
            user=args["user"],
        )["Id"]
    except APIError as e:
        if e.status_code != 409:
            raise
        container = _existing(client, args)
    docker_secrets.hand_over(client, container, args["secrets"], contents)
    _begin(client, container)
    return str(container)


def _existing(client: docker.APIClient, args: Mapping[str, Any]) -> str:
    """Return the container that has the name already, if it is the very instance."""
    doc = client.inspect_container(args["name"])
    labels = doc["Config"].get("Labels") or {}
    same = (naming.CLOUD, naming.NODE, naming.INSTANCE, naming.REV, naming.EPOCH)
    if any(labels.get(key) != args["labels"][key] for key in same):
        raise JobError(f"the name {args['name']} is taken by another container; remove or rename that one")
    return str(doc["Id"])


def _need_image(
    client: docker.APIClient, args: Mapping[str, Any], login: tuple[str, str] | None, progress: Progress
) -> None:
    image = args["image"]
    try:
        client.inspect_image(image)  # type: ignore[no-untyped-call]
        return
    except ImageNotFound:
        pass
    if image.startswith(naming.BUILT):
        image_jobs.fetch(client, args["socket"], args["state"], image, progress)
        return
    progress(f"pulling {image}")
    try:
        _pull(client, image, login, progress)
    except (APIError, JobError) as e:
        raise JobError(pull_problem(image, str(getattr(e, "explanation", None) or e))) from None


def _pull(client: docker.APIClient, image: str, login: tuple[str, str] | None, progress: Progress) -> None:
    done: set[str] = set()
    layers: set[str] = set()
    last = time.monotonic()
    name, _, tag = image.partition("@") if "@" in image else (image, "", None)
    # Without a login of the app's, none at all: not what somebody once left in this user's files.
    auth = {"username": login[0], "password": login[1]} if login else {}
    for event in client.pull(name, tag=tag, stream=True, decode=True, auth_config=auth):
        if event.get("error"):
            raise JobError(str(event["error"]))
        if event.get("id") and "progressDetail" in event:
            layers.add(event["id"])
            if event.get("status") in ("Pull complete", "Already exists"):
                done.add(event["id"])
        if time.monotonic() - last > 0.5:
            last = time.monotonic()
            progress(f"pulling {image}: {len(done)} of {len(layers)} layers")


def pull_problem(image: str, said: str) -> str:
    """Return in words why an image could not be pulled. Pure."""
    said = " ".join(said.split())
    if _SILENT_NETWORK.search(said):
        return f"image {image} is not on this node and no registry answered: {said[-160:]}"
    if _NOT_THERE.search(said):
        return (
            f"image {image} is not on this node and its registry has none of this name, or shows it only after a login"
        )
    return f"image {image} could not be pulled: {said[:200]}"


def _need_volume(client: docker.APIClient, volume: Mapping[str, Any]) -> None:
    try:
        labels = client.inspect_volume(volume["name"]).get("Labels") or {}
    except NotFound:
        client.create_volume(volume["name"], labels=volume["labels"])
        return
    if any(labels.get(key) != volume["labels"][key] for key in (naming.CLOUD, naming.NODE, naming.APP)):
        raise JobError(f"the volume {volume['name']} exists and is not this node's: it is left alone")


def _begin(client: docker.APIClient, container: str) -> None:
    try:
        client.start(container)
    except APIError as e:
        raise JobError(start_problem(str(e.explanation or e))) from None


def start_problem(said: str) -> str:
    """Return in words why a container could not be started. Pure."""
    said = " ".join(said.split())
    exec_problem = re.search(r"exec: (.*?)(?:: unknown)?$", said)
    if exec_problem:
        return f"the command cannot be started: {exec_problem.group(1)}"
    return f"it could not be started: {said[-240:]}"


def _start(client: docker.APIClient, args: Mapping[str, Any], _: Progress) -> None:
    # What was written for it before may be gone: a tmpfs is empty after a reboot.
    request = args.get("secrets")
    contents = docker_secrets.opened(request)
    docker_secrets.place_files(request, contents)
    docker_secrets.hand_over(client, args["container"], request, contents)
    _begin(client, args["container"])


def _unpause(client: docker.APIClient, args: Mapping[str, Any], _: Progress) -> None:
    if client.inspect_container(args["container"])["State"]["Paused"]:
        client.unpause(args["container"])


def _rename(client: docker.APIClient, args: Mapping[str, Any], _: Progress) -> None:
    client.rename(args["container"], args["name"])


def _update(client: docker.APIClient, args: Mapping[str, Any], _: Progress) -> None:
    # Not the SDK's own method: it does not know NanoCpus, in which the limit was given.
    limits = {
        "Memory": args["memory"],
        "MemorySwap": args["memory"],
        "NanoCpus": int(args["cpu"] * 1e9),
        "RestartPolicy": {"Name": args["restart"]},
    }
    url = f"{client.base_url}/v{client.api_version}/containers/{args['container']}/update"
    answer = client.post(url, json=limits, timeout=30)
    if answer.status_code >= 400:
        raise JobError(f"its limits could not be set: {' '.join(answer.text.split())[:200]}")


def _remove(client: docker.APIClient, args: Mapping[str, Any], _: Progress) -> None:
    """Stop and remove a container. Volumes stay, always."""
    container = args["container"]
    try:
        if client.inspect_container(container)["State"]["Paused"]:
            # A frozen process cannot act on the signal that asks it to end.
            client.unpause(container)
        client.stop(container, timeout=args["stop_timeout"])
        secret_files.forget(**args["files"])
        client.remove_container(container, v=False, force=True)
    except NotFound:
        secret_files.forget(**args["files"])
    except APIError as e:
        if e.status_code != 409 or "already in progress" not in str(e.explanation):
            raise


def _collect(client: docker.APIClient, args: Mapping[str, Any], _: Progress) -> list[str]:
    """Remove images that are not needed; return what went."""
    images = []
    for entry in client.images():
        tags = tuple(t for t in entry.get("RepoTags") or () if t != "<none>:<none>")
        tags = tags or tuple(d for d in entry.get("RepoDigests") or () if not d.startswith("<none>"))
        doc = client.inspect_image(entry["Id"])  # type: ignore[no-untyped-call]
        tagged = epoch_seconds(str((doc.get("Metadata") or {}).get("LastTagTime", "")))
        images.append(Image(entry["Id"], tags, max(float(entry.get("Created") or 0), tagged)))
    in_use = [c["ImageID"] for c in client.containers(all=True)]
    gone = []
    for image in images_to_remove(images, in_use, args["ours"], args["now"]):
        try:
            client.remove_image(image, force=False)
            gone.append(image)
        except APIError:
            # Something began to use it in the meantime.
            continue
    return gone


def _words(e: APIError) -> str:
    return " ".join(str(e.explanation or e).split())[:300]


_JOBS: dict[str, Callable[[docker.APIClient, Mapping[str, Any], Progress], Any]] = {
    "create": _create,
    "start": _start,
    "unpause": _unpause,
    "rename": _rename,
    "update": _update,
    "remove": _remove,
    "collect": _collect,
}
