"""Who may do what on every route of ``web``: all roles, own and other client, from the application's route table."""

# ruff: noqa: S608 - statements are put together from made-up values
from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import pytest

from byokeep.adapters.passwords import Passwords
from byokeep.broker.app import create_app as create_broker
from byokeep.core.policy import Verb
from byokeep.core.procedure import Procedure, Step
from byokeep.tenancy.authenticate import authenticate
from tests.support.broker import Person
from tests.support.web import Desk, known

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]

ROLES = ("admin", "operator", "approver", "auditor", "dispatcher", "runner", "custodian")
A, O, P, U, D, R, C = ROLES  # noqa: E741 - the columns of the matrix
ANYBODY, STRANGER = frozenset(ROLES), frozenset({*ROLES, ""})


@dataclass(frozen=True)
class Rule:
    """Who passes; ``tenant`` = path or body name an object of a client; ``body``, ``raw``, ``query`` = what to send;
    ``whole`` = an auditor is asked who sees every client, and one of some clients is refused; of checklists, everybody
    is."""

    roles: frozenset[str]
    tenant: bool = False
    body: Any = None
    raw: bytes | None = None
    query: dict[str, str] | None = None
    whole: bool = False

    def sent(self, ids: dict[str, str]) -> Any:
        """The body, with the ids of one client."""
        if not isinstance(self.body, dict):
            return self.body
        text = json.dumps(self.body)
        for name, one in ids.items():
            text = text.replace(f"{{{name}}}", one)
        return json.loads(text)


def rule(
    *roles: str, tenant: bool = False, body: Any = None, raw: bytes | None = None, query: dict[str, str] | None = None,
    whole: bool = False,
) -> Rule:  # fmt: skip
    return Rule(frozenset(roles), tenant, body, raw, query, whole)


NAME = {"name": "Somebody new"}
REVOKED = {"reason": "a_test", "provider": "kie"}
RULES = {
    "POST /v1/session": Rule(STRANGER, body={"name": "x", "password": "y"}),
    "POST /v1/session/console": Rule(STRANGER, body={"name": "x", "password": "y"}),
    "POST /v1/session/passkey": Rule(STRANGER, body={"browser": "0" * 64}),
    "POST /v1/session/sso": Rule(STRANGER, body={"browser": "0" * 64}),
    "POST /v1/session/sso/logout": Rule(STRANGER, body={"token": "x"}),
    "POST /v1/session/sso/answer": Rule(STRANGER, body={"browser": "0" * 64, "state": "x"}),
    "POST /v1/passkeys/options": rule(),
    "POST /v1/passkeys": rule(body={"name": "x", "passkey": "x"}),
    "DELETE /v1/passkeys/{passkey_id}": rule(),
    "POST /v1/session/code": rule(A, O, P, U),
    "DELETE /v1/session": Rule(ANYBODY),
    "DELETE /v1/sessions": Rule(ANYBODY),
    "GET /v1/self": Rule(ANYBODY),
    "POST /v1/operators": rule(A, body={**NAME, "roles": []}),
    "POST /v1/machines": rule(A, body={**NAME, "role": "runner", "clients": [str(UUID(int=5))]}),
    "GET /v1/operators": rule(A, U),
    **{
        f"{method} /v1/{room}/{{subject_id}}{tail}": rule(*roles, body=body)
        for room in ("operators", "machines")
        for method, tail, roles, body in (
            ("PATCH", "", (A,), {"state": "active"}),
            ("POST", "/tokens", (A,), {"days": 0}),
            ("GET", "/tokens", (A, U), None),
        )
    },
    "PUT /v1/operators/{subject_id}/password": Rule(frozenset(), raw=b"short"),  # one's own alone
    "POST /v1/operators/{subject_id}/vouch": rule(A),
    "GET /v1/approvals": rule(A, U, whole=True),
    "POST /v1/approvals/{request_id}/approve": rule(A),
    "DELETE /v1/operators/{subject_id}/link": rule(A),
    "DELETE /v1/tokens/{token_id}": rule(A),
    "POST /v1/clients": rule(A, body={"name": "root"}),
    "GET /v1/clients": rule(A, O, P, U),
    "GET /v1/clients/{client_id}": rule(A, O, P, U, tenant=True),
    "POST /v1/clients/{client_id}/suspend": rule(A, tenant=True),
    "POST /v1/clients/{client_id}/contacts": rule(O, tenant=True, body={}),
    "GET /v1/clients/{client_id}/contacts": rule(A, O, P, U, tenant=True),
    "PUT /v1/clients/{client_id}/colour": rule(O, tenant=True, body={"colour": "#1d4ed8"}),
    "PUT /v1/clients/{client_id}/logo": rule(O, tenant=True, raw=b"no picture"),
    "DELETE /v1/contacts/{contact_id}": rule(A, O),
    "POST /v1/clients/{client_id}/resume": rule(A, tenant=True),
    "GET /v1/clients/{client_id}/export": rule(O, P, U, tenant=True),
    "POST /v1/clients/{client_id}/accounts": rule(
        O, tenant=True, body={"platform": "x", "account": "a", "username": "a", "display_name": ""}
    ),
    "GET /v1/clients/{client_id}/accounts": rule(A, O, P, U, tenant=True),
    "PUT /v1/clients/{client_id}/providers/{provider}/value": rule(O, tenant=True, raw=b"no key"),
    "GET /v1/clients/{client_id}/refs": rule(O, P, U, tenant=True),
    "GET /v1/refs/{ref_id}": rule(O, P, U, tenant=True),
    "POST /v1/refs/{ref_id}/verify": rule(O, tenant=True),
    "POST /v1/clients/{client_id}/providers/{provider}/purge": rule(O, tenant=True),
    "POST /v1/refs/{ref_id}/rotations": rule(O, tenant=True, body={"mint": True}),
    "GET /v1/refs/{ref_id}/rotations": rule(O, P, U, tenant=True),
    "GET /v1/rotations": rule(O, P, U),
    "GET /v1/clients/{client_id}/rotation-grade": rule(O, P, U, tenant=True),
    "GET /v1/rotations/{run_id}": rule(O, P, U, tenant=True),
    "POST /v1/rotations/{run_id}/resume": rule(O, tenant=True, body={"accept": "nothing_like_it"}),
    **{f"POST /v1/rotations/{{run_id}}/{act}": rule(O, tenant=True) for act in ("rollback", "abort")},
    "PUT /v1/clients/{client_id}/providers/{provider}/admin": rule(O, tenant=True, raw=b"no key"),
    "GET /v1/due": rule(A, O, P, U),
    "GET /v1/checklists": rule(A, O, P, U, whole=True),
    "POST /v1/leaks/scans": rule(U, body={"result": "clean", "sources": 1, "found": 0, "unknown": 0}, whole=True),
    "GET /v1/notifications": rule(A, O, P, U),
    "POST /v1/notifications/test": rule(A, O),
    "POST /v1/refs/{ref_id}/state": rule(O, tenant=True, body={"to": "destroyed", "reason": "a_test"}),
    "POST /v1/refs/{ref_id}/interval": rule(O, tenant=True, body={"days": 29, "reason": "a_test"}),
    "GET /v1/sops/{sop_id}": rule(O, P, U, tenant=True),
    "GET /v1/inventory": rule(O, P, U),
    "GET /v1/alerts": rule(A, O, P, U),
    "GET /v1/alerts/{alert_id}": rule(A, O, P, U, tenant=True),
    "POST /v1/alerts/close": rule(A, O, body={"reason": "nothing_like_it"}),
    "POST /v1/alerts/{alert_id}/close": rule(A, O, tenant=True),
    "POST /v1/alerts/acknowledge": rule(A, O, body={"reason": "nothing_like_it"}),
    "POST /v1/alerts/{alert_id}/acknowledge": rule(A, O, tenant=True),
    "GET /v1/audit": rule(U),
    "GET /v1/leaks/fingerprints": rule(U),
    "GET /v1/refs/{ref_id}/history": rule(O, U, tenant=True),
    "GET /v1/refs/{ref_id}/used": rule(O, U, tenant=True),
    "GET /v1/usage": rule(O, U),
    "POST /v1/clients/{client_id}/enroll": rule(A, tenant=True),
    "GET /v1/switches": rule(A, O, P, U, D, R),
    "POST /v1/switches/close": rule(A, O, P, body={"reason": "a_test"}),
    "POST /v1/switches/preview": rule(A, O, P, body={}),
    "POST /v1/switches/open-requests": rule(O, tenant=True, body={"client_id": "{client_id}", "reason": "a_test"}),
    "POST /v1/switches/open-requests/{request_id}/approve": rule(P),
    "GET /v1/clients/{client_id}/jobs": rule(O, U, D, R, C, tenant=True),
    "GET /v1/clients/{client_id}/platforms": rule(A, O, P, U, tenant=True),
    "POST /v1/platforms/close": rule(
        A, O, P, tenant=True, body={"client_id": "{client_id}", "platform": "youtube", "cause": "compromised"}
    ),
    "POST /v1/platforms/canary-requests": rule(
        O, tenant=True, body={"client_id": "{client_id}", "platform": "youtube", "reason": "a_test"}
    ),
    "POST /v1/platforms/canary-requests/{request_id}/approve": rule(P),
    "POST /v1/accounts/transfers": rule(
        O, tenant=True, body={"client_id": "{client_id}", "login": "x", "account": "1", "reason": "a_test"}
    ),
    "POST /v1/accounts/transfers/{request_id}/approve": rule(
        A, body={"client_id": "{client_id}", "login": "x", "account": "1"}
    ),
    "GET /v1/clients/{client_id}/effects/scheduled": rule(O, P, U, D, tenant=True),
    "POST /v1/clients/{client_id}/effects/scheduled/{effect_id}/requeue": rule(
        O, tenant=True, body={"due_at": "2099-01-01T00:00:00Z"}
    ),
    "POST /v1/clients/{client_id}/effects/scheduled/{effect_id}/cancel": rule(O, tenant=True),
    "GET /v1/logins": rule(A, O, P, U),
    "GET /v1/apps": rule(A, O, P, U),
    "GET /v1/refreshers": rule(A, O, U),
    "POST /v1/refreshers/{owner}/gone": rule(A, body={"reason": "machine_lost"}),
    "PUT /v1/apps/{login}": rule(A, raw=b"", query={"app_id": "app", "redirect_uri": "no address"}),
    "POST /v1/clients/{client_id}/logins/{login}/accounts/{account}/connect": rule(O, tenant=True, body={}),
    "POST /v1/clients/{client_id}/connections/{connection_id}/answer": rule(
        O, tenant=True, raw=b"state=a&binding=b&redirect=c&code=d"
    ),
    "GET /v1/clients/{client_id}/connections/{connection_id}": rule(O, tenant=True),
    **{
        f"POST /v1/clients/{{client_id}}/accounts/{{where}}/{{account}}/{act}": rule(O, tenant=True, body=body)
        for act, body in (
            ("lane", {"policy": "off"}),
            ("verify", None),
            ("confirm-name", {"username": "a", "display_name": ""}),
            ("disconnect", None),
        )
    },
    "GET /v1/clients/{client_id}/accounts/{where}/{account}": rule(A, O, P, U, tenant=True),
    "GET /v1/clients/{client_id}/webhooks": rule(O, P, U, tenant=True),
    "PUT /v1/clients/{client_id}/providers/{provider}/webhook": rule(O, tenant=True, raw=b"no secret"),
    "POST /v1/clients/{client_id}/providers/{provider}/webhook/retire": rule(O, tenant=True, body={"reason": "a_test"}),
    "POST /v1/clients/{client_id}/profiles": rule(
        O, tenant=True, body={"accounts": [{"platform": "x", "account": "nobody"}]}
    ),
    "GET /v1/clients/{client_id}/profiles": rule(A, O, P, U, tenant=True),
    "GET /v1/profiles/{profile_id}": rule(A, O, P, U, tenant=True),
    "GET /v1/profiles/{profile_id}/history": rule(A, O, P, U, tenant=True),
    "GET /v1/profiles/{profile_id}/works/{work_id}": rule(A, O, P, U, tenant=True),
    **{
        f"POST /v1/profiles/{{profile_id}}/{act}": rule(role, tenant=True, body=body)
        for act, role, body in (
            ("login", O, None),
            ("validate", O, None),
            ("rekey", O, None),
            ("restore", O, {"generation": 1}),
            ("shred", O, None),
            ("shred/approve", P, None),
            ("confirm", O, {"seen": {"x": "acme"}}),
            ("cancel", O, None),
        )
    },
    "GET /v1/keks": rule(A, O, P, U),
    "GET /v1/keks/{kek_id}/dependents": rule(A, O, P, U, tenant=True),
    "GET /v1/keks/{kek_id}/versions/{version}/history": rule(A, O, P, U, tenant=True),
    "GET /v1/keks/{kek_id}/versions/{version}/plan": rule(A, O, P, U, tenant=True),
    "POST /v1/clients/{client_id}/kek/rotate": rule(O, tenant=True, body={"reason": "a_test"}),
    "POST /v1/clients/{client_id}/kek/rewrap": rule(O, tenant=True),
    "POST /v1/clients/{client_id}/kek/check": rule(A, O, P, U, tenant=True),
    "POST /v1/keks/{kek_id}/versions/{version}/end": rule(P, tenant=True, body={"reason": "a_test"}),
    "POST /v1/keks/{kek_id}/versions/{version}/compromise": rule(A, O, P, tenant=True, body={"reason": "a_test"}),
    "POST /v1/inventory/checks": rule(A, O, P, U),
    "GET /v1/procedures": rule(A, O, P, U),
    "POST /v1/procedures": rule(
        O, tenant=True, body={"procedure": "a_test", "object": "{profile_id}", "client_id": "{client_id}"}
    ),
    "GET /v1/procedures/{run_id}": rule(A, O, P, U, tenant=True),
    **{f"POST /v1/procedures/{{run_id}}/{act}": rule(O, tenant=True) for act in ("resume", "abort")},
    "POST /v1/procedures/{run_id}/approve": rule(A, O, P, U, tenant=True),
    "GET /v1/vault-incidents": rule(A, O, P, U),
    "POST /v1/vault-incidents": rule(A, O, P, tenant=True, body={"client_id": "{client_id}", "cause": "drill"}),
    "GET /v1/vault-incidents/{incident_id}": rule(A, O, P, U, tenant=True),
    "POST /v1/vault-incidents/{incident_id}/sessions/end": rule(
        O, tenant=True, body={"profile": "{profile_id}", "platform": "x"}
    ),
    **{
        f"POST /v1/vault-incidents/{{incident_id}}/{act}": rule(role, tenant=True)
        for act, role in (
            ("lane-off", O),
            ("sessions", O),
            ("recreate", O),
            ("rekey", O),
            ("approve", P),
            ("validate", O),
            ("close", P),
        )
    },
    "POST /v1/names": rule(A, O, P, U, body={"ids": []}),
    "POST /v1/names/find": rule(A, O, P, U, body={"kinds": ["client"], "name": "nobody"}),
    "GET /v1/jobs/{job_id}": rule(O, U, D, R, C, tenant=True),
    "GET /v1/gate/schema": Rule(ANYBODY),
    "POST /v1/evidence/{sop_id}": rule(O, P, U, tenant=True),
    "POST /v1/due/sign": rule(A, O, P, U, body={}),
    "POST /v1/lists/sign": rule(A, O, P, U, body={"list": "alerts"}),
    "POST /v1/checklists/fill": rule(A, O, P, U, body={"checklist": "monthly"}, whole=True),
    "POST /v1/checklists/sign": rule(A, O, U, body={"checklist": "monthly", "seen": "0" * 64}, whole=True),
    "GET /v1/clients/{client_id}/providers/{provider}/keyless": rule(O, P, U, tenant=True),
    "PUT /v1/clients/{client_id}/providers/{provider}/keyless": rule(O, tenant=True, body={"ids": {}}),
    "GET /v1/identity/oidc/.well-known/openid-configuration": Rule(STRANGER),
    "GET /v1/identity/oidc/.well-known/keys": Rule(STRANGER),
    "GET /v1/incidents": rule(A, O, P, U),
    "POST /v1/incidents": rule(A, O, P, tenant=True, body={"client_id": "{client_id}", "kind": "drill"}),
    "GET /v1/incidents/{incident_id}": rule(A, O, P, U, tenant=True),
    "GET /v1/incidents/{incident_id}/timeline": rule(A, O, P, U, tenant=True),
    "POST /v1/incidents/{incident_id}/playbook": rule(O, tenant=True, body={"playbook": "leaked_key"}),
    "POST /v1/incidents/{incident_id}/step": rule(O, tenant=True, body={"step": "kill"}),
    "POST /v1/incidents/{incident_id}/severity": rule(O, tenant=True, body={"severity": "P2"}),
    "POST /v1/incidents/{incident_id}/postmortem": rule(O, tenant=True, body={"reference": "INC-1"}),
    "POST /v1/incidents/{incident_id}/close": rule(O, P, tenant=True),
    "POST /v1/mass-revocations": rule(O, tenant=True, body={**REVOKED, "client_id": "{client_id}"}),
    "POST /v1/mass-revocations/preview": rule(O, tenant=True, body={**REVOKED, "client_id": "{client_id}"}),
    "GET /v1/mass-revocations/{run_id}": rule(A, O, P, U, tenant=True),
    "POST /v1/mass-revocations/{run_id}/items/{object_id}/settle": rule(O, tenant=True),
    "POST /v1/exposure": rule(O, U, tenant=True, body={"client_id": "{client_id}"}),
    "POST /v1/breakglass": rule(
        O,
        tenant=True,
        body={"client_id": "{client_id}", "scope": "all", "reason": "a_test", "ticket": "T-1", "life_s": 60},
    ),
    "GET /v1/breakglass": rule(A, O, P, U),
    "GET /v1/breakglass/{grant_id}": rule(A, O, P, U, tenant=True),
    **{
        f"POST /v1/breakglass/{{grant_id}}/{act}": rule(*roles, tenant=True, body={} if act == "review" else None)
        for act, roles in (
            ("approve", (P,)),
            ("deny", (O, P)),
            ("open", (O,)),
            ("revoke", (A, O, P)),
            ("misused", (O,)),
            ("review", (O, P)),
            ("close", (P,)),
        )
    },
    "POST /v1/audit/checkpoint": rule(U, whole=True),
    "POST /v1/audit/verify": rule(U, whole=True),
    "POST /v1/audit/reconcile": rule(U, body={"minutes": 1}, whole=True),
    "POST /v1/audit/hash": rule(U, raw=b"a value"),
    "POST /v1/audit/export": rule(U, body={}),
    "POST /v1/audit/proof/{client_id}": rule(U, tenant=True),
    "GET /v1/audit/health": rule(A, O, P, U),
    "GET /v1/audit/keys": rule(A, O, P, U, D, R),
    "GET /healthz": Rule(STRANGER),
    "GET /readyz": Rule(STRANGER),
    "GET /openapi.json": Rule(ANYBODY),
}
OPENING = "/v1/jobs/{job_id}/profiles/{profile_id}/openings"
JOB = {"client_id": "{client_id}", "runner_id": str(UUID(int=5)), "secrets": ["openai"], "platforms": ["x"],
       "lanes": ["api"]}  # fmt: skip
# What only the broker serves, at which no person's console or command line asks; the portal lets in no role of these.
AT_BROKER = {
    "POST /v1/jobs": rule(D, tenant=True, body=JOB | {"effects": ["publish"]}),
    "PUT /v1/clients/{client_id}/job-templates/{name}": rule(
        D, tenant=True, body={name: one for name, one in JOB.items() if name != "client_id"}
    ),
    "GET /v1/clients/{client_id}/job-templates": rule(O, U, D, R, C, tenant=True),
    "POST /v1/jobs/dry-runs": rule(
        D, tenant=True, body={"client_id": "{client_id}", "template": "daily", "rotation": "{rotation_id}"}
    ),
    "POST /v1/jobs/{job_id}/leases": rule(R, C, tenant=True),
    "POST /v1/jobs/{job_id}/renewals": rule(R, tenant=True, body={"secret": "x/acme", "version": 1}),
    "GET /v1/leases/{lease_id}": rule(R, C, tenant=True),
    "POST /v1/leases/{lease_id}/calls": rule(R, tenant=True, body={"calls": [], "total": 0}),
    "POST /v1/leases/use": rule(
        R, C, tenant=True, body={"leases": [{"lease_id": "{lease_id}", "logins": 1, "reads": {}}]}
    ),
    "POST /v1/leases/{lease_id}/permits": rule(
        R, tenant=True, body={"version": 1, "effect": "publish", "platform": "x", "account": "acme", "lane": "api",
                              "idempotency_key": "a-key"}
    ),
    "POST /v1/permits/{permit_id}/close": rule(R, tenant=True, body={"outcome": "done"}),
    "POST /v1/accounts/{client_id}/{platform}/{account}/identity": rule(
        R, tenant=True, body={"lease_id": "{lease_id}", "id": "a", "username": "a", "display_name": "A"}
    ),
    f"POST {OPENING}": rule(R, tenant=True, body={"lease_id": "{lease_id}"}),
    **{
        f"{method} {OPENING}/{{epoch}}/{act}": rule(R, tenant=True, body=body)
        for method, act, body in (
            ("POST", "beat", None), ("GET", "record", None), ("GET", "blob", None),
            ("POST", "end", {"cause": "closed"}), ("POST", "sealing", None),
            ("POST", "seals", {"base": 1, "dek_id": "{dek_id}"}),
            ("PUT", "seals/{dek_id}/blob", None),
            ("POST", "seals/{dek_id}/record", {"base": 1, "record": "{}", "receipt": "0" * 64}),
        )
    },
    "POST /v1/effects/scheduled": rule(
        D, tenant=True, body={"client_id": "{client_id}", "platform": "x", "account": "acme", "lane": "api",
                              "effect": "publish", "idempotency_key": "a-key", "due_at": "2099-01-01T00:00:00Z"}
    ),
    # What ends something comes last.
    "DELETE /v1/clients/{client_id}/job-templates/{name}": rule(D, tenant=True),
    "POST /v1/jobs/{job_id}/blocked": rule(D, R, C, tenant=True, body={"reason": "a_test"}),
    "POST /v1/jobs/{job_id}/close": rule(D, R, C, tenant=True),
}  # fmt: skip
# What the broker decides: web only passes it on. A caller without the role is refused there just the same.
PASSED_ON = (
    "/enroll",
    "/link",
    "/v1/due/sign",
    "/v1/lists/sign",
    "/v1/checklists/",
    "/v1/exposure",
    "/v1/breakglass",
    "/v1/clients/{client_id}/suspend",
    "/v1/clients/{client_id}/resume",
    "/v1/switches",
    "/contacts",
    "/v1/platforms",
    "/platforms",
    "/effects/scheduled",
    "/jobs",
    "/v1/gate",
    "/v1/evidence",
    "/v1/audit/",
    "/v1/accounts/transfers",
    "POST /v1/operators",
    "PATCH /v1/operators",
    "POST /v1/machines",
    "PATCH /v1/machines",
    "DELETE /v1/tokens",
    "/v1/approvals",
    "/v1/passkeys",
    "/v1/procedures/{run_id}/approve",
    "/v1/session",
    "/password",
)
# Which verb it takes is said by the object, so whoever may not see that is told nothing of the verb.
BY_OBJECT = ("/v1/procedures/{run_id}/resume", "/v1/procedures/{run_id}/abort")
MACHINES = ("dispatcher", "runner", "custodian")
OPEN = (
    "POST /v1/session",
    "POST /v1/session/console",
    "POST /v1/session/passkey",
    "POST /v1/session/sso",
    "POST /v1/session/sso/answer",
    "POST /v1/session/sso/logout",
    "GET /healthz",
    "GET /readyz",
    "GET /v1/identity/oidc/.well-known/openid-configuration",
    "GET /v1/identity/oidc/.well-known/keys",
)


def table(api: Any) -> set[str]:
    """Every method and path of the application; pages are asked as a browser asks (test_console.py, test_portal.py)."""
    found: set[str] = set()

    def walk(routes: Any) -> None:
        for route in routes:
            if getattr(route, "methods", None):
                found.update(
                    f"{method} {route.path}"
                    for method in route.methods
                    if not route.path.startswith(("/console", "/portal"))
                )
            else:
                inner = getattr(route, "routes", None) or getattr(getattr(route, "original_router", None), "routes", ())
                walk(inner)

    walk(api.routes)
    return found


async def _nothing(*_: object) -> dict[str, Any]:
    return {}


@pytest.fixture
async def tenants(desk: Desk) -> tuple[dict[str, str], dict[str, str]]:
    """Objects of two clients: path parameters by name."""
    own, other = {}, {}
    step = Step(name="one", act=_nothing, verb=Verb.KEY_STATE)
    known(desk, Procedure(name="a_test", verb=Verb.KEY_STATE, startable=True, abortable=True, steps=(step,)))
    for ids in (own, other):
        client = await desk.stand.client()
        done = await desk.onboard(client)
        alert = uuid4()
        desk.sql(
            "INSERT INTO byokeep.alert (id, client_id, reason, severity, dedup_key) VALUES"
            f" ('{alert}', '{client}', 'a_test', 'info', '{alert}')"
        )
        desk.stand.account(client, account="acme")
        connection = uuid4()
        desk.sql(
            "INSERT INTO byokeep.connection (id, client_id, account_id, job_id, sop_id, login, state_hash,"
            " binding_hash, redirect_uri, started_by, expires_at, request_id)"
            f" SELECT '{connection}', '{client}', a.id, j.id, '{uuid4()}', 'x', sha256('{connection}'), sha256('b'),"
            f" 'http://127.0.0.1:8431/callback', a.created_by, now() + interval '10 minutes', '{uuid4()}'"
            " FROM byokeep.platform_account a JOIN byokeep.job j USING (client_id)"
            f" WHERE a.client_id = '{client}' LIMIT 1"
        )
        profile, work, incident, run, rotation, revocation = (uuid4() for _ in range(6))
        desk.sql(
            "INSERT INTO byokeep.procedure_run (id, client_id, procedure, object_id, asked_by, started_by)"
            f" VALUES ('{run}', '{client}', 'a_test', '{profile}', '{uuid4()}', '{uuid4()}');"
            "INSERT INTO byokeep.procedure_run (id, client_id, procedure, object_id, asked_by, started_by, facts)"
            f" VALUES ('{rotation}', '{client}', 'rotate_key', '{done['ref']}', '{uuid4()}', '{uuid4()}',"
            """ '{"provider": "openai", "mode": "assisted", "from_version": 1}');"""
            "INSERT INTO byokeep.profile (id, client_id, packing, created_by)"
            f" SELECT '{profile}', '{client}', 'portable', created_by FROM byokeep.client WHERE id = '{client}';"
            "INSERT INTO byokeep.profile_work (id, client_id, profile_id, kind, state, asked_by, ended_at)"
            f" VALUES ('{work}', '{client}', '{profile}', 'login', 'failed', '{uuid4()}', now());"
            "INSERT INTO byokeep.procedure_run (id, client_id, procedure, object_id, asked_by, started_by)"
            f" VALUES ('{revocation}', '{client}', 'mass_revoke', '{revocation}', '{uuid4()}', '{uuid4()}');"
            "INSERT INTO byokeep.revocation_item (run_id, client_id, object_id, kind, provider, version, cut_seq,"
            f" state, seq) VALUES ('{revocation}', '{client}', '{done['ref']}', 'key', 'openai', 1, 1, 'failed', 1);"
            "INSERT INTO byokeep.incident (id, client_id, kind, severity, source, dedup_key, noticed_at, began_at,"
            f" began_assumed, opened_by) VALUES ('{incident}', '{client}', 'other', 'P3', 'person', 'a/{client}',"
            f" now(), now(), false, '{uuid4()}');"
            "INSERT INTO byokeep.profile_incident (id, client_id, cause, since)"
            f" VALUES ('{incident}', '{client}', 'drill', now());"
            "INSERT INTO byokeep.procedure_run (id, client_id, procedure, object_id, asked_by, started_by)"
            f" VALUES ('{incident}', '{client}', 'profile_incident', '{incident}', '{uuid4()}', '{uuid4()}');"
            "INSERT INTO byokeep.profile_incident_item (incident_id, client_id, profile_id, platform)"
            f" VALUES ('{incident}', '{client}', '{profile}', 'x');"
            "INSERT INTO byokeep.kek_version (holder, kek_id, version, client_id, environment, algorithm, bits, owner,"
            " protect_until, process_until, changed_by)"
            f" VALUES ('transit', 'development-{client}', 1, '{client}', 'development', 'aes256-gcm96', 256,"
            f" 'security', now() + interval '1 year', now() + interval '2 years', '{uuid4()}')"
        )
        ids |= {
            "profile_id": str(profile), "work_id": str(work), "incident_id": str(incident),
            "run_id": str(run), "rotation_id": str(rotation), "revocation_id": str(revocation),
            "grant_id": str(uuid4()), "contact_id": str(uuid4()), "object_id": done["ref"],
            "kek_id": f"development-{client}", "version": "1",
            "client_id": str(client), "ref_id": done["ref"], "sop_id": done["sop"], "alert_id": str(alert),
            "job_id": desk.sql(f"SELECT id FROM byokeep.job WHERE client_id = '{client}' LIMIT 1"),
            "provider": "openai",
            "platform": "x", "account": "acme", "subject_id": str(uuid4()), "token_id": str(uuid4()),
            "passkey_id": str(uuid4()),
            "request_id": str(uuid4()), "where": "x", "login": "x", "effect_id": str(uuid4()),
            "connection_id": str(connection), "owner": str(uuid4()),
        }  # fmt: skip
    return own, other


def test_every_route_has_its_row(desk: Desk) -> None:
    """A route that the matrix does not know fails here, and so does a row without a route."""
    assert table(desk.api) == set(RULES)


def place(path: str, wanted: Rule, ids: dict[str, str]) -> str:
    for room in ("rotation", "revocation"):
        if path.startswith(("/v1/" + room, "/v1/mass-" + room)):
            ids = {**ids, "run_id": ids[f"{room}_id"]}
    return path.format(**ids) + (f"?{urlencode(wanted.query)}" if wanted.query else "")


async def attempt(desk: Desk, key: str, ids: dict[str, str], who: Person | None) -> tuple[int, str]:
    method, _, path = key.partition(" ")
    wanted = RULES[key]
    status, reply = await desk.call(method, place(path, wanted, ids), who, wanted.sent(ids), raw=wanted.raw)
    return status, reply.get("code", "") if isinstance(reply, dict) else ""


def judge(key: str, role: str, status: int, code: str, *, own: bool) -> str:
    """Why an answer is wrong; empty when it is right."""
    wanted = RULES[key]
    if role in MACHINES and not any(part in key for part in PASSED_ON) and key not in OPEN:
        return "" if (status, code) == (401, "bad_token") else "a machine passed at web, which knows people alone"
    if role not in wanted.roles:
        right = (
            (status, code) == (401, "no_token")
            if role == ""
            else (status, code)
            in ((403, "not_permitted"), (403, "not_yours"), (403, "not_in_the_console"), (404, "not_found"))
        )
        if right and status == 404 and not any(part in key for part in (*PASSED_ON, *BY_OBJECT)):
            right = False  # web's own routes say that the role is missing before they look for the object
        return "" if right else "passed without the role"
    if wanted.tenant and not own:
        return "" if (status, code) == (404, "not_found") else "reached another client's object"
    if status in (401, 403, 405) and code not in ("bad_login", "no_session", "another_persons_connection"):
        return "refused in spite of the role"
    if wanted.tenant and status == 404 and not any(part in key for part in PASSED_ON):
        return "does not reach its own client's object"
    return ""


@pytest.mark.req("S-OWASP-32", "S-ASVS-28", "R4.1-10")
async def test_every_role_on_every_route(desk: Desk, tenants: tuple[dict[str, str], dict[str, str]]) -> None:
    """Each role passes where its row says and nowhere else; another client's object answers like none at all."""
    own, other = tenants
    clients = (UUID(own["client_id"]),)
    people: dict[str, Person | None] = {role: desk.stand.subject(role, "one client", clients=clients) for role in ROLES}
    sees_all = {role: desk.stand.subject(role, "every client", clients=None) for role in (A, O, P, U)}
    wrong = []
    last = ("POST /v1/clients/{client_id}/suspend", "POST /v1/switches/close")  # these stop what the others need
    keys = sorted(set(RULES) - set(last)) + list(last)
    for key in keys:
        for role, who in {**people, "": None}.items():
            web_alone = role in MACHINES and not any(part in key for part in PASSED_ON)
            once = not RULES[key].tenant or not role or web_alone  # no object is named, or looked at before who asks
            for ids, is_own in ((own, True), (other, False))[: 1 if once else 2]:
                if RULES[key].whole and (role == U or ("checklists" in key and role in RULES[key].roles)):
                    assert (await attempt(desk, key, ids, who))[0] == 403
                    status, code = await attempt(desk, key, ids, sees_all[role])
                else:
                    status, code = await attempt(desk, key, ids, who)
                if fault := judge(key, role, status, code, own=is_own):
                    wrong.append(f"{key} {role or 'stranger'} {'own' if is_own else 'other'}: {status} {code}: {fault}")
    assert not wrong, "\n".join(wrong)
    changed = desk.sql(
        f"SELECT state, verification, version FROM byokeep.credential_ref WHERE client_id = '{other['client_id']}'"
    )
    assert changed == "active|verified|1"


@pytest.mark.req("S-OWASP-32")
async def test_every_role_on_what_the_broker_alone_serves(desk: Desk) -> None:
    """There, too, a role passes where its row says and nowhere else, and no other client's object is reached. A route
    that the table does not know fails here."""
    stand = desk.stand
    broker = create_broker(stand.app, partial(authenticate, stand.app), passwords=Passwords())
    known_to_web = {*RULES, "GET /v1/switches/stream", "HEAD /openapi.json"}
    assert {one for one in table(broker) - known_to_web if "/v1/portal/" not in one} == set(AT_BROKER)
    clients = [await stand.client("openai") for _ in range(2)]
    people = {role: stand.subject(role, "one client", clients=(clients[0],)) for role in ROLES}
    own, other = {}, {}
    for ids, client, those in zip((own, other), clients, (people, stand.people), strict=True):
        stand.account(client)
        runner = those["runner"]
        job = await stand.job(client, who=those["dispatcher"], runner_id=str(runner.id))
        lease = (await stand.lease(job, runner))["lease_id"]
        permit = (await stand.permit(lease, who=runner))[1]["permit_id"]
        ids |= {"client_id": str(client), "job_id": str(job), "lease_id": lease, "permit_id": permit, "platform": "x",
                "account": "acme", "epoch": "1", "name": "daily"}  # fmt: skip
        ids |= {name: str(uuid4()) for name in ("profile_id", "dek_id", "rotation_id")}
        stand.db.sql(
            "INSERT INTO byokeep.profile (id, client_id, packing, created_by)"
            f" SELECT '{ids['profile_id']}', id, 'portable', created_by FROM byokeep.client WHERE id = '{client}';"
            "INSERT INTO byokeep.procedure_run (id, client_id, procedure, object_id, asked_by, started_by, facts)"
            f" SELECT '{ids['rotation_id']}', client_id, 'rotate_key', id, '{uuid4()}', '{uuid4()}',"
            """ '{"provider": "openai", "mode": "assisted", "from_version": 1}' FROM byokeep.credential_ref"""
            f" WHERE client_id = '{client}';"
            "INSERT INTO byokeep.job_template (client_id, name, runner_id, secrets, platforms, lanes, set_by) VALUES"
            f" ('{client}', 'daily', '{runner.id}', '{{openai}}', '{{x}}', '{{api}}', '{uuid4()}')"
        )
    custody = await stand.job(
        clients[0], who=people["dispatcher"], kind="custody", runner_id=str(people["custodian"].id), platforms=[],
        lanes=[], effects=[],
    )  # fmt: skip
    held = await stand.lease(custody, people["custodian"])
    custodians = {**own, "job_id": str(custody), "lease_id": held["lease_id"]}
    wrong = []
    for key, wanted in AT_BROKER.items():
        method, _, path = key.partition(" ")
        for role, who in people.items():
            # without the role the object is not looked for, so once is enough
            for ids, mine in ((custodians if role == C else own, True), (other, False))[: 1 + (role in wanted.roles)]:
                status, reply = await stand.call(method, path.format(**ids), who, wanted.sent(ids))
                said = (status, reply.get("code", ""))
                if role not in wanted.roles:
                    right = said == (403, "not_permitted")
                elif not mine:
                    right = said == (404, "not_found")
                else:
                    right = status < 500 and status not in (401, 404) and said != (403, "not_permitted")
                if not right:
                    wrong.append(f"{key} {role} {'own' if mine else 'other'}: {said}")
    assert not wrong, "\n".join(wrong)
    open_ = "SELECT count(*) FROM byokeep.{} WHERE client_id = '{}' AND state = '{}'"
    assert desk.sql(open_.format("job", other["client_id"], "open")) == "1"
    assert desk.sql(open_.format("permit", other["client_id"], "issued")) == "1"


async def test_another_clients_object_answers_like_none(
    desk: Desk, tenants: tuple[dict[str, str], dict[str, str]]
) -> None:
    """For an id of another client and an id of nobody the replies are the same but for the request id."""
    own, other = tenants
    who = desk.stand.subject("operator", "one client", clients=(UUID(own["client_id"]),))
    nobody = {name: str(uuid4()) if len(value) == 36 else value for name, value in other.items()}
    compared = 0
    for key, wanted in RULES.items():
        if not wanted.tenant or "operator" not in wanted.roles:
            continue
        method, _, path = key.partition(" ")
        replies = []
        for ids in (other, nobody):
            status, reply = await desk.call(method, place(path, wanted, ids), who, wanted.sent(ids), raw=wanted.raw)
            replies.append((status, json.dumps({**reply, "request_id": ""})))
        assert replies[0] == replies[1], key
        compared += 1
    assert compared >= 12
