#!/usr/bin/env bash
# Makes .venv from the hash-pinned files in requirements/ and installs this tree into it, editable.
# Called by the Makefile with PYTHON (the interpreter to use) and STAMP (the file that says "done").
set -euo pipefail

if ! command -v "$PYTHON" >/dev/null 2>&1; then
    echo "byokeep needs Python 3.11 or newer, and there is no $PYTHON here." >&2
    echo "Install it (Debian, Ubuntu: apt-get install python3 python3-venv) or name one: make PYTHON=/path/to/python3.12" >&2
    exit 1
fi
if ! "$PYTHON" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))'; then
    echo "byokeep needs Python 3.11 or newer; $PYTHON is $("$PYTHON" --version 2>&1)." >&2
    echo "Install a newer one (Debian 12, Ubuntu 24.04: apt-get install python3 python3-venv)," >&2
    echo "or name one that you have: make PYTHON=/path/to/python3.12" >&2
    exit 1
fi

total=$(grep -cE '^[A-Za-z0-9._-]+==' requirements/dev.txt)
began=$SECONDS
step() { echo "byokeep is getting ready, step $1 of 4: $2" >&2; }
installed() { find .venv/lib/python*/site-packages -maxdepth 1 -name '*.dist-info' 2>/dev/null | wc -l; }
# Downloads may take a minute: whoever waits sees that it goes on.
count() {
    local pause=2
    while sleep $pause >/dev/null 2>&1; do
        [ -t 2 ] || pause=15 # a log keeps every line
        echo "    $(installed) of $total packages installed after $((SECONDS - began)) s" >&2
    done
}

step 1 ".venv of $("$PYTHON" --version)"
make_venv() { "$PYTHON" -m venv --clear .venv >/dev/null 2>&1; }
# A half-made environment, or one whose interpreter is gone, is made again; a good one is brought up to date.
if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    if ! make_venv && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "python3-venv is missing: installing it with apt-get"
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv; } >/dev/null </dev/null
        make_venv || true
    fi
    if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        echo "$PYTHON -m venv does not work here. Install python3-venv (apt-get install python3-venv) and try again." >&2
        exit 1
    fi
fi

export UV_PYTHON_DOWNLOADS=never
python=.venv/bin/python
rm -f .venv/.stamp-*
step 2 "pip and uv, of pinned versions"
$python -m pip install --quiet --disable-pip-version-check --no-input --root-user-action=ignore \
    --require-hashes -r requirements/bootstrap.txt
step 3 "$total packages, of pinned versions, all downloaded before one is installed"
count &
counting=$!
trap 'kill $counting 2>/dev/null || true' EXIT
.venv/bin/uv pip install --quiet --python "$python" --require-hashes -r requirements/dev.txt
kill $counting
step 4 "byokeep itself"
# The build backend is pinned in dev.txt too, so building this tree downloads nothing.
.venv/bin/uv pip install --quiet --python "$python" --no-deps --no-build-isolation \
    --editable src/byokeep_redact --editable src/byokeep_sim --editable .
touch "$STAMP"
echo "byokeep is ready: $(installed) packages in .venv, $((SECONDS - began)) s" >&2
