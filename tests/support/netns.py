"""Nodes in network namespaces of their own, joined by a bridge, whose links tests cut: both ways, or one."""

from __future__ import annotations

import secrets
import subprocess
from types import TracebackType
from typing import Literal


def _run(*argv: str, check: bool = True) -> None:
    subprocess.run(argv, check=check, capture_output=True)


class Net:
    """A bridge on this machine (``host`` is our address there) and a namespace for each node. Needs root."""

    def __init__(self, nodes: tuple[str, ...]) -> None:
        self._tag = secrets.token_hex(2)
        self._bridge = f"a67b{self._tag}"
        low = secrets.randbelow(200) + 20
        self.host = f"10.67.{low}.1"
        self._nodes = nodes
        try:
            _run("ip", "link", "add", self._bridge, "type", "bridge")
            _run("ip", "addr", "add", f"{self.host}/24", "dev", self._bridge)
            _run("ip", "link", "set", self._bridge, "up")
            for number, node in enumerate(nodes):
                name, outer = self._names(node)
                _run("ip", "netns", "add", name)
                _run("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", name)
                _run("ip", "link", "set", outer, "master", self._bridge, "up")
                self._inside(node, "ip", "link", "set", "lo", "up")
                self._inside(node, "ip", "addr", "add", f"10.67.{low}.{number + 10}/24", "dev", "eth0")
                self._inside(node, "ip", "link", "set", "eth0", "up")
        except BaseException:
            self.close()
            raise

    def command(self, node: str) -> list[str]:
        """Return what runs a command in a node's namespace."""
        return ["ip", "netns", "exec", self._names(node)[0]]

    def cut(self, node: str, which: Literal["both", "in", "out"] = "both") -> None:
        """Let nothing pass to the node (``in``), from it (``out``), or at all."""
        if which in ("both", "in"):
            self._inside(node, "iptables", "-A", "INPUT", "-i", "eth0", "-j", "DROP")
        if which in ("both", "out"):
            self._inside(node, "iptables", "-A", "OUTPUT", "-o", "eth0", "-j", "DROP")

    def heal(self, node: str) -> None:
        """Let everything pass again."""
        self._inside(node, "iptables", "-F")

    def close(self) -> None:
        """Take everything away."""
        for node in self._nodes:
            name, outer = self._names(node)
            _run("ip", "link", "del", outer, check=False)
            _run("ip", "netns", "del", name, check=False)
        _run("ip", "link", "del", self._bridge, check=False)

    def __enter__(self) -> Net:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def _names(self, node: str) -> tuple[str, str]:
        number = self._nodes.index(node)
        return f"a67n{self._tag}{number}", f"a67v{self._tag}{number}"

    def _inside(self, node: str, *argv: str) -> None:
        _run(*self.command(node), *argv)
