#!/usr/bin/env bash
# Installs strace, with which a test watches what an export of a profile opens for writing, when this machine has none.
# Called by the Makefile after .venv is made.
set -euo pipefail

if command -v strace >/dev/null 2>&1; then exit 0; fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
as_root=()
if [ "$(id -u)" != 0 ]; then as_root=(sudo -n); fi
install() {
    "${as_root[@]}" apt-get update -qq &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends strace
}
if command -v apt-get >/dev/null 2>&1; then
    echo "strace is missing: installing it with apt-get"
    install >"$log" 2>&1 </dev/null || true
    if command -v strace >/dev/null 2>&1; then exit 0; fi
    tail -n 5 "$log" >&2
fi
echo "The tests need strace, and it could not be installed from here." >&2
echo "Install it (Debian: apt-get install --no-install-recommends strace) and try again." >&2
exit 1
