"""What a browser records, made fit to keep: HAR, traces, storage state, protocol events, jars, screenshots, console.

The easy way writes nothing raw where it could stay: `recorded`, `save_trace`, `save_storage_state`, `save_screenshot`,
`watch`. Files that are there already go through `scrub_file`; a job's own files through `admit_artifact`.
Rules: names remain, values go; what was learned in one place of an artifact is masked in all others, however encoded;
nothing is written that was not scrubbed to the end. This room never starts a browser, and imports Playwright for types
only.
"""

from byokeep_redact.hooks.browser.archive import RecordingLimits
from byokeep_redact.hooks.browser.classify import Artifact, FieldKind, FieldVerdict, classify_artifact
from byokeep_redact.hooks.browser.files import (
    Scrubbed,
    admit_artifact,
    changes_of,
    raw_room,
    scrub_document,
    scrub_file,
    write_scrubbed,
)
from byokeep_redact.hooks.browser.handling import Policy
from byokeep_redact.hooks.browser.page import (
    MASK_COLOR,
    MASK_STYLE,
    known_to,
    mask_selectors,
    recorded,
    save_screenshot,
    save_storage_state,
    save_trace,
    take_picture,
    watch,
)

__all__ = [
    "MASK_COLOR",
    "MASK_STYLE",
    "Artifact",
    "FieldKind",
    "FieldVerdict",
    "Policy",
    "RecordingLimits",
    "Scrubbed",
    "admit_artifact",
    "changes_of",
    "classify_artifact",
    "known_to",
    "mask_selectors",
    "raw_room",
    "recorded",
    "save_screenshot",
    "save_storage_state",
    "save_trace",
    "scrub_document",
    "scrub_file",
    "take_picture",
    "watch",
    "write_scrubbed",
]
