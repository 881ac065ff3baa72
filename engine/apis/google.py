"""Access tokens for Google's APIs from the key of a service account (RFC 7523: a signed JWT for a bearer token).

https://developers.google.com/identity/protocols/oauth2/service-account
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from automator67.engine.apis.client import LOCAL, TIMEOUT, ApiError

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
LIFE_SECONDS = 3600
EARLY_SECONDS = 300
"""How long before its end a token is replaced."""
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class ServiceAccount:
    """Gives the header for a request, with a token that is asked for when there is none that lasts.

    ``key`` is the JSON file that Google gives. Raises ApiError for what is no such file.
    """

    def __init__(
        self, key: str, transport: httpx.BaseTransport | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        try:
            doc: Mapping[str, Any] = json.loads(key)
            self._email, self._uri = str(doc["client_email"]), str(doc["token_uri"])
            private = serialization.load_pem_private_key(str(doc["private_key"]).encode(), None)
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ApiError("the token is not the JSON key of a service account") from None
        if not isinstance(private, rsa.RSAPrivateKey):
            raise ApiError("the key of the service account is no RSA key")
        parts = urlsplit(self._uri)
        if parts.scheme != "https" and parts.hostname not in LOCAL:
            raise ApiError(f"the token_uri of the service account is not encrypted: {parts.hostname}")
        self._private, self._clock = private, clock
        self._http = httpx.Client(
            timeout=TIMEOUT, trust_env=False, transport=transport, headers={"User-Agent": "automator67"}
        )
        self._lock = threading.Lock()
        self._token, self._until = "", 0.0

    def __call__(self) -> Mapping[str, str]:
        """Return the header. Raises ApiError."""
        with self._lock:
            if self._clock() > self._until - EARLY_SECONDS:
                self._renew()
            return {"Authorization": f"Bearer {self._token}"}

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    def _renew(self) -> None:
        now = int(self._clock())
        claims = {"iss": self._email, "scope": SCOPE, "aud": self._uri, "iat": now, "exp": now + LIFE_SECONDS}
        signed = b".".join(_text(part) for part in ({"alg": "RS256", "typ": "JWT"}, claims))
        signature = self._private.sign(signed, padding.PKCS1v15(), hashes.SHA256())
        assertion = f"{signed.decode()}.{_base64(signature).decode()}"
        try:
            answer = self._http.post(self._uri, data={"grant_type": _GRANT, "assertion": assertion})
            if answer.status_code != 200:
                raise ApiError(
                    f"Google does not let the service account {self._email} in: HTTP {answer.status_code}", 401
                )
            doc = answer.json()
            self._token, self._until = str(doc["access_token"]), now + float(doc["expires_in"])
        except httpx.HTTPError as error:
            raise ApiError(f"Google's token endpoint cannot be reached: {type(error).__name__}") from None
        except (ValueError, KeyError, TypeError):
            raise ApiError("Google's token endpoint answers something that is no token") from None


def _text(part: Mapping[str, Any]) -> bytes:
    return _base64(json.dumps(part, separators=(",", ":")).encode())


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
