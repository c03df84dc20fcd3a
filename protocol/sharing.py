"""Whether an announcement shares a day's keys as the site's directory says: among whom, and how.

A board that was stolen or changed could share its keys so that one custodian opens them alone, or
somebody who is none. So each custodian holds an announcement against the directory before it opens
its share. docs/protocol.md, "Keys of a camera's day", point 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from protocol.directory import Directory
from protocol.epoch import Announcement
from protocol.errors import ClockSkew, ShareInvalid
from protocol.names import EPOCH_MS

LARGEST_DELAY_MS = 8 * EPOCH_MS
"""How long after a newer directory a board may still share by the former one: as long as it can
seal without hearing from anybody (custodians publish day keys for seven days ahead)."""
LARGEST_LEAD_MS = 10 * 60_000
"""By how much a board's clock may be ahead of ours."""


@dataclass(frozen=True, slots=True)
class SharingRule:
    """Among whom keys are to be shared, and how many of them must agree.

    Args:
        until_ms: when another rule came into force here; None: this one is in force.
    """

    threshold: int
    custodians: tuple[str, ...]
    until_ms: int | None = None

    @classmethod
    def of(cls, directory: Directory, *, until_ms: int | None = None) -> SharingRule:
        """Return the rule that ``directory`` makes: all its custodians in force."""
        return cls(directory.threshold, tuple(directory.custodians()), until_ms)

    def covers(self, announced_at_ms: int) -> bool:
        """Tell whether an announcement made at that time may still follow this rule."""
        return self.until_ms is None or announced_at_ms <= self.until_ms + LARGEST_DELAY_MS


def check_sharing(announcement: Announcement, rules: Sequence[SharingRule], *, now_ms: int) -> None:
    """Check that an announcement shares its keys by a rule that was in force when it was made.

    Args:
        rules: of the directories that are and were in force; none of them: nothing passes.

    Raises:
        ShareInvalid: it does not: fewer or other custodians than the site's could open it.
        ClockSkew: it is dated ahead of now, or more than a day before its own day.
    """
    made_ms = announcement.announced_at_ms
    if made_ms > now_ms + LARGEST_LEAD_MS:
        raise ClockSkew(
            f"the announcement is dated {(made_ms - now_ms) // 1000} s ahead of this custodian's "
            "time: set the clock of whichever is wrong"
        )
    if made_ms < (announcement.epoch - 1) * EPOCH_MS:
        raise ClockSkew("the announcement is dated more than a day before the day that it is for")
    shared = (announcement.threshold, frozenset(announcement.custodians))
    allowed = {
        (rule.threshold, frozenset(rule.custodians)) for rule in rules if rule.covers(made_ms)
    }
    if shared not in allowed:
        names = ", ".join(sorted(announcement.custodians))
        raise ShareInvalid(
            f"the board shared its keys so that {announcement.threshold} of {names} open them, "
            "which no directory of the site said when it did"
        )
    if len(announcement.shares) < announcement.threshold:
        raise ShareInvalid(
            f"the board gave shares to {len(announcement.shares)} custodians; "
            f"{announcement.threshold} are needed to open anything"
        )
    if len(set(announcement.commitments)) != len(announcement.commitments):
        raise ShareInvalid("the board gave out one root twice: fewer custodians hold all of them")
    if len({share.key_id for share in announcement.shares.values()}) != len(announcement.shares):
        raise ShareInvalid("the board sealed two custodians' shares to one key")
