"""How far a copy is, on the terminal."""

from __future__ import annotations

import time

import click

from automator67.schemas.units import human_bytes


class Progress:
    """Counts files and bytes; a line on standard error shows them twice a second, unless ``silent``."""

    def __init__(self, silent: bool) -> None:
        self._silent = silent
        self._files, self._bytes, self.skipped = 0, 0, 0
        self._began = self._shown = time.monotonic()

    def moved(self, count: int) -> None:
        """Count bytes."""
        self._bytes += count
        now = time.monotonic()
        if not self._silent and now - self._shown > 0.5:
            self._shown = now
            click.echo(f"\r\x1b[K{self._line()}", err=True, nl=False)

    def done(self, source: str, target: str) -> None:
        """Count a file."""
        self._files += 1
        if not self._silent:
            click.echo(f"\r\x1b[K{source} -> {target}", err=True)

    def end(self, dry_run: bool) -> None:
        """Say what was done."""
        there = f", {self.skipped} were there already" if self.skipped else ""
        if dry_run:
            click.echo(f"would copy {self._files} files{there}", err=True)
        else:
            click.echo(f"copied {self._line()}{there}", err=True)

    def _line(self) -> str:
        rate = self._bytes / max(0.001, time.monotonic() - self._began)
        files = "1 file" if self._files == 1 else f"{self._files} files"
        return f"{files}, {human_bytes(self._bytes)}, {human_bytes(int(rate))}/s"
