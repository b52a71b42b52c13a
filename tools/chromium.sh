#!/usr/bin/env bash
# Installs the Chromium that the browser tests drive, from the distribution, when this machine has none; and its headless
# shell, in which tests of pages take less time, where the distribution has one. Called by the Makefile after .venv is made.
set -euo pipefail

found() { .venv/bin/python -c 'from byokeep.chromium import find_chromium; find_chromium()' 2>/dev/null; }
shell=chromium-headless-shell
wanted() { ! command -v "$shell" >/dev/null 2>&1 && apt-cache show "$shell" >/dev/null 2>&1; }
if found && ! wanted; then exit 0; fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
as_root=()
if [ "$(id -u)" != 0 ]; then as_root=(sudo -n); fi
get() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; }
install() { "${as_root[@]}" apt-get update -qq && { get chromium "$shell" || get chromium; }; }
if found; then  # which is enough: nobody waits long for the shell
    get -o Acquire::Retries=0 -o Acquire::http::Timeout=10 "$shell" >"$log" 2>&1 </dev/null || true
    exit 0
fi
if command -v apt-get >/dev/null 2>&1; then
    echo "Chromium is missing: installing it with apt-get"
    install >"$log" 2>&1 </dev/null || true
    if found; then exit 0; fi
    tail -n 5 "$log" >&2
fi
echo "The tests need Chromium, and it could not be installed from here." >&2
echo "Install it (Debian: apt-get install --no-install-recommends chromium) and try again." >&2
exit 1
