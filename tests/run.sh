#!/usr/bin/env bash
# Sets up what the tests need and runs all of them. As root on Debian it installs packages and starts a Docker Engine
# when none answers (and ends it afterwards); elsewhere it says what will be skipped, and why.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(docker.io chromium openssh-client openssh-server gnupg git busybox-static iproute2 iptables python3-venv make)

have() { command -v "$1" >/dev/null 2>&1; }

install_packages() {
  local missing=()
  for package in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  echo "installing ${missing[*]} ..."
  apt-get update -qq >/dev/null
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

docker_answers() { docker_socket_answers /var/run/docker.sock; }

docker_socket_answers() {
  [ -S "$1" ] && python3 - "$1" <<'PY'
import socket, sys
s = socket.socket(socket.AF_UNIX); s.settimeout(3)
try:
    s.connect(sys.argv[1]); s.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
    sys.exit(0 if b"OK" in s.recv(4096) else 1)
except OSError:
    sys.exit(1)
PY
}

engine_pid=""
start_docker() {
  docker_answers && return
  have dockerd || return 0
  echo "starting a Docker Engine ..."
  dockerd >/tmp/dockerd-for-tests.log 2>&1 &
  engine_pid=$!
  for _ in $(seq 100); do docker_answers && return; sleep 0.3; done
  echo "the Docker Engine did not start:"; tail -5 /tmp/dockerd-for-tests.log
}
finish() { [ -z "$engine_pid" ] || { kill "$engine_pid" && wait "$engine_pid"; } 2>/dev/null || true; }
trap finish EXIT

if [ "$(id -u)" = 0 ] && have apt-get; then
  install_packages
  start_docker
fi
docker_answers && export A67_REQUIRE_DOCKER=1 || echo "skipped: tests with containers, since no Docker Engine answers"
have chromium && export A67_REQUIRE_BROWSER=1 || echo "skipped: tests in a browser, since chromium is not installed"
[ "$(id -u)" = 0 ] || echo "skipped: tests that need root (full disks, other users, network namespaces)"

make --no-print-directory .venv/.test
.venv/bin/python -m pytest "$@"
