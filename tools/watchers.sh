#!/usr/bin/env bash
# Installs what tests watch with, when this machine lacks it: strace (what an export of a profile opens for writing) and
# Tesseract (what can be read in a proof's picture); and PgBouncer, which must be refused as a database. Called by the Makefile after .venv is made.
set -euo pipefail

found() {
    command -v strace >/dev/null 2>&1 && command -v tesseract >/dev/null 2>&1 &&
        { command -v pgbouncer >/dev/null 2>&1 || [ -x /usr/sbin/pgbouncer ]; } &&
        tesseract --list-langs 2>/dev/null | grep -qx eng
}
if found; then exit 0; fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
as_root=()
if [ "$(id -u)" != 0 ]; then as_root=(sudo -n); fi
packages=(strace tesseract-ocr tesseract-ocr-eng pgbouncer)
install() {
    "${as_root[@]}" apt-get update -qq &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
}
if command -v apt-get >/dev/null 2>&1; then
    echo "strace, Tesseract or PgBouncer is missing: installing them with apt-get"
    install >"$log" 2>&1 </dev/null || true
    if found; then exit 0; fi
    tail -n 5 "$log" >&2
fi
echo "The tests need strace, Tesseract with English and PgBouncer, and they could not be installed from here." >&2
echo "Install them (Debian: apt-get install --no-install-recommends ${packages[*]}) and try again." >&2
exit 1
