#!/usr/bin/env bash
# Installs a PostgreSQL that lacks no known fix, when neither this system nor the pinned wheel has one and apt-get can:
# production refuses the others. No server is started from it. Called by the Makefile after .venv is made.
set -euo pipefail

current() {
    .venv/bin/python - <<'END'
from byokeep.adapters.postgres.embedded import installed, is_current, release_of

raise SystemExit(not is_current(release_of(installed() / "bin" / "postgres")))
END
}
if current; then exit 0; fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
as_root=()
if [ "$(id -u)" != 0 ]; then as_root=(sudo -n); fi
install() {
    # The package would make a cluster and start it, unless it is told not to.
    "${as_root[@]}" mkdir -p /etc/postgresql-common/createcluster.d &&
        echo 'create_main_cluster = false' | "${as_root[@]}" tee /etc/postgresql-common/createcluster.d/byokeep.conf &&
        "${as_root[@]}" apt-get update -qq &&
        for major in 18 17; do
            "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
                apt-get install -y -qq --no-install-recommends "postgresql-$major" && return
        done
}
if command -v apt-get >/dev/null 2>&1; then
    echo "PostgreSQL is missing, or lacks known fixes: installing one with apt-get"
    install >"$log" 2>&1 </dev/null || true
    if current; then exit 0; fi
    tail -n 5 "$log" >&2
fi
echo "Production needs PostgreSQL 18.6, 17.12 or later: here the tests see it refused, and see nothing more of it." >&2
