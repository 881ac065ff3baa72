"""What is wrong with a file of the config repository: where, what, and what to write instead."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem. ``line`` and ``column`` count from 1; ``path`` is the place in the document, such as ``env.DB``.

    ``code`` is stable, for programs; ``hint`` says what to write instead.
    """

    code: str
    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}: "
        place = f"{self.path}: " if self.path else ""
        text = f"{where}{place}{self.message}" + (f"; {self.hint}" if self.hint else "")
        # Names of files and keys come from outside; one line must stay one, and not move a terminal's cursor.
        return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)

    def as_data(self) -> dict[str, Any]:
        """Return the problem as plain data for JSON."""
        return asdict(self)
