"""The pictures that prove a profile: one that is not what it was is an alert, and none outlives its profile."""

from __future__ import annotations

from typing import Any

from tests.support.vault import Vault

pytest_plugins = [
    "tests.support.postgres_fixtures",
    "tests.support.broker",
    "tests.support.web",
    "tests.support.vault",
]


async def test_an_altered_picture_is_an_alert_and_a_shred_takes_all_away(vault: Vault) -> None:
    """The next validation says so and makes it anew; shredded, the pictures of that profile alone are removed."""
    proofs: Any = vault.app.proofs
    _, profile = await vault.valid()
    await vault.valid()
    assert "proof_altered" not in vault.desk.stand.alerts()
    proofs.are_altered, kept = True, len(proofs.kept)
    await vault.done(profile, "validate")
    assert vault.state(profile) == "valid/1"
    assert len(proofs.kept) == kept + 1
    assert vault.desk.stand.alerts().count("proof_altered") == 1
    assert proofs.removed == []
    work = await vault.ask(profile, "shred")
    assert (await vault.call("POST", f"/v1/profiles/{profile}/shred/approve", who="approver"))[0] == 202
    assert await vault.do(profile, work) == "shredded"
    assert proofs.removed == [profile]
