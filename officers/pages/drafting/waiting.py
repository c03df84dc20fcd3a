"""What of drafting waits for the officer, for the first page."""

from __future__ import annotations

from officers.desk.drafts import drafts
from officers.pages.at import At
from officers.pages.shown_tasks import ShownTask
from protocol.directory import INVESTIGATOR

_MOST = 3


def home_tasks(here: At) -> list[ShownTask]:
    """Return the newest drafts, and how many more there are."""
    if INVESTIGATOR not in here.duties:
        return []
    kept = drafts(here.officer, here.keys.sealing)
    shown = [
        ShownTask(
            "waiting",
            here.text("draft"),
            one.id[:4],
            here.text("Not filed; changed {when}", when=here.words.minute(one.changed_ms)),
            f"/drafts/{one.id}/check",
            here.text("Go on"),
        )
        for one in kept[:_MOST]
    ]
    if len(kept) > _MOST:
        words = here.ntext("{n} more draft", "{n} more drafts", len(kept) - _MOST)
        shown.append(
            ShownTask("waiting", here.text("draft"), "", words, "/drafts", here.text("Look"))
        )
    return shown
