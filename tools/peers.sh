#!/usr/bin/env bash
# Makes .venv-peers, the programs that `make bench` measures the redactor and the sealing against. Called with PYTHON.
# What cannot be had is named in the table as not measured; it is never counted as beaten.
set -euo pipefail
stamp=.venv-peers/.stamp-$(cksum <requirements/peers.txt | cut -d' ' -f1)
if [ ! -e "$stamp" ]; then
    "$PYTHON" -m venv --clear .venv-peers >/dev/null
    .venv/bin/uv pip install --quiet --python .venv-peers/bin/python --require-hashes -r requirements/peers.txt
    touch "$stamp"
fi
as_root=(); [ "$(id -u)" = 0 ] || as_root=(sudo -n)
for program in gitleaks age zstd; do
    if ! command -v "$program" >/dev/null 2>&1 && command -v apt-get >/dev/null 2>&1; then
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$program" \
            >/dev/null 2>&1 </dev/null || echo "$program could not be installed: apt-get install $program" >&2
    fi
done
