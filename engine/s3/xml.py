"""XML as S3 writes and reads it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from automator67.engine.s3.errors import S3Error

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
MOST_BYTES = 1024 * 1024
_SPECIAL = re.compile(r"[&<>\"\r\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")

Node = tuple[str, "str | int | Iterable[Node]"]
"""A tag and what is in it: text, a number, or more of them."""


def document(name: str, *children: Node) -> bytes:
    """Return a document."""
    inside = "".join(_node(c) for c in children)
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    return f'{head}<{name} xmlns="{NAMESPACE}">{inside}</{name}>'.encode()


def error_document(code: str, text: str, resource: str, request: str) -> bytes:
    """Return the document of an error, which has no namespace."""
    fields: list[Node] = [("Code", code), ("Message", text), ("Resource", resource), ("RequestId", request)]
    inside = "".join(_node(f) for f in fields)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inside}</Error>'.encode("utf-8", "replace")


def _node(node: Node) -> str:
    name, value = node
    if isinstance(value, (str, int)):
        return f"<{name}>{_SPECIAL.sub(_escaped, str(value))}</{name}>"
    return f"<{name}>{''.join(_node(child) for child in value)}</{name}>"


def _escaped(found: re.Match[str]) -> str:
    return f"&#{ord(found[0])};"


def parsed(data: bytes, name: str) -> Element:
    """Return the document that a client sent, its tags without namespaces. Raises S3Error."""
    try:
        root = fromstring(data, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, RecursionError):
        raise S3Error("MalformedXML", "The XML is not well-formed, or has a DTD") from None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    if root.tag != name:
        raise S3Error("MalformedXML", f"{name} was expected, not {root.tag[:100]}")
    result: Element = root
    return result


def text(element: Element, name: str) -> str:
    """Return the text of a child, "" when there is none."""
    return (element.findtext(name) or "").strip()
