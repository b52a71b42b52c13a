"""Port KeyHolder by AWS KMS: one symmetric key for each version, found by its alias.

Rules
- Version n of the KEK is the key behind ``alias/{name}-{environment}-v{n}``. So a version can be seen, counted and
  disabled by itself, which AWS's own rotation inside one key does not let anybody do.
- One KEK serves all clients of an environment. Clients and profiles are kept apart by the encryption context, which KMS
  binds, shows in CloudTrail and matches key policies on.
- ``byokeep-opens-from``, a tag of the newest key, says which versions were retired by us. What is missing, disabled or
  waiting for its deletion beside those was done outside, and stands in the status as a fault.
- A use names the key itself, and the reply must name the same: an alias that is moved meanwhile changes nothing, and
  what another key says is not taken. Which key a version was made with the caller keeps (``identity``, its ARN).
- Only material that KMS made, in one region, is ours: who brought the bits has them.
- The state of a key is asked before each use: the answer to a use alone does not say it early enough.
- boto3 is synchronous: it runs in threads.

It may not schedule a deletion, and needs no right to.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import boto3  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError  # type: ignore[import-untyped]

from byokeep.core.errors import ByokeepError, Conflict, Denied, RateLimited, Unavailable
from byokeep.core.kek import (
    DEK_BYTES,
    FIRST_VERSION,
    KekFault,
    KekScope,
    KekStatus,
    KekVersion,
    KeyContext,
    KeyProvider,
    Wrapped,
    broken,
    check_dek_size,
    check_environment,
    check_retirement,
    check_rotation,
    check_wrapped,
    unusable,
)
from byokeep.core.model import Environment
from byokeep.core.secret import Secret

T = TypeVar("T")

_OPENS_FROM: Final = "byokeep-opens-from"
_OURS: Final = ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "CUSTOMER", "AWS_KMS")
_TAKEN: Final = "AlreadyExistsException"
_VERSIONED: Final = re.compile(r"(alias/[a-z0-9-]+)-v([1-9][0-9]{0,8})\Z")
_NOT_OPENED: Final = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})
_BUSY: Final = frozenset({"ThrottlingException", "Throttling", "LimitExceededException"})
_STATES: Final = {
    "NotFoundException": KekFault.MISSING,
    "DisabledException": KekFault.DISABLED,
    "KMSInvalidStateException": KekFault.PENDING_DELETION,
}
_DENIED: Final = frozenset({"AccessDeniedException", "UnrecognizedClientException", "InvalidClientTokenId"})


def connect(region: str, endpoint: str = "") -> Any:
    """Return a client of KMS; who we are comes from the machine (instance role, profile), never from our settings.

    Args:
        region: E.g. ``eu-central-1``.
        endpoint: Another address than the region's own; empty = the region's.
    """
    config = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2, "mode": "standard"})
    return boto3.client("kms", region_name=region, endpoint_url=endpoint or None, config=config)


class AwsKeyHolder:
    """Wraps with the KEK ``{name}-{environment}``.

    Args:
        client: Of :func:`connect`.
        name: First part of the KEK's id, from the settings.
        environment: Of this installation.
    """

    def __init__(self, client: Any, name: str, environment: Environment) -> None:
        self._client = client
        self._environment = environment
        self._kek = f"{name}-{environment.value}"

    async def wrap(self, dek: Secret, context: KeyContext) -> Wrapped:
        """Wrap 32 bytes under the newest version."""
        check_environment(self._environment, context)
        raw = dek.reveal()
        check_dek_size(len(raw))
        newest = await self._newest()
        reply = await _call(
            self._client.encrypt, KeyId=newest.identity, Plaintext=raw, EncryptionContext=dict(context.pairs)
        )
        return self._wrapped(newest, reply)

    async def unwrap(self, wrapped: Wrapped, context: KeyContext) -> Secret:
        """Return the DEK. The KEK is named in the call, so KMS takes no other one."""
        blob = self._blob(wrapped, context)
        key = await self._check(wrapped.kek_version)
        reply = await _call(self._client.decrypt, KeyId=key, CiphertextBlob=blob, EncryptionContext=dict(context.pairs))
        _by(key, reply["KeyId"])
        raw = bytes(reply["Plaintext"])
        if len(raw) != DEK_BYTES:
            raise broken()
        return Secret(raw)

    async def rewrap(self, wrapped: Wrapped, context: KeyContext) -> Wrapped:
        """Move a wrapped DEK to the newest version, inside KMS."""
        blob = self._blob(wrapped, context)
        key = await self._check(wrapped.kek_version)
        newest, pairs = await self._newest(), dict(context.pairs)
        reply = await _call(
            self._client.re_encrypt, CiphertextBlob=blob, SourceKeyId=key, SourceEncryptionContext=pairs,
            DestinationKeyId=newest.identity, DestinationEncryptionContext=pairs,
        )  # fmt: skip
        _by(key, reply["SourceKeyId"])
        return self._wrapped(newest, reply)

    async def rotate(self, scope: KekScope, *, expected: int) -> KekStatus:
        """Make a key for the next version. Taking its alias decides who was first; the other's key stays unused."""
        status = await self.versions(scope)
        check_rotation(status, expected)
        made = await _call(
            self._client.create_key, KeyUsage="ENCRYPT_DECRYPT", KeySpec="SYMMETRIC_DEFAULT",
            Description=f"byokeep KEK {self._kek}",
            Tags=[{"TagKey": _OPENS_FROM, "TagValue": str(max(status.min_decryption, FIRST_VERSION))}],
        )  # fmt: skip
        target = made["KeyMetadata"]
        await _call(self._client.create_alias, AliasName=self._alias(expected + 1), TargetKeyId=target["KeyId"])
        status = await self.versions(scope)
        _by(target["Arn"], status.versions[-1].identity)
        return status

    async def versions(self, scope: KekScope) -> KekStatus:
        """Return what stands behind the aliases, and what of it was done outside."""
        check_environment(self._environment, scope)
        own, elsewhere = await self._aliases()
        if not own:
            return KekStatus(holder=KeyProvider.AWS, kek_id=self._kek, versions=(), min_encryption=0, min_decryption=0)
        newest = max(own)
        opens = await self._opens_from(own[newest], newest)
        found = [await self._version(number, own.get(number), elsewhere) for number in range(opens, newest + 1)]
        return KekStatus(
            holder=KeyProvider.AWS, kek_id=self._kek, versions=tuple(found), min_encryption=newest, min_decryption=opens
        )

    async def retire(self, scope: KekScope, *, below: int) -> KekStatus:
        """Disable the keys of all versions below. The mark comes first: a retirement that was cut is no alarm."""
        status = await self.versions(scope)
        check_retirement(status, below)
        own, _ = await self._aliases()
        mark = [{"TagKey": _OPENS_FROM, "TagValue": str(max(below, status.min_decryption))}]
        await _call(self._client.tag_resource, KeyId=own[status.newest], Tags=mark)
        for number in sorted(own):
            if number < below and (await self._state(own[number]))["KeyState"] == "Enabled":
                await _call(self._client.disable_key, KeyId=own[number])
        return await self.versions(scope)

    def _alias(self, version: int) -> str:
        return f"alias/{self._kek}-v{version}"

    async def _aliases(self) -> tuple[dict[int, str], set[str]]:
        """Return version -> key id of our KEK, and the keys that stand under another environment's name as well."""

        def read() -> list[dict[str, Any]]:
            pages = self._client.get_paginator("list_aliases").paginate()
            return [alias for page in pages for alias in page["Aliases"] if "TargetKeyId" in alias]

        own: dict[int, str] = {}
        elsewhere: set[str] = set()
        others = tuple(f"-{environment.value}" for environment in Environment if environment is not self._environment)
        for alias in await _call(read):
            found = _VERSIONED.match(alias["AliasName"])
            if found and found.group(1) == f"alias/{self._kek}":
                own[int(found.group(2))] = alias["TargetKeyId"]
            elif found and found.group(1).endswith(others):
                elsewhere.add(alias["TargetKeyId"])
        return own, elsewhere

    async def _newest(self) -> KekVersion:
        own, elsewhere = await self._aliases()
        if not own:
            raise unusable(KekFault.MISSING)
        newest = max(own)
        version = await self._version(newest, own[newest], elsewhere)
        if version.fault is not None:
            raise unusable(version.fault)
        return version

    async def _check(self, version: int) -> str:
        state = await self._state(self._alias(version))
        if (fault := _fault(state)) is not None:
            raise unusable(fault)
        return str(state["Arn"])

    async def _version(self, number: int, key_id: str | None, elsewhere: set[str]) -> KekVersion:
        if key_id is None:
            return KekVersion(number=number, created_at=None, fault=KekFault.MISSING)
        state = await self._state(key_id)
        fault = KekFault.FOREIGN if key_id in elsewhere else _fault(state)
        return KekVersion(number=number, created_at=state["CreationDate"], fault=fault, identity=str(state["Arn"]))

    async def _state(self, key_id: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = (await _call(self._client.describe_key, KeyId=key_id))["KeyMetadata"]
        return found

    async def _opens_from(self, key_id: str, newest: int) -> int:
        tags = (await _call(self._client.list_resource_tags, KeyId=key_id))["Tags"]
        text = next((tag["TagValue"] for tag in tags if tag["TagKey"] == _OPENS_FROM), "")
        return min(int(text), newest) if text.isdecimal() and len(text) < 10 and int(text) else FIRST_VERSION

    def _blob(self, wrapped: Wrapped, context: KeyContext) -> bytes:
        check_environment(self._environment, context)
        check_wrapped(wrapped, KeyProvider.AWS, self._kek)
        try:
            return base64.b64decode(wrapped.ciphertext, validate=True)
        except (binascii.Error, ValueError):
            raise broken() from None

    def _wrapped(self, version: KekVersion, reply: Mapping[str, Any]) -> Wrapped:
        _by(version.identity, reply["KeyId"])
        text = base64.b64encode(bytes(reply["CiphertextBlob"])).decode()
        return Wrapped(
            holder=KeyProvider.AWS,
            kek_id=self._kek,
            kek_version=version.number,
            ciphertext=text,
            identity=version.identity,
        )


def _fault(state: Mapping[str, Any]) -> KekFault | None:
    if state["KeyState"] in ("PendingDeletion", "PendingReplicaDeletion"):
        return KekFault.PENDING_DELETION
    if state["KeyState"] != "Enabled":
        return KekFault.DISABLED
    kind = tuple(state.get(name) for name in ("KeySpec", "KeyUsage", "KeyManager", "Origin"))
    return None if kind == _OURS and not state.get("MultiRegion") else KekFault.FOREIGN


def _by(key: str, said: object) -> None:
    """Let a reply pass that names the key that was asked. Raises Rejected(``kek_foreign``)."""
    if said != key:
        raise unusable(KekFault.FOREIGN)


async def _call(act: Callable[..., T], **given: Any) -> T:
    """Run one call of boto3 in a thread; what it says becomes a code, its text is dropped."""
    failed: ByokeepError
    try:
        return await asyncio.to_thread(act, **given)
    except ClientError as error:
        failed = _failure(str(error.response.get("Error", {}).get("Code", "")))
    except NoCredentialsError:
        failed = Unavailable("kms_credentials_missing", next_step="Give this machine a role that may use the KEK.")
    except BotoCoreError:
        failed = Unavailable("kms_unreachable")
    raise failed from None


def _failure(code: str) -> ByokeepError:
    if code in _NOT_OPENED:
        return broken()
    if code in _STATES:
        return unusable(_STATES[code])
    if code == _TAKEN:
        return Conflict("kek_version_moved", next_step="Somebody else rotated; look at the versions first.")
    if code in _BUSY:
        return RateLimited("kms_rate_limited", retry_after_s=1)
    return Denied("kms_denied") if code in _DENIED else Unavailable("kms_failed")
