"""A session's cookies, followed through login, seal, proof, new key and restore: they stand nowhere but in the room."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest

from byokeep.core.errors import Rejected
from byokeep.core.sealed_record import ArtifactKey
from byokeep_redact.canary import Canary
from byokeep_redact.search import Sweep
from tests.support.vault import Vault

pytest_plugins = [
    "tests.support.postgres_fixtures",
    "tests.support.broker",
    "tests.support.web",
    "tests.support.vault",
]
MAGICS = (
    b"SQLite format 3\0",
    b"PK\x03\x04",
    b"ustar",
    b"byokeep-profile/1",
    b"byokeep-browser-state",
    b"\x57\xfb\x80\x8b\x24\x75\x47\xdb",  # the end of a table of LevelDB
)


@pytest.mark.req("R2.1-10", "R2.1-11")
async def test_a_session_s_cookies_stand_in_the_room_alone(vault: Vault) -> None:
    """Logs, spans, database, artifact store and every file of the stack: searched in every encoding, nothing found."""
    cookie = f"session-{secrets.token_hex(24)}".encode()
    state = b'{"format":"byokeep-browser-state","cookies":[{"name":"sid","value":"' + cookie + b'"}]}'
    session = b"".join(MAGICS) + state * 50
    client, profile = await vault.valid(session=session)
    assert await vault.done(profile, "rekey") == "rekeyed"
    assert await vault.done(profile, "restore", {"generation": 1}) == "restored"
    assert all(one == session for one in vault.rooms.visible)
    assert vault.rooms.visible
    sweep = Sweep([Canary("cookie", cookie)])
    looked = [("database", _rows(vault)), ("secret store", await vault.record(client, profile))]
    looked += [(str(path), path.read_bytes()) for path in vault.desk.stand.home.rglob("*") if path.is_file()]
    assert len(looked) > 5
    for name, content in looked:
        report = sweep.scan_bytes(content, source=name)
        assert not report.findings, name
    for blob in vault.blobs():
        content = blob.read_bytes()
        assert content.startswith(b"BYOKSEAL")
        assert not any(magic in content for magic in MAGICS)
    # What is not sealed is not stored, whatever it is.
    for magic in (*MAGICS, b"\x1f\x8b", b"(\xb5/\xfd", b""):
        key = ArtifactKey(client_id=client, profile_id=profile, generation=9, random=secrets.token_hex(16))
        with pytest.raises(Rejected, match="not_sealed"):
            await vault.app.artifacts.put(client, key, _stream(magic + session if magic else b""))
    # The control: the same search finds it where it is.
    assert sweep.scan_bytes(session, source="control").findings


async def _stream(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _rows(vault: Vault) -> bytes:
    """Every row of every table that a profile touches, as text."""
    tables = vault.sql(
        "SELECT string_agg(quote_ident(table_schema) || '.' || quote_ident(table_name), ' ') FROM"
        " information_schema.tables WHERE table_schema IN ('byokeep', 'procrastinate') AND table_type = 'BASE TABLE'"
    )
    return "\n".join(
        vault.sql(f"SELECT string_agg(t::text, ' ') FROM {table} t")  # noqa: S608 - names of tables
        for table in tables.split()
    ).encode()
