"""How secrets begin: what our own surface refuses in a place that is not for them.

The kinds of one provider's keys stand in its data file (``adapters/providers/data``), and what is searched for in
foreign text in ``byokeep_redact/rules.toml``.

It may not see a value that is where it belongs.
"""

from __future__ import annotations

import re
from typing import Final

# In names and reasons, which people write: a beginning is enough.
SECRET_START: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:sk|pk|rk)[-_][A-Za-z0-9]|AIza[A-Za-z0-9_-]|AQ\.[A-Za-z0-9_-]|AQ[A-Za-z0-9_-]{10}|EAA[A-Za-z0-9]"
    r"|ya29\.|1//[A-Za-z0-9_-]|eyJ[A-Za-z0-9_-]|whsec_|gh[pousr]_|xox[abpr]-|hv[sbr]\.|bk[odrc]_"
    r"|-----BEGIN|[Bb]earer\s+\S|[A-Za-z0-9_-]+=[^\s;]+;|[A-Za-z]+://\S*@"
)
# In settings and arguments, where paths, hosts and ids stand: enough of it that nothing else looks so.
SECRET_SHAPED: Final = re.compile(
    r"(?<![A-Za-z0-9])sk[-_][A-Za-z0-9_-]{6}|AIza[A-Za-z0-9_-]{10}|AQ\.[A-Za-z0-9_-]{20}"
    r"|\bs\.[A-Za-z0-9]{24}|hv[sbr]\.[A-Za-z0-9]|bk[odrc]_[A-Za-z0-9_-]{20}|eyJ[A-Za-z0-9_-]{10}|-----BEGIN"
)
