"""The adapter for ``kind: swarm``: looks at a swarm and acts on it through a manager's Docker Engine API."""

from __future__ import annotations

import base64
import contextlib
import json
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import docker
import requests
from docker.errors import APIError, DockerException
from docker.types import CancellableStream

from automator67.engine.breaker import Breaker, BreakerOpen
from automator67.engine.circuit import Policy
from automator67.engine.places.converge import mark_of
from automator67.engine.places.protocol import Act, Line, Lines, Opened, PlaceError, Seen, Unit
from automator67.engine.places.swarm.connection import TIMEOUT_SECONDS, Credentials, connect, host_of, unreachable
from automator67.engine.places.swarm.reading import read, task_of
from automator67.engine.places.swarm.spec import APP, CLOUD, MARK, NODE, differences, service_spec
from automator67.engine.places.times import epoch_seconds

T = TypeVar("T")
EVENTS = {
    "type": ["service", "container", "node"],
    "event": ["create", "update", "remove", "start", "die", "oom", "health_status"],
}
"""What may change what is seen. Not the start and end of every health check's command."""
LOOK_SECONDS = 5.0
POLICY = Policy(first=10.0, longest=30.0)
"""A manager is a machine of our own: it is looked at again sooner than a provider."""
EVENTS_PAUSE = 2.0
"""How long to wait before listening again after the stream of events broke."""


class SwarmPlace:
    """One swarm. ``url`` and ``credentials`` lead to one of its managers."""

    def __init__(
        self, name: str, cloud: str, url: str, credentials: Credentials | None = None, breaker: Breaker | None = None
    ) -> None:
        """Raises PlaceError when the credentials cannot be used."""
        self.name, self.kind = name, "swarm"
        self._cloud = cloud
        self._url = url
        self._credentials = credentials
        self._breaker = breaker or Breaker(f"the manager at {url}", POLICY)
        self._client = connect(url, credentials)
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._seen = Seen()

    def observe(self) -> Seen:
        """Look at services, tasks and machines. Raises PlaceError; nothing is ever taken for empty."""

        def look() -> Seen:
            info = self._get("/info")
            state = info.get("Swarm") or {}
            if not state.get("ControlAvailable"):
                why = "is not in a swarm" if state.get("LocalNodeState") != "active" else "is a worker, not a manager"
                raise PlaceError(f"the Docker Engine at {self._url} {why}")
            services, tasks, nodes = self._get("/services"), self._get("/tasks"), self._get("/nodes")
            return read(self._cloud, self.name, info, services, tasks, nodes, host_of(self._url))

        self._seen = self._ask(look)
        return self._seen

    def shape(self, unit: Unit, opened: Opened) -> Mapping[str, Any]:
        """Return the ServiceSpec of a unit. Pure."""
        return service_spec(self._cloud, self.name, unit, opened)

    def differences(self, wanted: Mapping[str, Any], seen: Mapping[str, Any]) -> tuple[str, ...]:
        """Return in words where a service was changed. Pure."""
        return differences(wanted, seen)

    def act(self, action: Act) -> None:
        """Create, update or remove one service."""
        self._ask(lambda: self._act(action))

    def logs(self, instance: str, *, tail: int, since: float, follow: bool) -> Lines:
        """Return log lines of the task that an instance is."""
        task = next((t for unit in self._seen.units.values() if (t := task_of(instance, unit))), "")
        if not task:
            raise PlaceError(f"{instance} has no task in the swarm now")
        query = {"stdout": 1, "stderr": 1, "timestamps": 1, "since": since, "follow": int(follow)}
        client = connect(self._url, self._credentials)
        url = f"{client.base_url}/v{client.api_version}/tasks/{task}/logs"
        try:
            answer = client.get(
                url, params={**query, "tail": "all" if tail < 0 else tail}, stream=True,
                # A log may be silent for long; only while it is not followed does silence mean a fault.
                timeout=(TIMEOUT_SECONDS, None if follow else TIMEOUT_SECONDS),
            )  # fmt: skip
        except (requests.RequestException, OSError) as error:
            client.close()
            raise unreachable(self._url, error) from None
        if answer.status_code >= 400:
            said = _said(answer)
            client.close()
            raise PlaceError(f"the swarm does not give the log of {instance}: {said}")
        return CancellableStream(_lines(client, answer.raw), answer)

    def pause(self) -> float:
        """Return how long until the next look where no event asks for one."""
        return LOOK_SECONDS

    def watch(self, notify: Callable[[], None]) -> None:
        """Listen to the events of the swarm, in a thread of its own."""
        threading.Thread(target=self._listen, args=(notify,), name=f"events-{self.name}", daemon=True).start()

    def close(self) -> None:
        """End the listener and all connections."""
        self._closed.set()
        self._client.close()

    # -- what it asks --------------------------------------------------------------------------------------------

    def _ask(self, work: Callable[[], T]) -> T:
        try:
            # Sessions of the SDK are not made for several threads.
            with self._lock, self._breaker.call(_in_trouble):
                return work()
        except BreakerOpen as error:
            raise PlaceError(str(error)) from None
        except APIError as error:
            raise PlaceError(_words(error)) from None
        except (requests.RequestException, DockerException, OSError, ValueError) as error:
            raise unreachable(self._url, error) from None

    def _get(self, path: str, **query: Any) -> Any:
        return self._call("GET", path, query=query)

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Send one request; return the answer as data. Raises APIError for a refusal."""
        url = f"{self._client.base_url}/v{self._client.api_version}{path}"
        answer = self._client.request(method, url, params=query, json=body, headers=headers, timeout=TIMEOUT_SECONDS)
        if answer.status_code >= 400:
            raise APIError(_said(answer), response=answer, explanation=_said(answer))
        return answer.json() if answer.content else None

    def _act(self, action: Act) -> None:
        if action.verb == "remove":
            assert action.seen is not None
            with contextlib.suppress(_Gone):
                self._missing_is_fine("DELETE", f"/services/{action.seen.handle}")
            self._tidy(action.app, set())
            return
        spec = self._complete(action)
        headers = _login(action.opened)
        if action.seen is None:
            self._call("POST", "/services/create", body=spec, headers=headers)
        else:
            query = {"version": action.seen.version}
            self._call("POST", f"/services/{action.seen.handle}/update", query=query, body=spec, headers=headers)
        before = action.seen.shape if action.seen is not None else {}
        self._tidy(action.app, _secrets_of(spec) | _secrets_of(before))

    def _complete(self, action: Act) -> dict[str, Any]:
        """Return the spec with its mark, and with the ids of its secrets, which are made where they are missing."""
        spec: dict[str, Any] = json.loads(json.dumps(action.shape))
        spec["Labels"][MARK] = mark_of(action.shape)
        references = spec["TaskTemplate"]["ContainerSpec"]["Secrets"]
        if references:
            there = {s["Spec"]["Name"]: s for s in self._get("/secrets")}
            for reference, (_, content) in zip(references, action.opened.files, strict=True):
                reference["SecretID"] = self._secret(action, reference["SecretName"], content, there)
        return spec

    def _secret(self, action: Act, name: str, content: bytes, there: Mapping[str, Any]) -> str:
        if name in there:
            if (there[name]["Spec"].get("Labels") or {}).get(CLOUD) != self._cloud:
                raise PlaceError(f"the swarm has a secret {name} that is not ours: rename or remove that one")
            return str(there[name]["ID"])
        body = {"Name": name, "Labels": self._stamp(action.app), "Data": base64.b64encode(content).decode()}
        return str(self._call("POST", "/secrets/create", body=body)["ID"])

    def _tidy(self, app: str, keep: set[str]) -> None:
        """Remove the secrets of an app that no service has any more. What is still in use says so, and stays."""
        for secret in self._get("/secrets"):
            stamp = secret["Spec"].get("Labels") or {}
            if secret["Spec"]["Name"] not in keep and self._stamp(app).items() <= stamp.items():
                with contextlib.suppress(APIError):
                    self._call("DELETE", f"/secrets/{secret['ID']}")

    def _missing_is_fine(self, method: str, path: str) -> None:
        try:
            self._call(method, path)
        except APIError as error:
            if error.response is not None and error.response.status_code == 404:
                raise _Gone from None
            raise

    def _stamp(self, app: str) -> dict[str, str]:
        return {CLOUD: self._cloud, NODE: self.name, APP: app}

    # -- events --------------------------------------------------------------------------------------------------

    def _listen(self, notify: Callable[[], None]) -> None:
        while not self._closed.is_set():
            client = None
            with contextlib.suppress(requests.RequestException, DockerException, OSError, ValueError, PlaceError):
                client = connect(self._url, self._credentials)
                url = f"{client.base_url}/v{client.api_version}/events"
                query = {"filters": json.dumps(EVENTS)}
                # The read ends now and then by itself, so that a closed place does not keep a thread.
                with client.get(url, params=query, stream=True, timeout=(TIMEOUT_SECONDS, 30.0)) as answer:
                    for _ in answer.iter_lines(chunk_size=1):
                        notify()
                        if self._closed.is_set():
                            break
            if client is not None:
                client.close()
            self._closed.wait(EVENTS_PAUSE)


class _Gone(Exception):
    """What was to be removed is not there."""


def _login(opened: Opened) -> dict[str, str]:
    """Return what lets the machines of a swarm into the image's registry; Swarm keeps it with the service."""
    if opened.login is None:
        return {}
    user, password, host = opened.login
    text = json.dumps({"username": user, "password": password, "serveraddress": host})
    return {"X-Registry-Auth": base64.urlsafe_b64encode(text.encode()).decode()}


def _secrets_of(spec: Mapping[str, Any]) -> set[str]:
    container = (spec.get("TaskTemplate") or {}).get("ContainerSpec") or {}
    return {str(s.get("SecretName")) for s in container.get("Secrets") or ()}


def _said(answer: requests.Response) -> str:
    try:
        text = str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        text = answer.text
    return " ".join(text.split())[:300]


def _in_trouble(error: Exception) -> bool:
    """Whether the manager failed; what it refuses, it has answered."""
    if isinstance(error, APIError):
        return bool(error.is_server_error())
    return isinstance(error, (requests.RequestException, DockerException, OSError))


def _words(error: APIError) -> str:
    said = str(error.explanation or error).removeprefix("rpc error: ")
    if "name conflicts with an existing object" in said:
        return "the swarm has a service of that name which is not ours: rename or remove that one"
    if "out of sequence" in said:
        return "the service was changed by somebody else just now"
    return f"the swarm refused: {said}"[:300]


def _lines(client: docker.APIClient, raw: Any) -> Iterator[Line]:
    """Yield the lines of a multiplexed stream: 8 bytes of header (stream, length), then so many bytes."""
    try:
        while len(header := _exactly(raw, 8)) == 8:
            stream, size = header[0], struct.unpack(">I", header[4:])[0]
            text = _exactly(raw, size).decode(errors="replace").rstrip("\n")
            at, _, rest = text.partition(" ")
            yield Line(epoch_seconds(at), "err" if stream == 2 else "out", rest)
    finally:
        client.close()


def _exactly(raw: Any, size: int) -> bytes:
    found = b""
    while len(found) < size:
        part = raw.read(size - len(found))
        if not part:
            break
        found += part
    return found
