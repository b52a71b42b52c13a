"""Who may do what at OpenBao: measured on the real server, and as written in docs/openbao-access.md.

A cell holds the verbs that the server does not refuse: r(ead) l(ist) s(can) w(rite) d(elete) p(atch). Refused is 403,
or a route or verb that does not exist. `python -m tests.support.openbao_access` measures and rewrites the table.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from byokeep.adapters.openbao.login import log_in
from byokeep.core.secret import Secret
from byokeep.wire.bao_http import lease_login
from tests.support.openbao import Bao, running_openbao

DOCUMENT = Path(__file__).parents[2] / "docs" / "openbao-access.md"
COLUMNS = (
    "web", "broker", "killswitch", "backup", "provisioner", "use-openai", "custody-openai", "use-x", "custody-x",
    "use-profile", "custody-profile", "seal-profile", "enroll", "cut off", "anonymous",
)  # fmt: skip
ACCOUNT = "0f8fad5b-d9cb-469f-a165-70867728950e"
OTHER_PROFILE = "7c9e6679-7425-40de-944b-e07fc1f90ae7"  # of the same client
PARTS = ("tokens", "access", "landing", "verifier", "code")
VERBS = {"r": "GET", "l": "LIST", "s": "SCAN", "w": "POST", "d": "DELETE", "p": "PATCH"}
_KV = ("data", "metadata", "delete", "undelete", "destroy", "subkeys", "detailed-metadata")
# The key comes first: encrypting without one asks for another right, which nobody has.
_KEK = ("keys", "encrypt", "decrypt", "rewrap", "datakey/plaintext", "datakey/wrapped")
PATHS: tuple[str, ...] = (
    *(f"kv/{part}/clients/{{own}}/providers/openai" for part in _KV),
    *(f"kv/{part}/clients/{{own}}/providers/anthropic" for part in _KV),
    *(f"kv/{part}/clients/{{other}}/providers/openai" for part in _KV),
    "kv/data/clients/{own}/providers/openai/more",
    "kv/data/clients/{own}/providers/openai/webhook",
    "kv/metadata/clients/{own}/providers/openai/webhook",
    *(f"kv/{part}/clients/{{own}}/providers/openai/admin" for part in ("data", "metadata", "destroy")),
    "kv/data/clients/{other}/providers/openai/admin",
    "kv/destroy/clients/{own}/providers/openai/webhook",
    "kv/metadata/clients/{own}/providers/x/webhook",
    "kv/destroy/clients/{own}/providers/x/webhook",
    "kv/destroy/clients/{other}/providers/openai/webhook",
    "kv/data/clients/{other}/providers/openai/webhook",
    "kv/data/clients/{own}/providers/x",
    *(
        f"kv/{verb}/clients/{{own}}/providers/x/accounts/{ACCOUNT}/{part}"
        for part in PARTS
        for verb in ("data", "metadata", "destroy")
    ),
    *(f"kv/data/clients/{{other}}/providers/x/accounts/{ACCOUNT}/{part}" for part in PARTS),
    *(f"kv/data/clients/{{own}}/providers/tiktok/accounts/{ACCOUNT}/{part}" for part in ("tokens", "access")),
    f"kv/data/clients/{{own}}/providers/openai/accounts/{ACCOUNT}/tokens",
    f"kv/data/clients/{{own}}/providers/x/accounts/{ACCOUNT}/tokens/more",
    f"kv/data/clients/{{own}}/providers/x/accounts/{ACCOUNT}/other",
    f"kv/data/clients/{{own}}/providers/x/accounts/{ACCOUNT}",
    "kv/metadata/clients/{own}/providers/x/accounts",
    "kv/data/platform/apps/x/x",
    "kv/metadata/platform/apps/x/x",
    "kv/destroy/platform/apps/x/x",
    "kv/data/platform/apps/tiktok/tiktok",
    "kv/metadata/platform/apps",
    *(f"kv/{part}/clients/{{own}}/profiles/{ACCOUNT}" for part in _KV),
    *(f"kv/{part}/clients/{{other}}/profiles/{ACCOUNT}" for part in ("data", "metadata", "destroy")),
    f"kv/data/clients/{{own}}/profiles/{ACCOUNT}/more",
    *(f"kv/{part}/clients/{{own}}/profiles/{OTHER_PROFILE}" for part in ("data", "metadata", "destroy")),
    "kv/metadata/clients/{own}/profiles",
    "kv/data/clients/{own}/providers",
    "kv/data/clients/{own}",
    "kv/data/clients/{OWN}/providers/openai",
    "kv/data/providers/openai",
    "kv/metadata",
    "kv/metadata/clients",
    "kv/metadata/clients/{own}",
    "kv/metadata/clients/{own}/providers",
    "kv/metadata/clients/{other}/providers",
    "kv/detailed-metadata/clients",
    "kv/data/platform/token-key",
    "kv/metadata/platform/token-key",
    "kv/destroy/platform/token-key",
    "kv/data/platform/machine-key",
    "kv/metadata/platform/machine-key",
    "kv/destroy/platform/machine-key",
    "kv/data/platform/scan-key",
    "kv/metadata/platform/scan-key",
    "kv/destroy/platform/scan-key",
    "kv/metadata/platform/provisioning",
    "kv/data/platform/breakglass-drill",
    "kv/data/platform/other",
    "kv/metadata/platform",
    "kv/config",
    "cubbyhole/x",
    "transit/keys",
    *(f"transit/keys/{key}" for key in ("leases", "checkpoints", "evidence", "fingerprints", "new")),
    *(f"transit/keys/leases/{act}" for act in ("rotate", "config", "trim")),
    *(f"transit/sign/{key}" for key in ("leases", "checkpoints", "evidence", "fingerprints", "leases/sha2-256")),
    "transit/hmac/fingerprints/sha2-256",
    "transit/hmac/fingerprints",
    "transit/hmac/leases",
    "transit/verify/leases",
    "transit/encrypt/leases",
    "transit/decrypt/leases",
    "transit/rewrap/leases",
    "transit/datakey/plaintext/leases",
    "transit/export/signing-key/leases",
    "transit/export/hmac-key/fingerprints",
    "transit/byok-export/leases/leases",
    "transit/backup/leases",
    "transit/restore/leases",
    "transit/random/32",
    "transit/config/keys",
    *(f"tenant/{act}/development-{{{whose}}}" for whose in ("own", "other") for act in _KEK),
    *(f"tenant/{act}/production-{{own}}" for act in ("encrypt", "decrypt", "rewrap", "keys")),
    *(f"tenant/{act}/{{own}}" for act in ("encrypt", "decrypt", "keys")),
    *(f"tenant/keys/development-{{own}}/{act}" for act in ("rotate", "config", "trim", "soft-delete", "import")),
    "tenant/keys/development-{own}/config?min_decryption_version=1",
    *(f"tenant/keys/development-{{other}}/{act}" for act in ("rotate", "config", "trim")),
    "tenant/keys",
    "tenant/export/encryption-key/development-{own}",
    "tenant/backup/development-{own}",
    "tenant/restore/development-{own}",
    "tenant/config/keys",
    *(f"identity/oidc/token/{{{whose}}}-{at}" for whose in ("own", "other") for at in ("openai", "anthropic")),
    "identity/oidc/role/{own}-openai",
    "identity/oidc/role/{own}-openai?ttl=600",
    "identity/oidc/key/{own}",
    "identity/oidc/key/{own}/rotate",
    "identity/oidc/role",
    "identity/oidc/key",
    "identity/oidc/config",
    "identity/oidc/.well-known/openid-configuration",
    "identity/oidc/.well-known/keys",
    "identity/oidc/provider/default/token",
    "auth/lease/login",
    "auth/lease/cel/login",
    "auth/lease/cel/role",
    "auth/lease/cel/role/use-openai",
    "auth/lease/config",
    "auth/lease/role",
    "auth/lease/role/use-openai",
    "auth/approle/login",
    "auth/approle/role",
    "auth/approle/role/web",
    "auth/approle/role/web/role-id",
    "auth/approle/role/web/secret-id",
    "auth/approle/role/web/secret-id-accessor/destroy",
    "auth/token/create",
    "auth/token/create-orphan",
    "auth/token/lookup",
    "auth/token/lookup-self",
    "auth/token/lookup-accessor",
    "auth/token/renew-self",
    "auth/token/revoke-self",
    "auth/token/revoke-orphan",
    "auth/token/revoke-accessor",
    "auth/token/accessors",
    "auth/token/roles/x",
    "identity/entity",
    "identity/entity/id",
    "identity/entity/id/{entity}",
    "identity/entity/id/{entity}/more",
    "identity/entity/name/x",
    "identity/entity/merge",
    "identity/entity/batch-delete",
    "identity/entity-alias",
    "identity/entity-alias/id/x",
    "identity/group",
    "identity/lookup/entity",
    "identity/oidc/key/x",
    "sys/policies/acl",
    "sys/policies/acl/web",
    "sys/policy/web",
    "sys/audit",
    "sys/audit/a",
    "sys/audit-hash/a",
    "sys/ha-status",
    "sys/config/auditing/request-headers/X-Byokeep-Lease",
    "sys/config/cors",
    "sys/mounts",
    "sys/mounts/kv",
    "sys/mounts/kv/tune",
    "sys/remount",
    "sys/auth",
    "sys/auth/lease",
    "sys/capabilities-self",
    "sys/internal/ui/mounts",
    "sys/internal/specs/openapi",
    "sys/quotas/rate-limit/x",
    "sys/leases/lookup",
    "sys/leases/revoke-prefix/auth",
    "sys/leases/revoke-prefix/auth/approle",
    "sys/leases/revoke-prefix/kv/data/clients/{other}/providers/openai",
    "sys/leases/revoke-prefix/tenant/decrypt/development-{other}",
    "sys/leases/revoke-prefix/identity/oidc/token/{other}-openai",
    "sys/leases/revoke-prefix/sys/wrapping/rewrap",
    "sys/namespaces/x",
    "sys/plugins/catalog/secret/x",
    "sys/raw/core",
    "sys/storage/raft/snapshot",
    "sys/storage/raft/configuration",
    "sys/storage/raft/remove-peer",
    "sys/seal",
    "sys/unseal",
    "sys/step-down",
    "sys/rotate",
    "sys/rotate/root/init",
    "sys/rotate/recovery/init",
    "sys/rekey/init",
    "sys/rekey-recovery-key/init",
    "sys/generate-root/attempt",
    "sys/generate-root-token/attempt",
    "sys/generate-root-token/update",
    "sys/wrapping/wrap",
    "sys/wrapping/unwrap",
    "sys/wrapping/lookup",
    "sys/wrapping/rewrap",
    "sys/tools/random/32",
    "sys/tools/hash",
    "sys/health",
    "sys/init",
    "sys/leader",
    "sys/seal-status",
    "sys/metrics",
    "sys/pprof/heap",
    "sys/host-info",
    "sys/in-flight-req",
    "sys/loggers",
)


def _body(path: str) -> dict[str, Any]:
    """A body that gets as far as it can without changing anything when it is let through."""
    part = path.split("/")[1]
    if "?" in path:  # one parameter, at the value that it has already
        name, _, value = path.partition("?")[2].partition("=")
        return {name: int(value)}
    if part == "data":
        return {"options": {"cas": 999}, "data": {"value": "never stored"}}
    if part in ("delete", "undelete", "destroy"):
        return {"versions": [999]}
    if path.startswith("identity/entity/id/"):
        return {"disabled": False}
    if path.startswith("tenant/keys/") and path.count("/") == 2:
        return {"type": "aes256-gcm96", "derived": True}
    return {"input": "aGk="} if part in ("sign", "hmac", "audit-hash") else {}


async def _allowed(bao: Bao, verb: str, path: str, token: Secret | None) -> bool:
    headers = {"Content-Type": "application/merge-patch+json"} if verb == "p" else {}
    sent: dict[str, Any] = {"json": _body(path)} if verb in "wp" else {}
    status, body = await bao.raw(VERBS[verb], path.partition("?")[0], token, headers=headers, **sent)
    if status in (403, 405):
        return False
    refused = (b"no handler for route", b"unsupported path", b"unsupported operation", b"only supported by 'service'")
    return not any(text in body for text in refused)


async def _cell(bao: Bao, path: str, token: Secret | None) -> str:
    return "".join([verb for verb in VERBS if await _allowed(bao, verb, path, token)]) or "-"


async def measure(bao: Bao) -> dict[str, dict[str, str]]:
    """Path -> column -> allowed verbs, by sending every verb to every path as every identity."""
    own, other, cut = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
    entities = {client: await bao.enroll(client) for client in (own, other, cut)}
    web = await bao.web.token()
    for client, provider in itertools.product((own, other, cut), ("openai", "anthropic")):
        body = {"options": {"cas": 0}, "data": {"value": f"canary-{client}"}}
        await bao.http.request("POST", f"kv/data/clients/{client}/providers/{provider}", token=web, body=body)

    # Encrypting under a key that is not there asks for another right, and columns are measured side by side.
    made, kind = await bao.lease(own, "custody", "profile"), {"type": "aes256-gcm96", "derived": True}
    await bao.http.request("POST", f"tenant/keys/development-{own}", token=made, body=kind)

    async def machine(name: str) -> Secret:
        return (await log_in(bao.http, bao.credentials / f"{name}.approle"))[0]

    async def enrolled() -> Secret:
        body = {"role": "enroll", "jwt": await bao.jwt(own, "enroll")}
        return Secret((await bao.http.request("POST", "auth/lease/cel/login", body=body)).auth["client_token"])

    async def sealing() -> Secret:
        return await lease_login(bao.http, await bao.jwt(own, "custody", "seal"), "seal-profile")

    async def cut_off() -> Secret:
        path = f"identity/entity/id/{entities[cut]}"
        await bao.broker.request("POST", path, body={"disabled": False})
        token = await bao.lease(cut, "custody", "openai")
        await bao.broker.request("POST", path, body={"disabled": True})
        return token

    async def nobody() -> None:
        return None

    identities: dict[str, Callable[[], Awaitable[Secret | None]]] = {
        **{name: lambda name=name: machine(name) for name in ("web", "broker", "killswitch", "backup", "provisioner")},
        "use-openai": lambda: bao.lease(own, "use", "openai"),
        "custody-openai": lambda: bao.lease(own, "custody", "openai"),
        "use-x": lambda: bao.lease(own, "use", "x"),
        "custody-x": lambda: bao.lease(own, "custody", "x"),
        "use-profile": lambda: bao.lease(own, "use", "profile"),
        "custody-profile": lambda: bao.lease(own, "custody", "profile"),
        "seal-profile": sealing,
        "enroll": enrolled,
        "cut off": cut_off,
        "anonymous": nobody,
    }

    async def column(name: str) -> dict[str, str]:
        client = {"cut off": cut}.get(name, own)
        named = {"own": client, "OWN": str(client).upper(), "other": other, "entity": entities[client]}
        cells: dict[str, str] = {}
        token, since = None, 0.0
        for pattern in PATHS:
            path = pattern.format(**named)
            while pattern not in cells:
                # A lease's token lives two seconds, and revoke-self does what it says.
                if time.monotonic() - since > 0.8 or "revoke" in path:
                    since = time.monotonic()
                    token = await identities[name]()
                cell = await _cell(bao, path, token)
                if time.monotonic() - since < 1.8:  # or the token may have ended on the way, which proves nothing
                    cells[pattern] = cell
            since = 0.0 if "revoke" in path else since
        return cells

    columns = dict(zip(COLUMNS, await asyncio.gather(*(column(name) for name in COLUMNS)), strict=True))
    return {pattern: {name: columns[name][pattern] for name in COLUMNS} for pattern in PATHS}


def render(found: dict[str, dict[str, str]]) -> str:
    """The table as Markdown. Paths that everybody is refused stand in it too: that is what it is for."""
    lines = ["| path | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    lines += [
        f"| `{path}` | " + " | ".join(cells[column] for column in COLUMNS) + " |" for path, cells in found.items()
    ]
    return "\n".join(lines) + "\n"


def documented() -> dict[str, dict[str, str]]:
    """The table of the document."""
    rows = [line for line in DOCUMENT.read_text("utf-8").splitlines() if line.startswith("| ")]
    head, *body = ([cell.strip() for cell in row.strip("|").split("|")] for row in rows)
    if tuple(head[1:]) != COLUMNS:
        raise ValueError("the document's columns are others")
    return {cells[0].strip("`"): dict(zip(head[1:], cells[1:], strict=True)) for cells in body}


async def _main() -> None:
    with tempfile.TemporaryDirectory(prefix="bao") as home:
        async with running_openbao(Path(home)) as bao:
            table = render(await measure(bao))
    text = DOCUMENT.read_text("utf-8")
    head = text[: text.index("| path |")]
    tail = text[text.rindex("|\n") + 2 :]
    DOCUMENT.write_text(head + table + tail, "utf-8")


if __name__ == "__main__":
    asyncio.run(_main())
