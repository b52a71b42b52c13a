"""Passkeys as the WebAuthn library knows them: what browsers are asked, and whether their answers hold.

Rules
- One origin, the console's, with its host as the id of the relying party. Whose passkey it is, and whether it was
  copied, is decided elsewhere (:mod:`byokeep.tenancy.passkeys`).
- The authenticator verifies the owner each time. No attestation is asked for: any maker's passkey will do.
- A failure is one code. What the library says about it is dropped.

It may not keep anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

from cryptography.exceptions import UnsupportedAlgorithm
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import parse_authentication_credential_json
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from byokeep.core.errors import Rejected

_ALWAYS: Final = UserVerificationRequirement.REQUIRED
_WITHIN_MS: Final = 300_000  # tenancy/passkeys.py, CHALLENGE_S


class Passkeys:
    """Asks for passkeys of one origin and checks them.

    Args:
        origin: ``https://host[:port]`` of the console; ``http`` on localhost.
    """

    def __init__(self, origin: str) -> None:
        self._origin, self._party = origin, urlsplit(origin).hostname or ""

    def to_add(self, challenge: bytes, user: UUID, name: str, known: Sequence[bytes]) -> str:
        """Return what a browser is asked in order to add one, as JSON."""
        return options_to_json(
            generate_registration_options(
                rp_id=self._party, rp_name="byokeep", user_id=user.bytes, user_name=name, challenge=challenge,
                timeout=_WITHIN_MS,
                authenticator_selection=AuthenticatorSelectionCriteria(
                    resident_key=ResidentKeyRequirement.REQUIRED, user_verification=_ALWAYS
                ),
                exclude_credentials=[PublicKeyCredentialDescriptor(id=one) for one in known],
            )
        )  # fmt: skip

    def to_sign_in(self, challenge: bytes) -> str:
        """Return what a browser is asked in order to sign in, as JSON."""
        return options_to_json(
            generate_authentication_options(
                rp_id=self._party, challenge=challenge, timeout=_WITHIN_MS, user_verification=_ALWAYS
            )
        )

    def made(self, challenge: bytes, said: str) -> tuple[bytes, bytes, int]:
        """Return identifier, public half and number of uses of a new one. Raises Rejected(``bad_passkey``)."""
        with _checking():
            found = verify_registration_response(
                credential=said, expected_challenge=challenge, expected_rp_id=self._party, expected_origin=self._origin,
                require_user_verification=True,
            )  # fmt: skip
            return found.credential_id, found.credential_public_key, found.sign_count

    def identifier(self, said: str) -> bytes:
        """Return which passkey an answer is from; nothing is checked. Raises Rejected(``bad_passkey``)."""
        with _checking():
            return parse_authentication_credential_json(said).raw_id

    def uses(self, challenge: bytes, said: str, public_half: bytes) -> int:
        """Return how often the passkey that answers a challenge has been used. Raises Rejected(``bad_passkey``)."""
        with _checking():
            return verify_authentication_response(
                credential=said, expected_challenge=challenge, expected_rp_id=self._party, expected_origin=self._origin,
                credential_public_key=public_half, require_user_verification=True,
                credential_current_sign_count=0,  # compared with the row, which knows the last
            ).new_sign_count  # fmt: skip


@contextmanager
def _checking() -> Iterator[None]:
    try:
        yield
        return
    except (
        WebAuthnException,
        UnsupportedAlgorithm,
        ArithmeticError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ):
        pass
    raise Rejected("bad_passkey", next_step="Reload the page and try again.")
