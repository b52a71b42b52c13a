"""Port KeyHolder by a hardware module over PKCS#11: one AES-256 key object for each client and version.

Rules
- A KEK is made inside the module, sensitive and never extractable. Its versions carry the KEK's id as ``CKA_ID`` and a
  label ``{kek}/v{n}/{time}``.
- A DEK is wrapped by AES-256-GCM inside the module, with the canonical context as associated data: another context does
  not open it. Key-wrap mechanisms (KW, KWP) take no context, so the binding would be our word alone.
- A nonce is 96 random bits. A KEK is replaced within two years, far from 2^32 wraps.
- Which versions may protect and open are attributes of the objects (``CKA_ENCRYPT``, ``CKA_DECRYPT``), held by the
  module.
- What a key makes of one fixed block tells it from any other that gets its id and label (``identity``): deciphered, for
  that every version may, and as a digest.
- One session for each act, one act at a time in this process: login is the process's, not the session's.
- A PIN that was refused once is not tried again: modules lock after a few.

It may not import a key, and may not destroy one that was ever used.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
import secrets
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import pkcs11
from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, MechanismFlag, ObjectClass

from byokeep.core.errors import ByokeepError, Conflict, Unavailable
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
    is_unfinished,
    unusable,
)
from byokeep.core.model import Environment
from byokeep.core.secret import Secret

T = TypeVar("T")

_LABEL: Final = re.compile(r"([a-z0-9-]{1,63})/v([1-9][0-9]{0,8})/(\d{8}T\d{6})Z\Z")
_TIME: Final = "%Y%m%dT%H%M%S"
_PREFIX: Final = "gcm1:"
_NONCE: Final = 12  # bytes
_TAG: Final = 16  # bytes
_CHECKED: Final = b"byokeep/kek/1 id"  # one block
_ONE_ACT: Final = threading.Lock()
_KIND: Final = (
    (Attribute.SENSITIVE, True), (Attribute.EXTRACTABLE, False), (Attribute.NEVER_EXTRACTABLE, True),
    (Attribute.LOCAL, True), (Attribute.WRAP, False), (Attribute.UNWRAP, False), (Attribute.KEY_TYPE, KeyType.AES),
    (Attribute.VALUE_LEN, 32),
)  # fmt: skip
_WILL_NOT_OPEN: Final = (
    pkcs11.EncryptedDataInvalid, pkcs11.EncryptedDataLenRange, pkcs11.GeneralError, pkcs11.DataInvalid,
    pkcs11.FunctionFailed,
)  # fmt: skip


class Pkcs11KeyHolder:
    """Wraps under the client's own key in one token.

    Args:
        module: Path of the module's shared library.
        token: Label of the token.
        pin: Reads the user's PIN; called for each act.
        environment: Of this installation.
        now: The time, for labels.
    """

    def __init__(
        self, *, module: str, token: str, pin: Callable[[], Secret], environment: Environment,
        now: Callable[[], datetime],
    ) -> None:  # fmt: skip
        self._module = module
        self._token = token
        self._pin = pin
        self._pin_refused = False
        self._environment = environment
        self._now = now

    async def wrap(self, dek: Secret, context: KeyContext) -> Wrapped:
        """Wrap 32 bytes under the newest version."""
        check_environment(self._environment, context)
        check_dek_size(len(dek.reveal()))
        return await self._act(lambda session: _wrap(session, dek, context))

    async def unwrap(self, wrapped: Wrapped, context: KeyContext) -> Secret:
        """Return the DEK."""
        sealed = self._sealed(wrapped, context)
        return await self._act(lambda session: _unwrap(session, wrapped.kek_version, sealed, context))

    async def rewrap(self, wrapped: Wrapped, context: KeyContext) -> Wrapped:
        """Move a wrapped DEK to the newest version. No mechanism does that inside: the DEK passes through here."""
        sealed = self._sealed(wrapped, context)

        def move(session: Any) -> Wrapped:
            dek = _unwrap(session, wrapped.kek_version, sealed, context)
            try:
                return _wrap(session, dek, context)
            finally:
                dek.wipe()

        return await self._act(move)

    async def rotate(self, scope: KekScope, *, expected: int) -> KekStatus:
        """Make the next version and let no older one protect anything; a rotation that was cut is finished."""
        check_environment(self._environment, scope)

        def make(session: Any) -> KekStatus:
            status = _status(session, scope)
            if not is_unfinished(status, expected):
                check_rotation(status, expected)
                _generate(session, scope, expected + 1, self._now())
            for number, keys in _objects(session, scope).items():
                for key in keys if number <= expected else ():
                    key[Attribute.ENCRYPT] = False
            return _status(session, scope)

        return await self._act(make)

    async def versions(self, scope: KekScope) -> KekStatus:
        """Return what the token holds for this client."""
        check_environment(self._environment, scope)
        return await self._act(lambda session: _status(session, scope))

    async def retire(self, scope: KekScope, *, below: int) -> KekStatus:
        """Let no version below open anything any more. The objects stay: a gap is always somebody else's act."""
        check_environment(self._environment, scope)

        def close(session: Any) -> KekStatus:
            check_retirement(_status(session, scope), below)
            for number, keys in sorted(_objects(session, scope).items()):
                for key in keys if number < below else ():
                    key[Attribute.DECRYPT] = False
            return _status(session, scope)

        return await self._act(close)

    def _sealed(self, wrapped: Wrapped, context: KeyContext) -> bytes:
        check_environment(self._environment, context)
        check_wrapped(wrapped, KeyProvider.PKCS11, context.scope.tenant_kek)
        try:
            raw = base64.b64decode(wrapped.ciphertext.removeprefix(_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        if not wrapped.ciphertext.startswith(_PREFIX) or len(raw) != _NONCE + DEK_BYTES + _TAG:
            raise broken()
        return raw

    async def _act(self, work: Callable[[Any], T]) -> T:
        return await asyncio.to_thread(self._in_session, work)

    def _in_session(self, work: Callable[[Any], T]) -> T:
        code = "hsm_failed"
        try:
            with _ONE_ACT, self._open() as session:
                return work(session)
        except ByokeepError:
            raise
        except pkcs11.PinLocked:
            code = "hsm_pin_refused"
        except (pkcs11.PKCS11Error, OSError):
            code = "hsm_failed"
        raise Unavailable(code) from None

    def _open(self) -> Any:
        code = "hsm_pin_refused"
        try:
            token = pkcs11.lib(self._module).get_token(token_label=self._token)
            if not self._pin_refused:
                return token.open(rw=True, user_pin=self._pin().reveal().decode())
        except (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange):
            self._pin_refused = True
        except (pkcs11.NoSuchToken, pkcs11.MultipleTokensReturned, pkcs11.TokenNotPresent):
            code = "hsm_token_missing"
        except (pkcs11.PKCS11Error, OSError):
            code = "hsm_unreachable"
        raise Unavailable(code, next_step="Check kek_pkcs11_module, kek_pkcs11_token and the PIN file.") from None


def _wrap(session: Any, dek: Secret, context: KeyContext) -> Wrapped:
    status = _status(session, context.scope)
    newest = status.versions[-1] if status.versions else None
    if newest is None or newest.fault is not None:
        raise unusable(KekFault.MISSING if newest is None or newest.fault is None else newest.fault)
    key = _objects(session, context.scope)[newest.number][0]
    nonce = secrets.token_bytes(_NONCE)
    sealed = bytes(key.encrypt(dek.reveal(), mechanism=Mechanism.AES_GCM, mechanism_param=_bound(nonce, context)))
    if len(sealed) != DEK_BYTES + _TAG:
        raise Unavailable("hsm_failed")
    text = _PREFIX + base64.b64encode(nonce + sealed).decode()
    return Wrapped(
        holder=KeyProvider.PKCS11,
        kek_id=status.kek_id,
        kek_version=newest.number,
        ciphertext=text,
        identity=_identity(key),
    )


def _unwrap(session: Any, version: int, sealed: bytes, context: KeyContext) -> Secret:
    keys = _objects(session, context.scope).get(version, [])
    if not keys:
        raise unusable(KekFault.MISSING)
    if len(keys) > 1 or not keys[0][Attribute.DECRYPT]:
        raise unusable(KekFault.FOREIGN if len(keys) > 1 else KekFault.DISABLED)
    bound = _bound(sealed[:_NONCE], context)
    try:
        raw = bytes(keys[0].decrypt(sealed[_NONCE:], mechanism=Mechanism.AES_GCM, mechanism_param=bound))
    except _WILL_NOT_OPEN:
        raw = b""  # modules name it differently; one that has gone away does not answer the next question
        _ = keys[0][Attribute.LABEL]
    if len(raw) != DEK_BYTES:
        raise broken()
    return Secret(raw)


def _bound(nonce: bytes, context: KeyContext) -> Any:
    return GCMParams(nonce, context.canonical, _TAG * 8)


def _generate(session: Any, scope: KekScope, number: int, now: datetime) -> None:
    """Make a version; when another process made the same one meanwhile, take ours back."""
    key = session.generate_key(
        KeyType.AES, DEK_BYTES * 8, id=scope.tenant_kek.encode(),
        label=f"{scope.tenant_kek}/v{number}/{now.astimezone(UTC):{_TIME}}Z", store=True,
        capabilities=MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT,
        template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.MODIFIABLE: True},
    )  # fmt: skip
    if len(_objects(session, scope).get(number, [])) != 1:
        key.destroy()
        raise Conflict("kek_version_moved", expected=number - 1, newest=number)


def _objects(session: Any, scope: KekScope) -> dict[int, list[Any]]:
    """Return version -> its key objects; more than one is somebody else's doing."""
    found: dict[int, list[Any]] = {}
    search = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.ID: scope.tenant_kek.encode()}
    for key in session.get_objects(search):
        label = _LABEL.match(key.label)
        if label and label.group(1) == scope.tenant_kek:
            found.setdefault(int(label.group(2)), []).append(key)
    return found


def _status(session: Any, scope: KekScope) -> KekStatus:
    objects = _objects(session, scope)
    if not objects:
        return KekStatus(
            holder=KeyProvider.PKCS11, kek_id=scope.tenant_kek, versions=(), min_encryption=0, min_decryption=0
        )
    newest, opens = max(objects), FIRST_VERSION
    while opens < newest and opens in objects and not objects[opens][0][Attribute.DECRYPT]:
        opens += 1  # retired
    protects = next((n for n in sorted(objects) if objects[n][0][Attribute.ENCRYPT]), newest)
    versions = tuple(_version(n, objects.get(n, []), newest=newest) for n in range(opens, newest + 1))
    return KekStatus(
        holder=KeyProvider.PKCS11,
        kek_id=scope.tenant_kek,
        versions=versions,
        min_encryption=protects,
        min_decryption=opens,
    )


def _version(number: int, keys: list[Any], *, newest: int) -> KekVersion:
    if not keys:
        return KekVersion(number=number, created_at=None, fault=KekFault.MISSING)
    label = _LABEL.match(keys[0].label)
    made = datetime.strptime(label.group(3), _TIME).replace(tzinfo=UTC) if label else None
    fault: KekFault | None = None
    if not keys[0][Attribute.DECRYPT] or (number == newest and not keys[0][Attribute.ENCRYPT]):
        fault = KekFault.DISABLED
    if len(keys) > 1 or any(keys[0][name] != value for name, value in _KIND):
        fault = KekFault.FOREIGN
    identity = "" if fault is not None else _identity(keys[0])
    return KekVersion(number=number, created_at=made, fault=fault, identity=identity)


def _identity(key: Any) -> str:
    shown = bytes(key.decrypt(_CHECKED, mechanism=Mechanism.AES_ECB))
    return "aes:" + hashlib.sha256(shown).hexdigest()
