"""A pooler between us and PostgreSQL: refused when connecting, with the reason."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from byokeep.adapters.postgres.database import PostgresDatabase
from byokeep.core.errors import Unavailable

POOLER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@pytest.mark.parametrize("mode", ["transaction", "session"])
async def test_a_real_pgbouncer_is_refused_with_the_reason(mode: str) -> None:
    """It takes no `options`, which carry our schemas and time limits: the error names the pooler, not a dead server."""
    place = Path(tempfile.mkdtemp(prefix="bk-", dir="/tmp"))
    place.chmod(0o777)
    (place / "users.txt").write_text('"byokeep_web" ""\n')
    user = "user = nobody\n" if os.geteuid() == 0 else ""
    (place / "p.ini").write_text(
        f"[databases]\nbyokeep = host={place} port=5999\n[pgbouncer]\nlisten_port = 6432\nunix_socket_dir = {place}\n"
        f"auth_type = any\nauth_file = {place}/users.txt\npool_mode = {mode}\n{user}"
    )
    process = await asyncio.create_subprocess_exec(str(POOLER), "-q", str(place / "p.ini"))
    try:
        for _ in range(200):
            if (place / ".s.PGSQL.6432").exists():
                break
            await asyncio.sleep(0.05)
        db = PostgresDatabase(f"postgresql+psycopg://byokeep_web@/byokeep?host={place}&port=6432")
        with pytest.raises(Unavailable) as refused:
            await db.ping()
        assert refused.value.code == "database_behind_pooler"
        await db.close()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        shutil.rmtree(place, ignore_errors=True)
