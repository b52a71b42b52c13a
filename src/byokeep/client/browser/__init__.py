"""A browser from a client's sealed profile, for as long as a block lasts: what ``job.browser`` does (ADR 0029).

async with keep.job(
    client=cid, secrets=["profile"], platforms=["tiktok"], effects=["publish"], lanes=["browser"]
) as job:
    async with job.browser("tiktok/acme") as context:
        page = context.pages[0]
        async with job.effect("publish", platform="tiktok", account="acme", key="post-0001", lane="browser"):
            await page.get_by_role("button", name="Post").click()

Rules
- The profile is opened at the broker first: one opener at a time, and only while the broker says so.
- What is plain lies in memory, and is wiped when the block ends, however it ends.
- The context is handed out after the account was seen in it, by us and by the broker; what could not be checked counts
  as the wrong one.
- Nothing is recorded of it, and its session is not handed out: it leaves sealed, or not at all.
- Needs the extra ``browser`` and a use lease; no credential of a store.

It may not log in, and may not keep a browser that it was told to close.
"""

from byokeep.client.browser.run import opened

__all__ = ["opened"]
