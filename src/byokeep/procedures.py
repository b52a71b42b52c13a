"""Every procedure that the domains declare: what each process hands to its App.

It may not do anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from byokeep.breakglass.model import BREAK_GLASS, BREAK_GLASS_DRILL
from byokeep.core.procedure import Procedure
from byokeep.incidents.mass_revoke import MASS_REVOKE
from byokeep.incidents.playbooks import LOWER_SEVERITY, NO_PLAYBOOK, PROVIDER_KEY_LEAKED, SOCIAL_TOKEN_LOST
from byokeep.kernel.sops import SOPS
from byokeep.keys.orphans import PURGE_ORPHANS
from byokeep.keys.provider_usage import PROVIDER_USAGE
from byokeep.keys.unused_key import END_UNUSED_KEY, ROTATE_KEY, ROTATE_KEY_CUTOVER, ROTATE_KEY_LEAKED, ROTATE_KEY_MINTED
from byokeep.operations.internal import ROTATE_INTERNAL
from byokeep.profiles import incident

PROCEDURES: Final[Mapping[str, Procedure]] = {
    **SOPS,
    **{one.name: one for one in (
        incident.PROCEDURE, MASS_REVOKE, ROTATE_KEY, ROTATE_KEY_CUTOVER, ROTATE_KEY_LEAKED, ROTATE_KEY_MINTED,
        END_UNUSED_KEY, PURGE_ORPHANS, ROTATE_INTERNAL, PROVIDER_KEY_LEAKED, SOCIAL_TOKEN_LOST, LOWER_SEVERITY,
        NO_PLAYBOOK, BREAK_GLASS, BREAK_GLASS_DRILL, PROVIDER_USAGE,
    )},
}  # fmt: skip
