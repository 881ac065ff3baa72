"""``pip install .`` into a clean environment: one command, two names, one folder in site-packages, all files there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {"example-config-repo": "example"}
"""Folders of the repository whose name cannot be an import name."""

RUNTIME = (".py", "py.typed", ".json", ".html", ".css", ".js", ".svg", ".mako")
"""How the names of files end that are needed at run time."""

NO_INDEX = re.compile(r"\(from versions: none\)|NewConnectionError|ConnectTimeout|Could not fetch URL")
"""What pip says when it reaches no index; a version that does not exist reads differently."""


def source_files() -> list[str]:
    """Return the project's files as git knows them, since only those are released."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return [line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment into which the project was installed from a copy of its files."""
    folder = tmp_path_factory.mktemp("install")
    source, env = folder / "source", folder / "env"
    for name in source_files():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, source / name)
    subprocess.run([sys.executable, "-m", "venv", str(env)], check=True, stdin=subprocess.DEVNULL)
    done = subprocess.run(
        [str(env / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "."],
        cwd=source, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=540,
    )  # fmt: skip
    if done.returncode and NO_INDEX.search(done.stderr):
        pytest.skip("pip reaches no package index from this machine")
    assert done.returncode == 0, done.stderr[-4000:]
    return env


def site_packages(env: Path) -> Path:
    return next((env / "lib").glob("python3.*/site-packages"))


def run(env: Path, *command: str, cwd: Path | None = None) -> str:
    """Run a command of the environment, away from the sources, and return what it prints."""
    done = subprocess.run(
        [str(env / "bin" / command[0]), *command[1:]],
        cwd=cwd or env, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["automator67", "a67"])
def test_one_command_under_two_names(installed: Path, name: str) -> None:
    assert run(installed, name, "--version") == "automator67, version 0.1.0\n"


def test_nothing_but_our_own_name_appears_in_site_packages(installed: Path) -> None:
    record = (site_packages(installed) / "automator67-0.1.0.dist-info" / "RECORD").read_text().splitlines()
    paths = [line.split(",")[0] for line in record]
    assert {p for p in paths if p.startswith("..")} == {"../../../bin/automator67", "../../../bin/a67"}
    assert {p.split("/")[0] for p in paths if not p.startswith("..")} == {"automator67", "automator67-0.1.0.dist-info"}
    assert not (site_packages(installed) / "automator67" / "__init__.py").exists(), "other projects may share the name"


def test_every_file_of_the_rooms_is_installed(installed: Path) -> None:
    there = site_packages(installed) / "automator67"
    rooms = ("agent", "engine", "schemas", "ui", "webhooks", *FOLDERS)
    wanted = [Path(f) for f in source_files() if f.split("/")[0] in rooms and f.endswith(RUNTIME)]
    wanted += [Path(f) for f in source_files() if f.split("/")[0] in FOLDERS]
    missing = [
        str(f) for f in wanted if not (there / FOLDERS.get(f.parts[0], f.parts[0]) / Path(*f.parts[1:])).is_file()
    ]
    assert len(wanted) > 100
    assert missing == []


def test_what_is_installed_works_without_the_sources(installed: Path, tmp_path: Path) -> None:
    example = site_packages(installed) / "automator67" / "example"
    copy = tmp_path / "cloud"
    shutil.copytree(example, copy)
    assert "no problems" in run(installed, "automator67", "validate", str(copy), cwd=tmp_path).lower()
    assert "replicas" in run(installed, "automator67", "explain", "app.replicas", cwd=tmp_path)
    assert "automator67" in run(installed, "python", "-m", "automator67.agent", "--help", cwd=tmp_path)


def test_the_licence_comes_along(installed: Path) -> None:
    licences = site_packages(installed) / "automator67-0.1.0.dist-info" / "licenses"
    assert (licences / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
