"""The agent's commands and options. By hand, because the resident process starts here and must stay small."""

from __future__ import annotations

import os
import sys

USAGE = """\
The automator67 agent: runs on a node and keeps it as its cloud's git repository wants it.

  python -m automator67.agent join URL TOKEN [--state DIR] [--install | --run] [run's options]
      Join a cloud: URL is the engine's address (https://HOST:6767), TOKEN what 'automator67 node token NAME' printed,
      or - to read it from standard input. Prints every step. --install makes it a systemd service, --run runs it.
  python -m automator67.agent run [options]
      Be the agent.
  python -m automator67.agent purge [--volumes] [options]
      Remove all containers and processes that this agent runs; with --volumes their data too.
  python -m automator67.agent unit [options]
      Print a systemd unit.

Options:
  --state DIR             what the agent keeps (default: /var/lib/automator67-agent)
  --runtime WHAT          auto, docker, process or both (default: auto: docker where a Docker Engine is)
  --docker-socket PATH    the Docker Engine's socket (default: /var/run/docker.sock)
  --policy PATH           what apps may have of this machine (default: policy.toml in the state directory)
  --proxy [HOST]:PORT     where this node's proxy listens for gateways (default: :6768; port 0: any that is free)
  --http [HOST]:PORT      where a gateway listens for plain HTTP (default: :80)
  --https [HOST]:PORT     where a gateway listens for HTTPS (default: :443)
  --acme URL              the directory of who gives certificates for public names (default: Let's Encrypt)
  --acme-root FILE        the root certificate of that directory, where it is not a public one
  --name-prefix TEXT      what names of containers and volumes begin with (default: a67-, or a67-CLOUD-)
"""
_VALUED = {
    "--state": "/var/lib/automator67-agent",
    "--runtime": "auto",
    "--docker-socket": "/var/run/docker.sock",
    "--policy": "",
    "--name-prefix": "",
    "--proxy": ":6768",
    "--http": ":80",
    "--https": ":443",
    "--acme": "",
    "--acme-root": "",
}
_FLAGS = {"join": ("--install", "--run"), "purge": ("--volumes",), "run": (), "unit": ()}
_ARGUMENTS = {"join": 2, "run": 0, "purge": 0, "unit": 0}
_RUNTIMES = ("auto", "docker", "process", "both")
_PREFIX = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


class UsageError(Exception):
    """The command line is wrong; the text says how."""


class Arguments:
    """A parsed command line."""

    def __init__(self, command: str, positional: list[str], values: dict[str, str], flags: set[str]) -> None:
        self.command, self.positional, self.values, self.flags = command, positional, values, flags


def parse(argv: list[str]) -> Arguments:
    """Return what the command line says. Raises UsageError."""
    command, rest = argv[0], argv[1:]
    if command not in _FLAGS:
        raise UsageError(f"there is no command {command!r}{_near(command, list(_FLAGS))}")
    values, flags, positional = dict(_VALUED), set(), []
    while rest:
        word, rest = rest[0], rest[1:]
        name, has_value, value = word.partition("=")
        if name in _VALUED:
            if not has_value:
                if not rest:
                    raise UsageError(f"{name} needs a value")
                value, rest = rest[0], rest[1:]
            values[name] = value
        elif word in _FLAGS[command]:
            flags.add(word)
        elif word.startswith("-") and word != "-":
            raise UsageError(f"{command} has no option {word}{_near(word, [*_VALUED, *_FLAGS[command]])}")
        else:
            positional.append(word)
    if len(positional) != _ARGUMENTS[command]:
        needed = "URL and TOKEN" if command == "join" else "no arguments"
        raise UsageError(f"{command} takes {needed}; {len(positional)} given")
    if values["--runtime"] not in _RUNTIMES:
        raise UsageError(
            f"--runtime must be one of {', '.join(_RUNTIMES)}{_near(values['--runtime'], list(_RUNTIMES))}"
        )
    for name in ("--proxy", "--http", "--https"):
        if ":" not in values[name] or not values[name].rpartition(":")[2].isdigit():
            raise UsageError(f"{name} must be [HOST]:PORT, such as :443 or 127.0.0.1:0")
    if not _PREFIX.issuperset(values["--name-prefix"]):
        raise UsageError("--name-prefix may have letters, digits, '-', '_' and '.' only")
    values["--state"] = os.path.abspath(values["--state"])
    values["--policy"] = os.path.abspath(values["--policy"]) if values["--policy"] else ""
    return Arguments(command, positional, values, flags)


def main(argv: list[str]) -> int:
    """Do what the command line says; return the exit code (0 well, 1 failed, 2 wrongly called)."""
    if not argv or argv[0] in ("-h", "--help", "help") or "--help" in argv:
        sys.stdout.write(USAGE)
        return 0
    if argv[0] == "--version":
        from automator67.agent import VERSION

        sys.stdout.write(f"automator67 agent {VERSION}\n")
        return 0
    try:
        arguments = parse(argv)
    except UsageError as e:
        sys.stderr.write(f"{e}\n'python -m automator67.agent --help' shows how it is called\n")
        return 2
    if arguments.command == "run":
        lean = f"{os.path.dirname(os.path.abspath(__file__))}/lean.py"
        # One arena: the threads of the agent wait, they do not compete for memory.
        environment = os.environ | {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "65536"}
        os.execve(sys.executable, [sys.executable, "-I", "-S", lean, *argv], environment)  # noqa: S606
    # What follows may be large: it is over soon.
    from automator67.agent import commands

    return commands.do(arguments)


def be_the_agent(argv: list[str]) -> int:
    """Run as the agent in this process, with a command line that ``main`` has checked; return the exit code."""
    from automator67.agent.resident import Options, run
    from automator67.agent.state import StateError

    v = parse(argv).values
    try:
        policy = v["--policy"] or f"{v['--state']}/policy.toml"
        edge = {
            "listen": {"proxy": v["--proxy"], "http": v["--http"], "https": v["--https"]},
            "acme": {"directory": v["--acme"], "root": v["--acme-root"]},
        }
        run(Options(v["--state"], v["--runtime"], v["--docker-socket"], v["--name-prefix"], policy, edge))
    except StateError as e:
        sys.stderr.write(f"{e}\n")
        return 1
    return 0


def _near(word: str, known: list[str]) -> str:
    import difflib

    found = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {found[0]}?)" if found else ""
