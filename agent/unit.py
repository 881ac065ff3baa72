"""The systemd unit that runs the agent on a node."""

from __future__ import annotations

_COMMON = """\
[Unit]
Description=automator67 agent
Wants=network-online.target docker.service
After=network-online.target docker.service time-sync.target

[Service]
Type=notify
NotifyAccess=main
ExecStart={python} -P -m automator67.agent run --state {state} --runtime {runtime}{more}
Restart=always
RestartSec=1
# Frozen, it would leave its node silent for ever.
WatchdogSec=25
OOMScoreAdjust=-900
# Apps of the process runtime are its children: they outlive it, as containers do.
KillMode=process
UMask=0077
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths={state}
# For secrets as files: a directory below /run, which stays when the agent is restarted.
RuntimeDirectory=automator67-agent
RuntimeDirectoryMode=0711
RuntimeDirectoryPreserve=yes
PrivateTmp={private_tmp}
ProtectHome=read-only
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectClock=yes
ProtectHostname=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
CapabilityBoundingSet={capabilities}
"""
_DOCKER_ONLY = """\
MemoryMax=192M
RestrictNamespaces=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
"""
_WITH_PROCESSES = """\
# It gives each process a cgroup of its own below this service's.
Delegate=yes
"""
_INSTALL = """
[Install]
WantedBy=multi-user.target
"""


def unit(python: str, state: str, runtime: str, more: str = "") -> str:
    """Return the text of the unit; ``more`` are further options of ``run``.

    With the process runtime the apps run below this service and share what confines it; so it is confined less
    then: it must change users, set limits, and leave /tmp to the apps.
    """
    docker_only = runtime == "docker"
    head = _COMMON.format(
        python=quoted(python),
        state=quoted(state),
        runtime=runtime,
        more=f" {more}" if more else "",
        private_tmp="yes" if docker_only else "no",
        capabilities="CAP_CHOWN"
        if docker_only
        else "CAP_SETUID CAP_SETGID CAP_KILL CAP_CHOWN CAP_DAC_OVERRIDE CAP_SYS_RESOURCE",
    )
    return head + (_DOCKER_ONLY if docker_only else _WITH_PROCESSES) + _INSTALL


def quoted(text: str) -> str:
    """Return text as one word of a unit file."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if any(c in text for c in ' "\\') else escaped
