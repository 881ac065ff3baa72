"""Sealing and opening 1,000 secrets, against what the same cryptography costs without our files around it.

    python -m tests.bench.bench_secrets

Bar: both together below 1 s. The peers do, 1,000 times each, plain HPKE with the same suite, and X25519 with
AES-256-GCM by hand.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from automator67.engine.secrets.keys import PrivateKey
from automator67.engine.secrets.redaction import Redactor
from automator67.engine.secrets.sealing import open_sealed, read_sealed_file, seal

COUNT = 1_000
BAR_SECONDS = 1.0


def best(work: Callable[[], object], runs: int = 3) -> float:
    """Return the shortest of some runs, in seconds."""
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)


def main() -> int:
    """Print the figures; return 1 when the bar is missed."""
    key = PrivateKey.new()
    values = [os.urandom(32).hex().encode() for _ in range(COUNT)]
    names = [f"secret-{n}" for n in range(COUNT)]
    texts: list[bytes] = []

    def sealing() -> None:
        texts[:] = [seal(key.public, "home", n, v).encode() for n, v in zip(names, values, strict=True)]

    def opening() -> None:
        for name, text, value in zip(names, texts, values, strict=True):
            assert open_sealed(key, read_sealed_file(name, text), "home", name, name) == value

    suite = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)

    def plain_hpke() -> None:
        for value in values:
            assert suite.decrypt(suite.encrypt(value, key.public.hpke, b"info"), key.hpke, b"info") == value

    static = X25519PrivateKey.generate()

    def by_hand() -> None:
        for value in values:
            for _ in range(2):
                shared = X25519PrivateKey.generate().exchange(static.public_key())
                AESGCM(shared).encrypt(bytes(12), value, None)

    sealed, opened = best(sealing), best(opening)
    peer, hand = best(plain_hpke), best(by_hand)
    total = sealed + opened
    redactor = Redactor()
    for name, value in zip(names, values, strict=True):
        redactor.learn(name, value)
    lines = [f"2026-01-31 12:00:00 GET /items/{n} 200 in 12 ms for user {n % 97} at 192.0.2.7" for n in range(20_000)]
    texts_of = [best(lambda: [redactor.text(line) for line in lines]), best(lambda: [json.dumps(x) for x in lines])]
    print(f"sealing {COUNT}: {sealed * 1000:.0f} ms; opening {COUNT}: {opened * 1000:.0f} ms (bar together 1 s)")
    print(f"plain HPKE, the same suite: {peer * 1000:.0f} ms; ours is {total / peer:.2f} x")
    print(f"X25519 and AES-256-GCM by hand: {hand * 1000:.0f} ms; ours is {total / hand:.2f} x")
    mine, other = (len(lines) / seconds for seconds in texts_of)
    print(f"log lines looked through for {COUNT} values: {mine:,.0f} a second; written as JSON: {other:,.0f} a second")
    return 0 if total < BAR_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
