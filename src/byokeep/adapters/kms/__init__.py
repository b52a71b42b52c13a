"""Holders of key-encryption keys other than OpenBao: AWS KMS and hardware modules over PKCS#11 (ADR 0027).

Each needs its extra, ``byokeep[aws]`` or ``byokeep[pkcs11]``. Its library is imported when the holder is chosen and not
before, so that the other extras need not be there.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from byokeep.core.errors import Rejected
from byokeep.core.model import Environment
from byokeep.core.secret import Secret
from byokeep.ports import KekKeeper


def aws_keeper(name: str, environment: Environment, *, region: str, endpoint: str) -> KekKeeper:
    """Return AWS KMS as keeper of KEKs. Raises Rejected(``extra_missing``)."""
    try:
        from byokeep.adapters.kms.aws import AwsKeyHolder, connect  # noqa: PLC0415 - see the top
    except ImportError:
        raise _missing("aws") from None
    return AwsKeyHolder(connect(region, endpoint), name, environment)


def pkcs11_keeper(
    module: str, token: str, pin: Callable[[], Secret], environment: Environment, now: Callable[[], datetime]
) -> KekKeeper:
    """Return a hardware module as keeper of KEKs. Raises Rejected(``extra_missing``)."""
    try:
        from byokeep.adapters.kms.pkcs11 import Pkcs11KeyHolder  # noqa: PLC0415 - see the top
    except ImportError:
        raise _missing("pkcs11") from None
    return Pkcs11KeyHolder(module=module, token=token, pin=pin, environment=environment, now=now)


def _missing(extra: str) -> Rejected:
    next_step = f"Install it, from a checkout: pip install '/path/to/byokeep[{extra}]'."
    return Rejected("extra_missing", next_step=next_step, extra=extra)
