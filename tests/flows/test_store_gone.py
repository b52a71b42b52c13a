"""While the secret store does not answer the broker's probe, nothing is served and nothing acts; a kill works."""

from __future__ import annotations

import pytest

from tests.support.broker import Stand, StoreSeen

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]


@pytest.mark.req("R1.5-3")
async def test_without_the_store_there_is_no_yes(stand: Stand) -> None:
    """Heartbeat, permit and lease are refused and write nothing; a kill goes on; all is well when the store is back."""
    client = await stand.client("openai")
    stand.account(client)
    job = await stand.job(client)
    lease = str((await stand.lease(job))["lease_id"])
    assert (await stand.call("GET", f"/v1/leases/{lease}", "runner"))[0] == 200
    seen = stand.app.store_health
    assert isinstance(seen, StoreSeen)
    seen.gone = True
    leases, permits = "SELECT count(*) FROM byokeep.lease", "SELECT count(*) FROM byokeep.permit"
    before = stand.db.sql(leases)
    for status, reply in (
        await stand.call("GET", f"/v1/leases/{lease}", "runner"), await stand.permit(lease),
        await stand.call("POST", f"/v1/jobs/{job}/leases", "runner"),
    ):  # fmt: skip
        assert (status, reply["code"]) == (503, "store_unreachable")
    status, reply = await stand.call("GET", "/readyz")
    assert (status, reply["code"], reply["part"], reply["reason"]) == (503, "not_ready", "store", "store_unreachable")
    assert (stand.db.sql(leases), stand.db.sql(permits)) == (before, "0")
    seen.gone = False
    assert (await stand.call("GET", f"/v1/leases/{lease}", "runner"))[0] == 200
    assert (await stand.permit(lease))[0] == 201
    seen.gone = True
    kill = {"client_id": str(client), "reason": "suspected_leak"}
    assert (await stand.call("POST", "/v1/switches/close", "operator", kill))[0] == 200
