"""Holds requests and answers to published descriptions: OpenAPI 3 and Google's discovery documents.

Strict in what is sent: a key that the description does not have is refused wherever it lists the keys. Of ``oneOf`` any
variant counts, since published ones are often ambiguous; ``readOnly`` keys are never required of a request.
"""

from __future__ import annotations

import email
import email.message
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jsonschema_rs

Json = dict[str, Any]


_FORM = "multipart/form-data"


def form_parts(body: bytes) -> dict[str, str]:
    """Return the parts of a form (RFC 7578) by name, of texts only."""
    boundary = body.partition(b"\r\n")[0].removeprefix(b"--")
    head = f"Content-Type: {_FORM}; boundary={boundary.decode()}\r\n\r\n".encode()
    message = email.message_from_bytes(head + body)
    found: dict[str, str] = {}
    for part in message.get_payload():
        assert isinstance(part, email.message.Message)
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        found[str(part.get_param("name", header="content-disposition"))] = content.decode()
    return found


class ContractBroken(AssertionError):
    """A request or an answer is not what the provider's description says."""


@dataclass(frozen=True)
class Operation:
    """One method of one path, with its parameters and schemas as the document has them."""

    name: str
    parameters: tuple[Json, ...]
    bodies: Mapping[str, Json]
    """The schema of a request's body by media type; empty: it has none."""
    body_required: bool
    answers: Mapping[str, Json | None]
    """The schema of the answer by status (``200``, ``4XX``, ``default``); None: it has no body."""


class Described:
    """A description. ``base`` is the part of a URL's path that its own paths do not have.

    ``given``: keys that it requires of requests by mistake, since only answers have them.
    """

    def __init__(self, file: Path, base: str = "", given: frozenset[str] = frozenset()) -> None:
        self._base, self._given = base, given
        self._strict, self._lenient, self._paths = _read(file, given)
        self._checkers: dict[tuple[str, bool], Any] = {}

    def check_request(self, method: str, path: str, query: Mapping[str, list[str]], kind: str, body: bytes) -> str:
        """Return the template of the path. Raises ContractBroken."""
        operation = self._operation(method, path)
        known = {p["name"]: p for p in operation.parameters if p["in"] == "query"}
        if strange := sorted(set(query) - set(known)):
            raise ContractBroken(f"{method} {path}: unknown query parameters {strange}")
        if missing := sorted(n for n, p in known.items() if p.get("required") and n not in query):
            raise ContractBroken(f"{method} {path}: query parameters {missing} are missing")
        for name, values in query.items():
            self._check_query(f"{method} {path}: {name}", known[name].get("schema", {}), values)
        if not body:
            if operation.body_required:
                raise ContractBroken(f"{method} {path}: a body is missing")
            return operation.name
        schema = operation.bodies.get(kind)
        if schema is None:
            raise ContractBroken(f"{method} {path}: a body of type {kind!r}, described: {sorted(operation.bodies)}")
        # Of a form only the part that is data is described: the others have names of their own.
        data = {"metadata": json.loads(form_parts(body)["metadata"])} if kind == _FORM else json.loads(body)
        self._check(f"{method} {path}", schema, data, strict=True)
        return operation.name

    def check_answer(self, method: str, path: str, status: int, body: bytes) -> None:
        """Raise ContractBroken unless the answer is described."""
        operation = self._operation(method, path)
        text = str(status)
        found = next((k for k in (text, f"{text[0]}XX", "default") if k in operation.answers), None)
        if found is None:
            if status >= 400:
                return  # Refusals that the document leaves out happen all the same.
            raise ContractBroken(f"{method} {path}: status {status} is not described")
        schema = operation.answers[found]
        if status >= 400 and self._given:
            return  # What such a document says of refusals contradicts itself: success is both true and false.
        if schema is not None:
            self._check(f"answer {status} to {method} {path}", schema, json.loads(body or b"null"), strict=False)

    def _operation(self, method: str, path: str) -> Operation:
        inner = path.removeprefix(self._base)
        for pattern, methods in self._paths:
            if method.lower() in methods and pattern.fullmatch(inner):
                return methods[method.lower()]
        raise ContractBroken(f"{method} {path} is not described")

    def _check_query(self, where: str, schema: Json, values: list[str]) -> None:
        schema = self._resolve(schema)
        kind = schema.get("type")
        if kind == "array":
            for value in (v for joined in values for v in joined.split(",")):
                self._check_query(where, schema.get("items", {}), [value])
            return
        value: Any = values[0]
        if kind in ("integer", "number") or schema.get("format") == "int32":
            value = json.loads(value)
        elif kind == "boolean":
            value = {"true": True, "false": False}.get(value, value)
        self._check(where, schema, value, strict=True)

    def _resolve(self, schema: Json) -> Json:
        return _follow(self._strict, schema)

    def _check(self, where: str, schema: Json, value: Any, *, strict: bool) -> None:
        key = (json.dumps(schema, sort_keys=True), strict)
        if key not in self._checkers:
            given = self._given if strict else frozenset()
            whole = {**_json_schema(schema, strict, given), **(self._strict if strict else self._lenient)}
            self._checkers[key] = jsonschema_rs.validator_for(whole)
        errors = [
            f"{'/'.join(map(str, e.instance_path))}: {e.message[:300]}" for e in self._checkers[key].iter_errors(value)
        ]
        if errors:
            raise ContractBroken(f"{where}: {'; '.join(errors[:3])}")


@cache
def _read(file: Path, given: frozenset[str]) -> tuple[Json, Json, list[tuple[re.Pattern[str], dict[str, Operation]]]]:
    document = json.loads(file.read_bytes())
    if "discoveryVersion" in document:
        document = _openapi_of(document)
    parts = {key: document[key] for key in ("components", "paths") if key in document}
    strict, lenient = _json_schema(parts, True, given), _json_schema(parts, False)
    paths = [
        (_pattern(template), {m: _operation(document, template, item, m) for m in item if m in _METHODS})
        for template, item in document["paths"].items()
    ]
    # What is written out comes before what a parameter stands for.
    return strict, lenient, sorted(paths, key=lambda p: p[0].pattern.count("[^/]+"))


_METHODS = ("get", "post", "put", "patch", "delete")


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(
        "".join("[^/]+" if p.startswith("{") else re.escape(p) for p in re.split(r"(\{[^}]+\})", template))
    )


def _operation(document: Json, template: str, item: Json, method: str) -> Operation:
    op = item[method]
    body = _follow(document, op.get("requestBody", {}))
    bodies = {kind.partition(";")[0]: c.get("schema", {}) for kind, c in body.get("content", {}).items()}
    answers = {}
    for status, answer in op.get("responses", {}).items():
        content = _follow(document, answer).get("content", {})
        answers[str(status)] = next((c["schema"] for k, c in content.items() if "json" in k and "schema" in c), None)
    parameters = tuple(_follow(document, p) for p in (*item.get("parameters", ()), *op.get("parameters", ())))
    return Operation(template, parameters, bodies, bool(body.get("required")), answers)


def _follow(document: Json, thing: Json) -> Json:
    """Return what a local reference leads to (JSON Pointer, RFC 6901)."""
    while "$ref" in thing:
        found: Any = document
        for part in thing["$ref"].removeprefix("#/").split("/"):
            key = unquote(part).replace("~1", "/").replace("~0", "~")
            found = found[int(key)] if isinstance(found, list) else found[key]
        thing = found
    return thing


def _json_schema(node: Any, strict: bool, given: frozenset[str] = frozenset()) -> Any:
    """Return a schema of OpenAPI 3.0 as JSON Schema: nullable, oneOf, readOnly; closed objects where ``strict``."""
    if isinstance(node, list):
        return [_json_schema(n, strict, given) for n in node]
    if not isinstance(node, dict):
        return node
    found = {
        k: _json_schema(v, strict, given)
        for k, v in node.items()
        if k not in ("discriminator", "example", "examples", "pattern", "format") or not isinstance(v, str)
    }
    if isinstance(found.get("oneOf"), list):
        found["anyOf"] = [*found.pop("oneOf"), *found.get("anyOf", [])]
    if given and isinstance(found.get("required"), list):
        found["required"] = [k for k in found["required"] if k not in given]
    properties = found.get("properties")
    if isinstance(properties, dict) and isinstance(found.get("type", "object"), str):
        if isinstance(found.get("required"), list):
            away = {
                k for k, v in properties.items() if isinstance(v, dict) and v.get("readOnly" if strict else "writeOnly")
            }
            found["required"] = [k for k in found["required"] if k not in away]
        # Where parts are joined (allOf) none of them can be closed; such documents give ``given``.
        if (
            strict
            and not given
            and "additionalProperties" not in found
            and "allOf" not in found
            and "anyOf" not in found
        ):
            found["additionalProperties"] = False
    if found.get("nullable") is True:
        inner = {k: v for k, v in found.items() if k != "nullable"}
        return {"anyOf": [inner, {"type": "null"}]}
    return found


def _openapi_of(discovery: Json) -> Json:
    """Return a discovery document (https://developers.google.com/discovery/v1/reference) in the form of OpenAPI."""
    paths: dict[str, Json] = {}
    for method in _methods(discovery):
        parameters = [
            {"name": name, "in": p["location"], "required": p.get("required", False), "schema": {"type": p["type"]}}
            for name, p in method.get("parameters", {}).items()
        ]
        op: Json = {"parameters": parameters, "responses": {"200": {}}}
        if "request" in method:
            op["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(method["request"])}}}
        if "response" in method:
            op["responses"]["200"] = {"content": {"application/json": {"schema": _ref(method["response"])}}}
        paths.setdefault("/" + method.get("flatPath", method["path"]), {})[method["httpMethod"].lower()] = op
    return {"paths": paths, "components": {"schemas": _ref(discovery["schemas"])}}


def _methods(part: Json) -> Iterator[Json]:
    yield from part.get("methods", {}).values()
    for inner in part.get("resources", {}).values():
        yield from _methods(inner)


def _ref(node: Any) -> Any:
    if isinstance(node, list):
        return [_ref(n) for n in node]
    if not isinstance(node, dict):
        return node
    if isinstance(node.get("$ref"), str):
        return {"$ref": f"#/components/schemas/{node['$ref']}"}
    # Beside "any", which is no type, discovery documents write bounds as text and say of properties who requires them.
    odd = ("id", "description", "enumDescriptions", "annotations", "minimum", "maximum")
    return {k: _ref(v) for k, v in node.items() if not (k in odd and isinstance(v, str | list)) and v != "any"}
