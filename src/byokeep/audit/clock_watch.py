"""Trusted time: notices a clock that was set by hand, and two clocks that disagree (S-OWASP-2).

Rules
- The wall clock is held against one that can not be set; what they part by since the last look is a jump.
- The database's clock, which decides every life and stamps every record, is held against ours.
- It only tells. Lives are short and measured by one clock, holders count on a clock nobody can set, and the order of
  records is their number, so that a jump prolongs nothing that is handed out.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from byokeep.kernel.alarm import raise_alert
from byokeep.kernel.app import App

TOLERATED_S: Final = 300.0  # seconds


class ClockWatch:
    """Looks at the clocks of one process.

    Args:
        app: Its ports.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._offset = self._apart()

    async def look(self) -> bool:
        """Raise ``clock_jump`` or ``clock_skew`` alerts; returns whether all is well.

        Raises:
            Unavailable: The database could not be asked, or did not take the alert.
        """
        offset = self._apart()
        jumped = abs(offset - self._offset) > TOLERATED_S
        if jumped:
            await raise_alert(self._app, reason="clock_jump", key="clock/jump", severity="critical")
        self._offset = offset
        async with self._app.db.begin() as tx:
            theirs: datetime = await tx.one(datetime, "clock_now")
        skewed = abs((theirs - self._app.clock.now()).total_seconds()) > TOLERATED_S
        if skewed:
            await raise_alert(self._app, reason="clock_skew", key="clock/skew", severity="critical")
        return not jumped and not skewed

    def _apart(self) -> float:
        return self._app.clock.now().timestamp() - self._app.clock.monotonic()
