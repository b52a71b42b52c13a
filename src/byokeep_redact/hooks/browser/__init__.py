"""Keep what a browser produces without its secrets: covered screenshots, redacted HAR and storage state documents.

Everything else that a browser records or keeps is refused by `admit_artifact`.
"""

from byokeep_redact.hooks.browser.artifacts import ArtifactKind, admit_artifact, classify_artifact
from byokeep_redact.hooks.browser.documents import is_credential, redact_document
from byokeep_redact.hooks.browser.pictures import MASK_COLOR, MASK_STYLE, mask_selectors, save_screenshot, take_picture

__all__ = [
    "MASK_COLOR", "MASK_STYLE", "ArtifactKind", "admit_artifact", "classify_artifact", "is_credential",
    "mask_selectors", "redact_document", "save_screenshot", "take_picture",
]  # fmt: skip
