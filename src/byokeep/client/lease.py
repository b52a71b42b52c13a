"""A lease as its holder keeps it: renewed while the broker says so, its secrets wiped the moment it does not.

Rules
- Life is counted from when a renewal was *asked for*, on a clock that also runs while the machine sleeps. So anyone cut
  off from the broker stops within ``life_s`` of the broker's last yes.
- A denial ends the lease for good. A silence ends it when its life runs out; going on then takes a new lease.
- A lagging node of the store may still refuse what was released a moment ago. Then the broker is asked again and the
  lease that it gives is tried, at most ``len(BEHIND_S)`` times. The broker's no ends that at once; so does the no of a
  store with one node, or of a cluster's active node.
- A login token is used within ``LOGIN_WITHIN_S`` of its issue or not at all.
- For a keyless credential the pinned place holds ids. They and an identity token, both read under the lease, are
  exchanged at the provider for a token that is kept like any value, and no longer than it lives.
- Every attempt at the store is counted before it is made (:class:`byokeep.client.http.Tally`).
- While a value is held, this process's redactor knows it. Where :func:`byokeep_redact.install` was called, it cannot be
  logged in any encoding. The redactor forgets it the moment it is wiped.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, TypeVar
from uuid import UUID

from byokeep.client.exchange import swapped
from byokeep.client.http import Broker, end, now
from byokeep.core.errors import ByokeepError, Denied, NotFound, Unavailable, refusing
from byokeep.core.exchange import Exchange, declared
from byokeep.core.secret import Secret
from byokeep.wire.bao_http import BaoHttp, lease_login, read_identity, read_secret
from byokeep_redact.engine import default
from byokeep_redact.known import KnownValueRefused, Registration

T = TypeVar("T")
_OF_A_NODE_BEHIND: Final = frozenset({"lease_refused", "store_denied", "store_not_found"})
FRESH_WITHIN_S: Final = 60.0  # seconds to wait for a newer token; a platform may take 45 to answer
FIRST_LOOK_S: Final = 0.25  # seconds to the first look for it; each wait is twice as long as the last
LONGEST_LOOK_S: Final = 4.0
BEHIND_S: Final = (0.05, 0.15, 0.4)  # seconds before each new attempt at a store that refuses a good lease
EARLY_S: Final = 30.0  # seconds before its end from which an exchanged token is no longer given out
LOGIN_WITHIN_S: Final = 2.0  # seconds; the token itself lives a little longer


class HeldLease:
    """The current lease of one job, and the secrets read under it.

    Args:
        broker: Where leases come from.
        token: The runner's token.
        job_id: The job.
        client_id: Whose it is, to follow the kill switches; None = they are noticed only at the next beat.
    """

    def __init__(self, broker: Broker, token: Secret, job_id: UUID, client_id: UUID | None = None) -> None:
        self.client_id = client_id
        self.valid_until = 0.0
        self.cached: dict[str, Secret] = {}
        self._known: dict[str, Registration] = {}
        self._broker, self._token, self._job_id = broker, token, job_id
        self._id = ""
        self._jwt: Secret | None = None
        self._asked_at = 0.0
        self._pins: dict[str, tuple[str, int]] = {}
        self._profiles: dict[str, UUID] = {}
        self._exchanges: dict[str, tuple[str, Exchange]] = {}  # of keyless ones: where the identity token is
        self._ends: dict[str, float] = {}  # of exchanged tokens
        self._roles: dict[str, str] = {}
        self._store: BaoHttp | None = None
        self._life_s = 5.0
        self._over: ByokeepError | None = None
        self._turn = asyncio.Lock()
        self._renewals: dict[str, asyncio.Task[Secret]] = {}
        self._read: dict[str, tuple[str, int]] = {}  # the version the job was given last
        self._beat: asyncio.Task[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"HeldLease(job={self._job_id}, lease={self._id or None})"

    @property
    def id(self) -> str:
        """Return the id of the current lease; empty before the first."""
        return self._id

    @property
    def holds(self) -> bool:
        """Whether the lease may be used right now."""
        return self._over is None and now() < self.valid_until

    async def open(self) -> None:
        """Take the first lease and begin to renew it. Raises as :meth:`renewed`."""
        await self.renewed()
        self._beat = asyncio.create_task(self._keep_alive())
        if self.client_id is not None:
            self._broker.view.hold(self, self._token)

    async def close(self) -> None:
        """End it: wipe every secret and stop renewing. Calling it twice is fine."""
        self._broker.view.release(self)
        self.stop(Denied("lease_closed"))
        for waiting in list(self._renewals.values()):
            waiting.cancel()
        if self._beat is not None:
            await end(self._beat)
            self._beat = None

    async def renewed(self) -> str:
        """Return the id of a lease that holds, taking a new one if the current does not.

        Raises:
            Denied: The broker refuses; or a denial has already ended the lease.
            Unavailable: Could not be asked in a few attempts.
        """
        return await self._broker.persist(self.held)

    async def held(self, fresh_s: float = math.inf) -> str:
        """Do as :meth:`renewed` does, with one attempt, and with a lease that is no older than this."""

        def stands() -> bool:
            return self.holds and now() - self._asked_at <= fresh_s

        if not stands():
            async with self._turn:
                if not stands():
                    await self._take()
        return self._id

    async def secret(self, provider: str) -> Secret:
        """Return a declared secret, from memory while the lease holds.

        Raises:
            Denied: ``not_declared``, ``missing_credential``, or the broker or store refuses.
            Unavailable: Could not be read in a few attempts; nothing older is returned.
        """
        if now() < self.valid_until and (found := self._cached(provider)) is not None:
            return found
        async with self._turn:
            if self.holds and (found := self._cached(provider)) is not None:
                return found
            return await self._broker.persist(lambda: self._patiently(lambda: self._fetch(provider)))

    def _cached(self, provider: str) -> Secret | None:
        return self.cached.get(provider) if now() < self._ends.get(provider, math.inf) else None

    async def fresh(self, name: str) -> Secret:
        """Return a newer secret than the one that was read last, which its platform calls expired.

        It takes a new lease. If that pins the same version, it asks for a renewal and waits for it, for at most
        ``FRESH_WITHIN_S``. Concurrent callers share the same wait.

        Raises:
            Denied: As :meth:`secret`; or the grant is lost.
            Unavailable: ``renewal_pending``: there is no newer one yet.
        """
        if (under_way := self._renewals.get(name)) is None:
            under_way = self._renewals[name] = asyncio.create_task(self._newer(name))
            under_way.add_done_callback(lambda _: self._renewals.pop(name, None))
        return await asyncio.shield(under_way)

    async def _newer(self, name: str) -> Secret:
        seen = self._read.get(name)
        until, pause_s, asked = now() + FRESH_WITHIN_S, FIRST_LOOK_S, False
        while True:
            async with self._turn:
                await self._broker.persist(self._take)
                if seen is not None and name not in self._pins:
                    raise Denied("credential_not_usable", next_step="The account's grant is lost. Tell an operator.")
                if self._pins.get(name) != seen or seen is None or name in self._exchanges:
                    return await self._broker.persist(lambda: self._fetch(name))
            if not asked:
                await self._ask(name, seen[1])
                asked = True
            if now() + pause_s > until:
                raise Unavailable("renewal_pending", next_step="Stop here. The renewal continues; try again later.")
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_LOOK_S)

    async def _ask(self, name: str, version: int) -> None:
        path, body = f"/v1/jobs/{self._job_id}/renewals", {"secret": name, "version": version}
        await self._broker.persist(lambda: self._broker.call("POST", path, self._token, body))

    async def signing(self, provider: str, *, fresh_s: float) -> tuple[Secret, ...]:
        """Return a provider's signing secret, and the previous one while both hold; nothing if none is stored.

        Args:
            fresh_s: How old, in seconds, the answer which secrets hold may be; if older, a new lease is taken.

        Raises:
            Denied, Unavailable: As :meth:`secret`.
        """
        await self._broker.persist(lambda: self.held(fresh_s))
        names = (f"{provider}/webhook", f"{provider}/webhook/previous")
        # Reading one may take a new lease, which wipes what it pins no longer.
        while missing := [name for name in names if name in self._pins and self._cached(name) is None]:
            await self.secret(missing[0])
        return tuple(self.cached[name] for name in names if name in self.cached)

    async def profile(self, name: str) -> UUID:
        """Return the id of the sealed browser profile that is pinned under ``profile/platform/account``.

        Raises:
            Denied: ``not_declared``: the job did not declare it, or the account has none that may be used.
            Unavailable: As :meth:`renewed`.
        """
        await self.renewed()
        if (found := self._profiles.get(name)) is None:
            raise Denied(
                "not_declared", next_step="Declare `profile`, the lane and the platform: see `byokeep profile list`."
            )
        return found

    async def login(self, provider: str) -> tuple[BaoHttp, Secret, str, int]:
        """Log in at the store for one provider; returns (store, token, path, pinned version or 0).

        For custody, which does more than read. Raises as :meth:`secret`.
        """
        async with self._turn:
            return await self._broker.persist(lambda: self._patiently(lambda: self._log_in(provider)))

    async def _patiently(self, act: Callable[[], Awaitable[T]]) -> T:
        """Act, and again under a new lease while a node that may be lagging refuses what the broker grants."""
        for pause_s in BEHIND_S:
            try:
                return await act()
            except (Denied, NotFound) as error:
                if error.code not in _OF_A_NODE_BEHIND or self._store is None or not self._store.may_be_behind:
                    raise
            await asyncio.sleep(pause_s)
            await self._take()
        return await act()

    async def _fetch(self, provider: str) -> Secret:
        store, token, path, version = await self._log_in(provider)
        if version < 1:
            raise Denied("missing_credential", next_step="Add this client's own key first.")
        keyless, identity = self._exchanges.get(provider), Secret(b"")
        asked_at, life_s = now(), math.inf
        try:
            value = await read_secret(store, token, path, version, self._id)
            if keyless is not None:
                identity = await read_identity(store, token, keyless[0], self._id)
                token.wipe()
                if self.holds:
                    value, life_s = await self._swapped(keyless[1], value, identity)
        finally:
            token.wipe()
            identity.wipe()
        if not self.holds:
            value.wipe()
            raise self._over or Unavailable("lease_lapsed")
        self._read[provider] = (path, version)
        self._keep(provider, value)
        self._ends[provider] = asked_at + life_s - min(EARLY_S, life_s / 4)
        return value

    async def _swapped(self, exchange: Exchange, kept: Secret, identity: Secret) -> tuple[Secret, float]:
        """Return a provider's token and its life. Raises Unavailable(``secret_not_keyless``): a key is kept there."""
        if (ids := declared(kept.reveal())) is None:
            raise Unavailable("secret_not_keyless", next_step="Tell an operator: `byokeep key show`.")
        return await swapped(exchange, ids, identity)

    def _keep(self, provider: str, value: Secret) -> None:
        if provider in self.cached:
            self._drop(provider)
        with suppress(KnownValueRefused):  # too short, too plain or too long to search for; its shape is still searched
            self._known[provider] = default().register(value, kind="secret")
        self.cached[provider] = value

    def _drop(self, provider: str) -> None:
        if (registration := self._known.pop(provider, None)) is not None:
            registration.forget()
        self.cached.pop(provider).wipe()

    async def _log_in(self, provider: str) -> tuple[BaoHttp, Secret, str, int]:
        if self._over is not None:
            raise self._over
        if self._jwt is None or now() - self._asked_at > LOGIN_WITHIN_S or not self.holds:
            await self._take()
        if provider not in self._pins or self._jwt is None or self._store is None:
            raise Denied("not_declared", next_step="Declare the secret when the job is opened.")
        path, version = self._pins[provider]
        self._broker.tally.attempt(self._id, self._token, provider, self._asked_at)
        token = await lease_login(self._store, self._jwt, self._roles[provider], lease_id=self._id)
        return self._store, token, path, version

    async def _take(self) -> None:
        if self._over is not None:
            raise self._over
        if not self.holds:
            self._wipe()
        asked_at = now()
        try:
            reply = await self._broker.call("POST", f"/v1/jobs/{self._job_id}/leases", self._token)
        except Denied as error:
            self.stop(error)
            raise
        if self._over is not None:  # it ended while the answer was on its way
            raise self._over
        self._adopt(reply, asked_at)

    def _adopt(self, reply: dict[str, Any], asked_at: float) -> None:
        with refusing("broker_garbage", Unavailable):
            pins = {name: (str(pin["path"]), int(pin["version"])) for name, pin in reply["secrets"].items()}
            lease_id, jwt, life_s = str(UUID(reply["lease_id"])), Secret(str(reply["jwt"])), float(reply["life_s"])
            store = self._broker.store(str(reply["store"]["address"]))
            roles = {str(name): str(role) for name, role in reply["store"]["roles"].items()}
            named = {name: UUID(pin["profile_id"]) for name, pin in reply["secrets"].items() if "profile_id" in pin}
            swaps = {name: _exchange(pin["exchange"]) for name, pin in reply["secrets"].items() if "exchange" in pin}
        if not 0 < life_s <= 60 or set(roles) != set(pins):
            raise Unavailable("broker_garbage")
        for name in [name for name in self.cached if pins.get(name) != self._pins.get(name)]:
            self._drop(name)
        if self._jwt is not None:
            self._jwt.wipe()
        if lease_id != self._id:
            self._broker.calls.done(self._id)
        self._id, self._jwt, self._pins, self._roles, self._store = lease_id, jwt, pins, roles, store
        self._profiles, self._exchanges = named, swaps
        self._asked_at, self._life_s = asked_at, life_s
        self._live_until(asked_at + life_s)

    def _live_until(self, moment: float) -> None:
        self.valid_until = moment
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_later(max(moment - now(), 0), self._lapse)

    def _lapse(self) -> None:
        if not self.holds:
            self._wipe()

    async def _keep_alive(self) -> None:
        """Renew each time a third of the life has passed."""
        while self._over is None:
            await asyncio.sleep(self._life_s / 3)
            await self._beat_once()

    async def _beat_once(self) -> None:
        lease_id, asked_at = self._id, now()
        try:
            reply = await self._broker.call("GET", f"/v1/leases/{lease_id}", self._token, timeout_s=self._life_s / 3)
            life_s = reply.get("valid_for_s")
            if lease_id == self._id and isinstance(life_s, int) and 0 < life_s <= 60:
                self._prolong(asked_at + life_s)
        except Denied as error:
            if lease_id == self._id:
                self.stop(error)
        except ByokeepError:
            pass  # silence: life runs out by itself

    def _prolong(self, moment: float) -> None:
        # A yes to a lease that has lapsed meanwhile does not bring it back: its secrets are gone.
        if self.holds and moment > self.valid_until:
            self._live_until(moment)

    def stop(self, reason: ByokeepError) -> None:
        """End it for good: every secret is wiped, and whoever asks for one hears the first reason."""
        self._over = self._over or reason
        self.valid_until = 0.0
        self._broker.tally.over(self._id)
        self._broker.calls.done(self._id)
        if self._alarm is not None:
            self._alarm.cancel()
        self._wipe()
        if self._jwt is not None:
            self._jwt.wipe()
            self._jwt = None

    def _wipe(self) -> None:
        for provider in list(self.cached):
            self._drop(provider)


def _exchange(said: dict[str, Any]) -> tuple[str, Exchange]:
    """Read how a keyless credential is exchanged, and where its identity token is."""
    headers, body = ({str(k): str(v) for k, v in said[name].items()} for name in ("headers", "body"))
    exchange = Exchange(
        url=str(said["url"]), audience="", headers=headers, body=body, form=said["form"] is True, needs=(),
        life_s=int(said["life_s"]),
    )  # fmt: skip
    return str(said["identity"]), exchange
