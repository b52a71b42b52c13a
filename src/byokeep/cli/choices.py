"""The words that arguments may be. They are shown in `--help`, and others are refused before anything is sent."""

from __future__ import annotations

from typing import Literal

AdminProvider = Literal["anthropic", "google", "openai", "openrouter"]
KeylessProvider = Literal["anthropic", "openai", "openrouter"]
# made from the catalog: begin
ApiProvider = Literal["anthropic", "google", "heygen", "kie", "openai", "openrouter"]
Platform = Literal["linkedin", "meta", "skool", "tiktok", "x", "youtube"]
OAuthPlatform = Literal["linkedin", "meta", "tiktok", "x", "youtube"]
# made from the catalog: end
WebhookSender = Literal["heygen", "linkedin", "meta", "tiktok", "x", "youtube"]
Lane = Literal["api", "browser"]
LanePolicy = Literal["api", "browser", "hybrid", "off"]
Effect = Literal["comment", "delete", "dm", "engage", "other", "profile_edit", "publish"]
DueKind = Literal[
    "key", "unused_key", "admin_key", "webhook_secret", "oauth", "profile", "kek", "machine_token", "person_token",
    "app_secret", "platform_secret", "break_glass", "backup", "backup_proof", "recovery_drill",
]  # fmt: skip
IncidentKind = Literal[
    "suspected_leak", "usage_anomaly", "lockout", "token_revoked", "token_compromised", "artifact_exposure",
    "runner_compromise", "break_glass", "drill", "other",
]  # fmt: skip
Severity = Literal["P0", "P1", "P2", "P3"]
Risk = Literal["standard", "high"]
PersonRole = Literal["admin", "operator", "approver", "auditor"]
MachineRole = Literal["dispatcher", "runner", "custodian"]
SubjectState = Literal["active", "disabled"]
KeyStateChange = Literal["suspended", "active", "deactivated", "compromised", "destroyed"]
