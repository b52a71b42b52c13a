"""A proof that ages, and what the processes remember by themselves."""

from __future__ import annotations

import pytest

from byokeep.core.errors import Unavailable
from byokeep.kernel.freshness import Freshness


def test_a_proof_holds_for_its_time_and_never_before_it_is_given() -> None:
    """Nothing proved is refused; a proof holds to its last second; an older one takes nothing back."""
    proof = Freshness(15.0, lambda: Unavailable("store_not_recording"))
    for now, for_s in ((0.0, 0.0), (-1e9, 0.0)):
        with pytest.raises(Unavailable, match="store_not_recording"):
            proof.require(now, for_s=for_s)
    proof.proved(100.0)
    proof.proved(90.0)
    proof.require(115.0)
    proof.require(113.0, for_s=2.0)
    for now, for_s in ((115.1, 0.0), (113.1, 2.0)):
        with pytest.raises(Unavailable):
            proof.require(now, for_s=for_s)
