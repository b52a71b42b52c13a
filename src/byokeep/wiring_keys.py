"""Who keeps the keys that guard browser profiles, by the settings: the part of the wiring that is about them.

Rules: as of :mod:`byokeep.wiring`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from byokeep.adapters.kms import aws_keeper, pkcs11_keeper
from byokeep.adapters.openbao.files import read_private
from byokeep.adapters.system import SystemClock
from byokeep.client.settings import ClientSettings
from byokeep.core.kek import KeyProvider
from byokeep.core.secret import Secret
from byokeep.flows.kek_app import KekApp
from byokeep.flows.worker_app import WorkerApp
from byokeep.ports import KekKeeper
from byokeep.sealing.transit import Login, TransitKeyHolder
from byokeep.settings import Settings
from byokeep.wiring_profiles import artifact_store
from byokeep.worker.key_custody import BrokerKekCustodian


def key_holders(settings: Settings) -> Callable[[Login], KekKeeper]:
    """Return what makes the chosen keeper of KEKs for a lease; only OpenBao's needs one. Raises Rejected."""
    here = settings.environment
    if settings.kek_holder == KeyProvider.AWS:
        keeper = aws_keeper(settings.kek_name, here, region=settings.kek_aws_region, endpoint=settings.kek_aws_endpoint)
    elif settings.kek_holder == KeyProvider.PKCS11:
        module, token, file = settings.kek_pkcs11_module, settings.kek_pkcs11_token, Path(settings.kek_pkcs11_pin_file)
        keeper = pkcs11_keeper(module, token, lambda: Secret(read_private(file).strip()), here, SystemClock().now)
    else:
        return lambda login: TransitKeyHolder(login, here)
    return lambda _: keeper


def kek_app(settings: Settings, app: WorkerApp, broker: ClientSettings) -> KekApp:
    """Return the worker's ports for the keys of profiles.

    Args:
        app: The worker's own.
        broker: Where the custodian finds the broker, and its token.
    """
    return KekApp(
        db=app.db,
        clock=app.clock,
        ids=app.ids,
        installation_id=app.installation_id,
        environment=app.environment,
        limits=app.limits,
        artifacts=artifact_store(settings),
        kek_custodian=BrokerKekCustodian(broker, key_holders(settings)),
        kek_owner=settings.kek_owner,
        kek_rotation_days=settings.kek_rotation_days,
    )
