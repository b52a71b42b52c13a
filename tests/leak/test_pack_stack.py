"""`byokeep leaks pack` against a real stack."""

from __future__ import annotations

import pytest

from tests.support.cli import Shell
from tests.support.stack import running_stack


@pytest.mark.timeout(240)
@pytest.mark.req("R8.3-6")
async def test_a_real_stack_is_clean() -> None:
    """All routes of a real `byokeep web`, its logs, spans, database, store and audit: clean, and nothing changed."""
    async with running_stack() as world:
        before = await world.sql("SELECT count(*) FROM byokeep.subject")
        ran = await Shell(world.home).run("leaks", "pack", "--json", token=world.token_file("admin"), within_s=200)
        assert ran.code == 0, ran.said
        assert set({place["place"] for place in ran.document["places"]}) >= {
            "answers",
            "logs and spans",
            "database",
            "store",
            "store audit",
            "checkpoints",
        }
        assert next(one["looked_at"] for one in ran.document["places"] if one["place"] == "answers") > 150
        assert await world.sql("SELECT count(*) FROM byokeep.subject") == before
