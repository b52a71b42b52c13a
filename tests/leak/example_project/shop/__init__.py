"""A tiny shop that takes payments through a vendor."""
