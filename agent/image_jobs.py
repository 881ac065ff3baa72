"""What the worker does for images that no registry has: build one of a source, send one, fetch one."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import docker
from docker.errors import APIError, ImageNotFound

from automator67.agent import image_tar
from automator67.agent.link import Link
from automator67.agent.transfer import PIECE, Download, TransferError, Upload, link_of

Progress = Callable[[str], None]

BUILD_SECONDS = 3600.0
_SILENCE = 600.0
"""How long the Docker Engine may say nothing while it builds, saves or loads (seconds)."""
_SIGN_OF_LIFE = 5.0
_LONGEST_LINE = 4096


class ImageJobError(Exception):
    """An image cannot be had or sent; the text is for a person."""


def build(socket: str, args: Mapping[str, Any], progress: Progress) -> str:
    """Build an image of a source, and answer the task with its log and how it went. Returns the image's id.

    The Docker Engine's own builder does it (``POST /build``): BuildKit would need a session of its own protocol,
    for which the Docker SDK has no client. Raises TransferError when the engine cannot be told.
    """
    link = link_of(args["state"])
    with _engine(socket) as client, _alive(progress, f"building {args['image']}"):
        answer = Upload(link, "POST", f"/v1/tasks/{args['task']}", "application/x-ndjson")
        try:
            found, error = _present(client, args["image"]), ""
            if found:
                answer.line(_said(f"{args['image']} is here already"))
            else:
                error = _build(client, link, args, answer)
            answer.line({"t": time.time(), "s": "err", "end": "failed" if error else "done", "m": error})
            answer.end(checksum=False)
        finally:
            answer.close()
        return _present(client, args["image"])


def export(socket: str, args: Mapping[str, Any], progress: Progress) -> None:
    """Send an image to the engine without the layers that its reader has. Raises TransferError."""
    link, image = link_of(args["state"]), args["image"]
    with _engine(socket) as client, _alive(progress, f"sending {image}"):
        try:
            layers = client.inspect_image(image)["RootFS"].get("Layers") or []  # type: ignore[no-untyped-call]
        except ImageNotFound:
            _refuse(link, args["task"], f"gone: image {image} is not on this node")
            return
        known = image_tar.known_layers(layers, frozenset(args["have"]))
        drop = image_tar.members_to_drop(_saved(client, image), known) if known else frozenset()
        upload = Upload(link, "PUT", f"/v1/images/{args['task']}", "application/x-tar")
        try:
            if drop:
                image_tar.copy_without(_saved(client, image), drop, upload)  # type: ignore[arg-type]
            else:
                for piece in client.get_image(image, chunk_size=PIECE):
                    upload.write(piece)
            upload.end(checksum=True)
        finally:
            upload.close()


def fetch(client: docker.APIClient, socket: str, state: str, image: str, progress: Progress) -> None:
    """Have an image that another node built. Raises ImageJobError."""
    try:
        _load(client, socket, state, image, _chains(client), progress)
    except _LayersMissing:
        # This Docker Engine wants to see every layer.
        _load(client, socket, state, image, [], progress)


class _LayersMissing(Exception):
    pass


def _load(client: docker.APIClient, socket: str, state: str, image: str, have: list[str], progress: Progress) -> None:
    told = [0.0]

    def moved(total: int) -> None:
        if time.monotonic() - told[0] > 1.0:
            told[0] = time.monotonic()
            progress(f"fetching {image}: {total / 2**20:.0f} MiB")

    progress(f"fetching {image} from another node")
    body = json.dumps({"image": image, "have": have}).encode()
    try:
        stream = Download(link_of(state), "POST", "/v1/images", body, moved)
        with _engine(socket) as loader:
            said = "".join(str(e.get("error", "")) for e in loader.load_image(iter(stream), quiet=False))  # type: ignore[no-untyped-call]
    except (TransferError, OSError) as e:
        raise ImageJobError(f"image {image} could not be fetched: {e}") from None
    except APIError as e:
        said = " ".join(str(e.explanation or e).split())
    if _present(client, image):
        return
    if have:
        raise _LayersMissing
    raise ImageJobError(f"image {image} was fetched but cannot be loaded: {said[:200]}")


def _build(client: docker.APIClient, link: Link, args: Mapping[str, Any], answer: Upload) -> str:
    """Build, and return why it failed, or nothing."""
    until = time.monotonic() + BUILD_SECONDS
    try:
        context = Download(link, "GET", f"/v1/trees/{args['tree']}")
    except TransferError:
        # Not the build's fault: the engine tries again.
        raise
    labels = {"a67.app": args["app"], "a67.source": args["commit"]}
    try:
        events = client.build(
            fileobj=context,  # type: ignore[arg-type]
            custom_context=True,
            dockerfile=args["dockerfile"],
            tag=args["image"],
            labels=labels,
            rm=True,
            forcerm=True,
            decode=True,
        )
        for event in events:
            if event.get("error"):
                return " ".join(str(event["error"]).split())[:500]
            for text in str(event.get("stream", "")).splitlines():
                if text.strip():
                    answer.line(_said(text))
            if time.monotonic() > until:
                return f"it took longer than {BUILD_SECONDS / 60:.0f} minutes"
    except APIError as e:
        return " ".join(str(e.explanation or e).split())[:500]
    finally:
        context.close()
    return "" if _present(client, args["image"]) else "the Docker Engine ended the build without an image"


def _refuse(link: Link, task: str, text: str) -> None:
    answer = Upload(link, "POST", f"/v1/tasks/{task}", "application/x-ndjson")
    try:
        answer.line({"error": text})
        answer.end(checksum=False)
    finally:
        answer.close()


def _present(client: docker.APIClient, image: str) -> str:
    try:
        return str(client.inspect_image(image)["Id"])  # type: ignore[no-untyped-call]
    except ImageNotFound:
        return ""


def _chains(client: docker.APIClient) -> list[str]:
    """Return the chain ids of all layers here."""
    found: set[str] = set()
    for entry in client.images():
        with contextlib.suppress(ImageNotFound):
            doc = client.inspect_image(entry["Id"])  # type: ignore[no-untyped-call]
            found.update(image_tar.chain_ids(doc["RootFS"].get("Layers") or []))
    return sorted(found)[:5000]


def _saved(client: docker.APIClient, image: str) -> Any:
    return image_tar.PiecesFile(iter(client.get_image(image, chunk_size=PIECE)))


def _said(text: str) -> dict[str, Any]:
    return {"t": round(time.time(), 3), "s": "out", "m": text[:_LONGEST_LINE]}


@contextlib.contextmanager
def _engine(socket: str) -> Iterator[docker.APIClient]:
    client = docker.APIClient(base_url=f"unix://{socket}", version="auto", timeout=int(_SILENCE))
    try:
        yield client
    finally:
        client.close()


@contextlib.contextmanager
def _alive(progress: Progress, text: str) -> Iterator[None]:
    """Tell that work goes on, also while the Docker Engine is silent."""
    over = threading.Event()

    def tell() -> None:
        while not over.wait(_SIGN_OF_LIFE):
            progress(text)

    threading.Thread(target=tell, daemon=True).start()
    try:
        yield
    finally:
        over.set()
