"""The shop's own test."""

from __future__ import annotations

from shop.payments import pay


def test_a_payment_is_made() -> None:
    """A payment goes through."""
    assert pay(10, "wJ4kPq9ZtR2vXs7LmN3bHy6DcF8gKa5TeU1oWi0Q") == "paid"
