"""A value that must not be shown: :class:`byokeep_redact.secret.Secret`, which the redactor recognises by type."""

from byokeep_redact.secret import MASK, Secret

__all__ = ["MASK", "Secret"]
