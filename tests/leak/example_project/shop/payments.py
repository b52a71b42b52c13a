"""Payments."""

from __future__ import annotations

import logging

log = logging.getLogger("shop.payments")


def pay(amount: int, key: str) -> str:
    """Charge an amount with the vendor's key."""
    log.info("charging %s", {"amount": amount, "authorization": f"Bearer {key}"})
    return "paid"
