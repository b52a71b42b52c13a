"""The social platforms: how a person consents there, how tokens live, who an account is, what a refusal means.

Rules
- A platform is data (``data/*.toml``); no code here knows one by name. Adding one is that file and its vectors.
- Endpoints come from our own files, never from a reply; a secret goes to the named host over HTTPS, or to a simulator
  on this machine where the caller allows it, which production does not.
- A platform without a usable API is declared so, not faked.

It may not read stores, write audit or decide what happens to an account.
"""

from __future__ import annotations

from byokeep.adapters.platforms.calls import Place, PlatformApp
from byokeep.adapters.platforms.descriptor import MixUp, Pkce, PlatformDescriptor, Purpose
from byokeep.adapters.platforms.load import PLATFORM_DESCRIPTORS
from byokeep.adapters.platforms.oauth import PlatformClient, RecentPosts, Revocation, Revoked
from byokeep.adapters.platforms.pkce import new_state, new_verifier

__all__ = [
    "PLATFORM_DESCRIPTORS",
    "MixUp",
    "Pkce",
    "Place",
    "PlatformApp",
    "PlatformClient",
    "PlatformDescriptor",
    "Purpose",
    "RecentPosts",
    "Revocation",
    "Revoked",
    "new_state",
    "new_verifier",
]
