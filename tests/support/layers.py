"""Which proofs each provider's adapter has passed, found out from the tests themselves; the table in docs/providers.md.

python -m tests.support.layers docs/providers.md
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from automator67.engine.places.fleet import ADAPTERS
from tests.support.cloudrun_api import CloudRunApi
from tests.support.database_apis import NeonApi, SupabaseApi
from tests.support.koyeb_api import KoyebApi
from tests.support.name_apis import CloudflareApi, DesecApi
from tests.support.render_api import RenderApi

TESTS = Path(__file__).parents[1]
BEGIN, END = "<!-- proofs: made by python -m tests.support.layers -->", "<!-- end of proofs -->"
DOCUMENTS = {
    "render": "Render's OpenAPI document of 2026-08", "koyeb": "Koyeb's Swagger document of 2026-07",
    "cloudrun": "Google's discovery document of 2026-10", "cloudflare": "Cloudflare's OpenAPI document of 2026-08",
    "neon": "Neon's OpenAPI document of 2025-03", "supabase": "Supabase's OpenAPI document of 2026-06",
}  # fmt: skip
STAND_INS = {
    "render": RenderApi, "koyeb": KoyebApi, "cloudrun": CloudRunApi, "cloudflare": lambda: CloudflareApi("example.org"),
    "desec": lambda: DesecApi("example.org"), "neon": NeonApi, "supabase": SupabaseApi, "duckdns": None,
}  # fmt: skip


def table() -> str:
    """Return the table, one line for each kind of account."""
    whole = (TESTS / "e2e" / "test_providers.py").read_text()
    recorded = "".join((TESTS / "unit" / name).read_text() for name in ("test_recorded.py", "test_databases.py"))
    live = "".join(path.read_text() for path in (TESTS / "live").glob("test_*.py"))
    lines = [
        "| | every call held to | recorded answers | with engine and Caddy | the real service |",
        "|---|---|---|---|---|",
    ]
    for kind, make in STAND_INS.items():
        described = make is not None and make().standin.described is not None
        cells = [
            DOCUMENTS[kind] if described else "no description is published",
            "read" if f'"{kind}/cassettes' in recorded.replace('f"', '"') else "none",
            "yes" if re.search(rf'"{kind}1?"', whole) else "no",
            "a test is there, never run" if f'"{kind}"' in live else "never",
        ]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def written(text: str) -> str:
    """Return the document with the table as it should be."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}"


def missing() -> set[str]:
    """Return the kinds of places that speak to a provider's API and have no stand-in here."""
    return set(ADAPTERS) - {"swarm"} - set(STAND_INS)


if __name__ == "__main__":
    document = Path(sys.argv[1])
    document.write_text(written(document.read_text()))
