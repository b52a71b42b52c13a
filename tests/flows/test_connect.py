"""SOP 5.2 on real PostgreSQL and OpenBao: an account of every platform is connected, verified, and proved."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import pytest

from tests.support.connect import LOGINS, Office
from tests.support.social import ACCOUNTS

pytest_plugins = [
    "tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web", "tests.support.connect",
]  # fmt: skip


@pytest.mark.parametrize("login", LOGINS)
async def test_an_account_is_connected_and_proved(office: Office, login: str) -> None:
    """The set is in the store, the reference in the database, names as the platform says them, evidence complete."""
    client = await office.client()
    pick = {"pick": ACCOUNTS[login][0]["id"]} if login == "meta" else {}
    done = await office.connect(client, login, **pick)
    assert (done["state"], done["reason"]) == ("connected", "")
    grant = office.sql(f"SELECT external_id, state, version, drift FROM byokeep.account_grant WHERE login = '{login}'")
    assert grant == f"{ACCOUNTS[login][0]['id']}|live|1|f"
