"""Joining a cloud: from a one-time token to a key and a certificate. Says every step; runs once, not in the agent."""

from __future__ import annotations

import hmac
import os
import platform
import ssl
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from automator67.agent import VERSION, sealing
from automator67.agent.http1 import HttpError
from automator67.agent.link import Link, LinkError, Place, place_of
from automator67.agent.state import make_directory, read_json, write_json, write_private

_TIMEOUT = 15.0


class JoinError(Exception):
    """This node could not join; the text says why and what to do."""


class Token(NamedTuple):
    """A join token: the fingerprint of the CA to trust, and what is to be shown to the engine."""

    fingerprint: str
    credential: str


def parse_token(text: str) -> Token:
    """Return a join token's parts. Raises JoinError."""
    parts = text.strip().split(".", 2)
    hexadecimal = len(parts) == 3 and len(parts[1]) == 32 and all(c in "0123456789abcdef" for c in parts[1])
    if not hexadecimal or parts[0] != "a67" or "." not in parts[2]:
        raise JoinError("the token is not complete: it has the form a67.FINGERPRINT.ID.SECRET; copy it whole")
    return Token(parts[1], parts[2])


def join(url: str, token_text: str, state: str, say: Callable[[str], None]) -> str:
    """Make this machine a node of the cloud whose engine is at ``url``; return the node's name.

    Raises JoinError, StateError. Nothing is sent to the engine but a request for its CA certificate until that has
    been compared with the fingerprint in the token.
    """
    token = parse_token(token_text)
    try:
        place = place_of(url)
    except ValueError as e:
        raise JoinError(str(e)) from None
    known = read_json(f"{state}/agent.json")
    if known is not None:
        raise JoinError(
            f"{state} belongs to node {known.get('node')} of cloud {known.get('cloud')} already; remove "
            f"{state}/agent.json to join anew, or give another --state"
        )
    say(f"1. asking {url} for its CA certificate (not trusted yet)")
    ca = _fetch_ca(place)
    found = sha256(ssl.PEM_cert_to_DER_cert(ca)).hexdigest()[:32]
    if not hmac.compare_digest(found, token.fingerprint):
        raise JoinError(
            f"the certificate there has the fingerprint {found}, the token says {token.fingerprint}: this is not the "
            "engine that made the token, or someone is in between; nothing was sent"
        )
    say(f"2. its fingerprint is {found}, as the token says: trusted from now on")
    make_directory(state)
    os.chmod(state, 0o711 if Path(state, "volumes").exists() else 0o700)
    write_private(f"{state}/ca.pem", ca.encode())
    key = sealing.new_key()
    say("3. made a private key (P-256); it never leaves this machine")
    hostname = platform.node() or "node"
    say(f"4. sending a signing request and the token, over TLS 1.3 verified against that CA, as {hostname}")
    answer = _enroll(Link(place, f"{state}/ca.pem", None), token, sealing.signing_request(key, hostname), hostname)
    return _write(url, state, key, answer, say)


def _fetch_ca(place: Place) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    link = Link(place, "", None, context)
    try:
        conn = link.connect()
        try:
            reply = link.request(conn, "GET", "/v1/ca", None, _TIMEOUT)
        finally:
            conn.close()
    except LinkError as e:
        raise JoinError(f"{e}; is the address right, and is the port open?") from None
    text = reply.body[:65536].decode(errors="replace")
    if text.lstrip().startswith("{"):
        with suppress(HttpError):
            text = str(reply.json().get("ca", ""))
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    start, stop = text.find(begin), text.find(end)
    if start < 0 or stop < 0:
        raise JoinError("what answers there does not show a CA certificate: it is not an automator67 engine")
    return text[start : stop + len(end)] + "\n"


def _enroll(link: Link, token: Token, csr: str, hostname: str) -> dict[str, Any]:
    facts = {"hostname": hostname, "os": _system(), "arch": platform.machine(), "version": VERSION}
    doc = {"proto": 1, "token": token.credential, "csr": csr, "facts": facts}
    try:
        try:
            answer = link.once("POST", "/v1/enroll", doc, _TIMEOUT)
        except LinkError as e:
            if e.trouble != "clock":
                raise
            answer = link.once("POST", "/v1/enroll", doc, _TIMEOUT)
    except LinkError as e:
        if e.trouble == "revoked":
            raise JoinError(
                f"the engine refuses the token: {e}; make a new one with 'automator67 node token'"
            ) from None
        raise JoinError(str(e)) from None
    if not isinstance(answer, dict):
        raise JoinError("the engine's answer cannot be understood")
    return answer


def _write(url: str, state: str, key: bytes, answer: dict[str, Any], say: Callable[[str], None]) -> str:
    try:
        node, cloud = str(answer["node"]), str(answer["cloud"])
        certificate = sealing.check(key, str(answer["certificate"]))
        heartbeat = float(answer.get("heartbeat_s") or 30)
        _, until = sealing.validity(certificate)
    except (KeyError, TypeError, ValueError) as e:
        raise JoinError(f"the engine's answer cannot be used: {e}") from None
    say(f"5. this is node {node} of cloud {cloud}; its certificate is for {_hours(until)} and renews itself")
    with suppress(FileNotFoundError):
        # Sealed with the key of a membership that is over.
        os.unlink(f"{state}/desired.sealed")
    write_private(f"{state}/identity.pem", key + certificate)
    # Last: with this file the node has joined.
    write_json(f"{state}/agent.json", {"engine": url, "node": node, "cloud": cloud, "heartbeat_s": heartbeat})
    say(f"6. wrote identity.pem, ca.pem and agent.json to {state}, readable for this user alone")
    return node


def _system() -> str:
    with suppress(OSError):
        return str(platform.freedesktop_os_release().get("PRETTY_NAME", "Linux"))
    return platform.system()


def _hours(until: float) -> str:
    import time

    return f"{max(0.0, until - time.time()) / 3600:.0f} h"
