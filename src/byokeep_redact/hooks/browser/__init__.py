"""Keep what a browser produces without its secrets: masked screenshots, and redacted HAR and storage state documents.

Everything else that a browser records or keeps is refused by `admit_artifact`.
"""

from byokeep_redact.hooks.browser.admission import ArtifactKind, admit_artifact, classify_artifact
from byokeep_redact.hooks.browser.document import redact_document
from byokeep_redact.hooks.browser.screenshot import (
    MASK_COLOR,
    MASK_STYLE,
    mask_selectors,
    save_screenshot,
    take_picture,
)

__all__ = [
    "MASK_COLOR",
    "MASK_STYLE",
    "ArtifactKind",
    "admit_artifact",
    "classify_artifact",
    "mask_selectors",
    "redact_document",
    "save_screenshot",
    "take_picture",
]
