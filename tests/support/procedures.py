"""What the records of a whole run of each procedure say, item by item: the payloads that make evidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from byokeep.core.evidence import CONNECT, ITEMS_OF, ONBOARD, PROFILE
from tests.support.auditlog import ACTOR, ALICE, BOB, JOB, REF, SOP, named

Fields = dict[str, Any]
VERSION = 3
_STORED: Fields = {"store_request": str(named("store request"))}
_BY_JOB: Fields = {"job": str(JOB), "endpoint": "some.endpoint"}
_SAME: Fields = {"observed_id": "104", "expected_id": "104"}
SAID: Mapping[str, Mapping[str, Fields]] = {
    ONBOARD: {
        "vault_write_event": {**_STORED, "path": f"kv/clients/{ALICE}/providers/openai"},
        "verification_success": {**_BY_JOB, "http_status": 200},
        "leak_check_pass": {"lines": 1, "found": 0},
        "onboarding_event": {},
    },
    CONNECT: {
        "vault_write_event": {**_STORED, "path": f"kv/clients/{ALICE}/providers/x/accounts/{REF}/tokens"},
        "identity_verification": {**_BY_JOB, **_SAME, "count": 0},
        "platform_connected": {},
    },
    PROFILE: {
        "vault_write_event": {
            **_STORED, "path": f"kv/clients/{ALICE}/profiles/{REF}", "blob_digest": "a", "manifest": "b", "dek": "c",
            "kek": "d",
        },
        "runner_validation_proof": {**_BY_JOB, **_SAME, "screenshot": "e", "verification": "match", "platform": "x"},
        "browser_profile_created": {},
    },
}  # fmt: skip
# The record of another event, outcome, client, object, version, provider or run; a dot stands before a field's name.
FOREIGN: Mapping[str, Any] = {
    "event": "job.opened", "outcome": "failed", "client": str(BOB), "object": str(BOB), ".version": VERSION - 1,
    ".generation": VERSION - 1, ".provider": "anthropic", ".platform": "tiktok", ".sop": str(BOB),
}  # fmt: skip


def said_of(kind: str, item: str, changed: Mapping[str, Any] = {}) -> Fields:
    """The whole payload of an item's record; ``changed`` replaces members, and None takes a field out."""
    fields = {**SAID[kind][item], "sop": str(SOP), "generation" if kind == PROFILE else "version": VERSION}
    if kind != PROFILE:
        fields |= {"provider": "openai"} if kind == ONBOARD else {"platform": "x"}
    said: Fields = {
        "v": 1, "event": ITEMS_OF[kind][item], "outcome": "ok", "actor": str(ACTOR.id), "roles": ["operator"],
        "client": str(ALICE), "object": str(REF), "request": str(ACTOR.request_id), "fields": fields,
    }  # fmt: skip
    for name, value in changed.items():
        place, key = (fields, name[1:]) if name.startswith(".") else (said, name)
        place[key] = value
        if value is None and place is fields:
            del fields[key]
    return said


def foreign(kind: str, item: str) -> list[Fields]:
    """Each change of :data:`FOREIGN` that fits the item. The write of a key stands for later runs, too."""
    told = said_of(kind, item)["fields"]
    fits = [{name: value} for name, value in FOREIGN.items() if not name.startswith(".") or name[1:] in told]
    return [change for change in fits if (kind, item, *change) != (ONBOARD, "vault_write_event", ".sop")]
