"""The tables of docs/platforms.md, made from the catalog of platforms: ``python -m tools.platforms_page``.

``--write`` puts them into the page, between its two marks; without it a difference is a fault. What stands outside the
marks is written by hand.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from byokeep.core.webhook import SCHEMES
from byokeep.platforms.descriptor import PLATFORM_DESCRIPTORS, OAuth, PlatformDescriptor, ScopePurpose
from byokeep.platforms.website import Website, websites
from tools.tree import ROOT, Fault, report

PAGE = ROOT / "docs" / "platforms.md"
BEGIN = "<!-- made from the catalog: begin -->\n"
END = "<!-- made from the catalog: end -->\n"
MODELS = {
    "rotating_strict": "rotates, the old refresh token dies at once",
    "rotating_grace": "rotates, the old refresh token passes for {grace} s",
    "fixed": "the refresh token stays",
    "extend": "the access token extends itself",
    "exchange": "a living token is exchanged for a later one",
    "none": "none",
}


def row(cells: Iterable[str]) -> str:
    """One line of a table."""
    return "| " + " | ".join(cells) + " |\n"


def table(head: tuple[str, ...], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """A table, line by line."""
    yield row(head)
    yield row(["---"] * len(head))
    yield from (row(cells) for cells in rows)
    yield "\n"


def code(text: str) -> str:
    """Text as code, a dash for none."""
    return f"`{text}`" if text else "-"


def duration(seconds: int) -> str:
    """Seconds as people say them."""
    for name, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds and seconds % size == 0:
            count = seconds // size
            return f"{count} {name}{'s' if count > 1 else ''}"
    return f"{seconds} s"


def capabilities(one: PlatformDescriptor) -> list[str]:
    """What can be done with a platform."""
    lanes = ", ".join(lane.value for lane in one.lanes)
    if one.oauth is None:
        return [code(one.id), code(one.provider), "none", lanes, "-", "-", "-", code(one.webhook)]
    oauth = one.oauth
    rules = oauth.refresh_rules
    model = MODELS[rules.model].format(grace=rules.grace_s)
    alone = ", a later login stays" if oauth.revokes_alone else ""
    revoke = f"by a call, proved by use{alone}" if oauth.revoke else "by the person only"
    return [code(one.id), code(one.provider), "code", lanes, oauth.pkce.value, model, revoke, code(one.webhook)]


def renewal(name: str, oauth: OAuth) -> list[str]:
    """When a platform's tokens are renewed."""
    rules = oauth.refresh_rules
    limits = []
    if rules.min_age_s:
        limits.append(f"not before the age of {duration(rules.min_age_s)}")
    if rules.confirm_s:
        limits.append(f"a refusal is asked for twice, {rules.confirm_s} s apart")
    if oauth.inspect is not None:
        limits.append("the person's consent has an end of its own")
    return [
        code(name),
        f"{rules.due_from} to {rules.due_to} % of the life",
        "; ".join(limits) or "-",
        f"{rules.alarm_days} days before the end",
    ]


def identity(name: str, oauth: OAuth) -> list[str]:
    """Where a platform's fingerprint comes from."""
    who = oauth.identity
    address = f"{who.call.method} {who.call.url.removeprefix('https://')}"
    several = "yes, one is picked" if who.several_allowed else "no"
    return [code(name), code(address), code(who.id), code(who.username), code(who.display_name), several]


def cost(name: str, oauth: OAuth) -> list[str]:
    """What a platform's identity call costs."""
    health = oauth.health
    money = f"${health.usd_micros / 1e6:.3f}" if health.usd_micros else "free"
    units = f", {health.quota_units} unit of quota" if health.quota_units else ""
    return [code(name), money + units, health.limit, f"every {duration(health.every_s)}"]


def scopes(name: str, oauth: OAuth) -> list[str]:
    """What is asked for, by purpose."""
    return [code(name), *(" ".join(code(scope) for scope in oauth.scopes[purpose]) or "-" for purpose in ScopePurpose)]


def in_a_browser(one: Website) -> list[str]:
    """What the browser lane reads and does on a platform's website."""
    parts = [
        word
        for word, there in (
            ("id", True),
            ("username", one.account.json_username or one.account.username),
            ("display name", one.account.json_display_name or one.account.display_name),
        )
        if there
    ]
    logout = "none known" if one.logout is None else code(one.logout.page.removeprefix("https://"))
    return [code(one.id), code(one.page.removeprefix("https://")), ", ".join(parts), logout]


def body() -> str:
    """Everything between the marks."""
    oauths = {name: one.oauth for name, one in PLATFORM_DESCRIPTORS.items() if one.oauth is not None}
    lines = ["\n## What each platform can do\n\n"]
    lines += table(
        ("login", "platform", "oauth", "lanes", "challenge", "renewal", "revoking", "webhook"),
        (capabilities(one) for one in PLATFORM_DESCRIPTORS.values()),
    )
    lines += [f"{code(n)}: {one.why_no_oauth}\n\n" for n, one in PLATFORM_DESCRIPTORS.items() if one.why_no_oauth]
    lines.append("## When tokens are renewed\n\n")
    lines += table(("login", "due", "limits", "people are told"), (renewal(n, o) for n, o in oauths.items()))
    lines.append("## Whose account it is\n\n")
    head = ("login", "call", "id", "username", "display name", "several accounts")
    lines += table(head, (identity(n, o) for n, o in oauths.items()))
    lines.append("## What a check costs\n\n")
    lines += table(("login", "price", "limit", "sensible rhythm"), (cost(n, o) for n, o in oauths.items()))
    lines.append("## What is asked for\n\n")
    lines += table(("login", *(purpose.value for purpose in ScopePurpose)), (scopes(n, o) for n, o in oauths.items()))
    lines.append("## In a browser\n\n")
    sites = websites()
    lines += table(
        ("login", "account read at", "what is read", "logout"), (in_a_browser(one) for one in sites.values())
    )
    lines.append("## What no document says\n\n")
    lines += [f"- {code(name)}: {text}\n" for name, one in PLATFORM_DESCRIPTORS.items() for text in one.unverified]
    lines += [f"- {code(name)} in a browser: {text}\n" for name, one in sites.items() for text in one.unverified]
    lines += [
        f"- {code(name)} webhooks: the header or the signed bytes; try it with a real delivery first.\n"
        for name, scheme in SCHEMES.items()
        if not scheme.confirmed
    ]
    return "".join(lines) + "\n"


def page(text: str) -> str:
    """The page with what stands between its marks made anew. Raises ValueError when a mark is missing."""
    before, first, rest = text.partition(BEGIN)
    _, second, after = rest.partition(END)
    if not first or not second:
        raise ValueError("docs/platforms.md has lost its marks")
    return before + BEGIN + body() + END + after


def faults() -> list[Fault]:
    """A page that is not what the catalog says."""
    text = PAGE.read_text("utf-8")
    if page(text) == text:
        return []
    return [Fault("docs/platforms.md", 0, "differs from the catalog: python -m tools.platforms_page --write")]


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
    raise SystemExit(report("platforms_page", faults(), len(PLATFORM_DESCRIPTORS)))
