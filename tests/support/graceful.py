"""``byokeep refresher``, told that X takes a spent refresh token for a minute: no platform of today promises that.

Run it as ``python -m tests.support.graceful --config FILE``; the platform must keep the promise.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from byokeep import settings
from byokeep.accounts import refresher_app
from byokeep.core.refresh import RefreshRules, TokenModel
from byokeep.processes import serve

GRACE_S = 60


def main() -> None:
    """Serve until killed."""
    known: Any = refresher_app.PLATFORM_DESCRIPTORS
    rules = RefreshRules(model=TokenModel.ROTATING_GRACE, grace_s=GRACE_S, alarm_days=14)
    changed = replace(known["x"], oauth=replace(known["x"].oauth, refresh_rules=rules))
    refresher_app.PLATFORM_DESCRIPTORS = MappingProxyType({**known, "x": changed})  # type: ignore[misc]
    serve.serve("refresher", settings.load(Path(sys.argv[2])))


if __name__ == "__main__":
    main()
