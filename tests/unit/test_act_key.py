"""The form of an idempotency key: looked at where it is given, before anybody is asked."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from byokeep.client import ClientSettings, Keep
from byokeep.core.act_key import check_key, is_key
from byokeep.core.errors import Rejected

GOOD = ("post-0001", "a" * 8, "a" * 64, "2026-01-31T12:00:00", "A_b.c:d-")
BAD = ("", "short", "a" * 7, "a" * 65, "with blank", "ümlaut-key", "post-0001\n", "post/0001")


@pytest.mark.parametrize("key", GOOD)
def test_a_good_key_passes(key: str) -> None:
    """8 to 64 letters, digits and . _ : -"""
    assert is_key(key)
    check_key(key)


@pytest.mark.parametrize("key", BAD)
async def test_a_bad_key_is_refused_before_anything_else(key: str, tmp_path: Path) -> None:
    """With a code of its own and the rule, and without the key in it; no broker is asked."""
    assert not is_key(key)
    with pytest.raises(Rejected, match="bad_key") as refused:
        check_key(key)
    assert "8 to 64" in refused.value.next_step
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text("bkr_" + "A" * 43 + "\n")
    nobody = ClientSettings(broker_url="http://127.0.0.1:9", runner_token_file=token, attempts=1)
    async with Keep(nobody) as keep:
        with pytest.raises(Rejected, match="bad_key"):
            await keep.schedule(
                client=uuid4(), effect="publish", platform="x", account="acme", key=key, due_at=datetime.now(UTC)
            )
