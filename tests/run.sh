#!/usr/bin/env bash
# Sets up what the tests need and runs all of them; arguments go to pytest. As root on Debian it installs packages and
# starts a Docker Engine when none answers (and ends it afterwards); elsewhere it says what is skipped, and why.
set -euo pipefail
cd "$(dirname "$0")/.."

# Packet filters and the like are in sbin, which not every path has.
export PATH="$PATH:/usr/sbin:/sbin"
packages=(docker.io restic curl docker-registry apache2-utils chromium openssh-client openssh-server gnupg git busybox-static iproute2 iptables python3-venv postgresql-client)
engine_pid=""

have() { command -v "$1" >/dev/null 2>&1; }
skipped() { echo "skipped: $1"; }

install_packages() {
  local missing=() package
  for package in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  echo "installing ${missing[*]} ..."
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } </dev/null >/dev/null ||
    skipped "whatever needs ${missing[*]}: apt-get could not install them"
}

docker_answers() {
  [ -S /var/run/docker.sock ] && "${PYTHON:-python3}" - <<'PY'
import socket, sys
try:
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20)
        s.connect("/var/run/docker.sock")
        s.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
        sys.exit(b" 200 " not in s.recv(64))
except OSError:
    sys.exit(1)
PY
}

# Some machines (containers, small virtual ones) allow neither overlay file systems nor packet filters.
start_docker() {
  local log options
  have dockerd && ! docker_answers || return 0
  log=$(mktemp)
  for options in "" "--storage-driver=vfs" "--storage-driver=vfs --iptables=false --ip6tables=false"; do
    echo "starting a Docker Engine${options:+ with $options} ..."
    # shellcheck disable=SC2086
    dockerd $options </dev/null >"$log" 2>&1 &
    engine_pid=$!
    for _ in $(seq 150); do
      docker_answers && return 0
      kill -0 "$engine_pid" 2>/dev/null || break
      sleep 0.2
    done
    stop_docker
  done
  echo "it does not start here: $(grep -iE 'fail|error' "$log" | tail -1 | cut -c1-300)"
}

stop_docker() {
  [ -n "$engine_pid" ] || return 0
  kill "$engine_pid" 2>/dev/null || true
  wait "$engine_pid" 2>/dev/null || true
  engine_pid=""
}
trap stop_docker EXIT

if [ "$(id -u)" = 0 ] && have apt-get; then
  install_packages
  start_docker
fi

if docker_answers; then export A67_REQUIRE_DOCKER=1; else skipped "tests with containers: no Docker Engine answers"; fi
if have chromium; then export A67_REQUIRE_BROWSER=1; else skipped "tests in a browser: chromium is not installed"; fi
[ "$(id -u)" = 0 ] || skipped "tests that need root: full disks, other users, a private Docker Engine"

make --no-print-directory .venv/.test
# As pip does, npm shall trust whom the system trusts, not only whom it came with; without a network it gives up soon.
NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt timeout 120 .venv/bin/npm install --prefix .venv --no-save --silent --fetch-retries 1 \
  --fetch-timeout 20000 workerd@1.20261117.1 </dev/null >/dev/null 2>&1 ||
  skipped "the Worker in its real runtime: npm could not install workerd"
# Most tests wait for something most of the time: three at a time, a file's tests by the same process.
.venv/bin/python -m pytest -n 3 --dist loadfile "$@"
