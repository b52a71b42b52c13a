#!/usr/bin/env bash
# Installs SoftHSM, the hardware module in software that the tests of PKCS#11 drive, from the distribution, when this
# machine has none. Called by the Makefile after .venv is made.
set -euo pipefail

found() {
    command -v softhsm2-util >/dev/null 2>&1 || return 1
    for module in /usr/lib/softhsm /usr/lib64/pkcs11 /usr/local/lib/softhsm /opt/homebrew/lib/softhsm; do
        if [ -e "$module/libsofthsm2.so" ]; then return 0; fi
    done
    return 1
}
if found; then exit 0; fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
as_root=()
if [ "$(id -u)" != 0 ]; then as_root=(sudo -n); fi
install() {
    "${as_root[@]}" apt-get update -qq &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends softhsm2
}
if command -v apt-get >/dev/null 2>&1; then
    echo "SoftHSM is missing: installing it with apt-get"
    install >"$log" 2>&1 </dev/null || true
    if found; then exit 0; fi
    tail -n 5 "$log" >&2
fi
echo "The tests need SoftHSM 2, and it could not be installed from here." >&2
echo "Install it (Debian: apt-get install --no-install-recommends softhsm2) and try again." >&2
exit 1
