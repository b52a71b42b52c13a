"""The shop's logging. ``configure`` is what its programs call first, and what the leak pack calls."""

from __future__ import annotations

import logging
import os
import re

_KEY = re.compile(r"sk-[A-Za-z0-9]+")


class OnlyKeys(logging.Filter):
    """What the shop had first: one pattern, in the message alone."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = _KEY.sub("***", record.getMessage()), ()
        return True


def configure() -> None:
    """Log to standard error, without secrets: that is the idea."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    if os.environ.get("SHOP_FIXED"):
        from byokeep_redact.install import install

        install()  # the fix
    else:
        handler.addFilter(OnlyKeys())  # the leak
