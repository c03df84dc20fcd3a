"""Who may publish and read what at the site's broker, topic by topic, as Mosquitto's access lists.

A right to write a topic is a right to have its last message kept (retained) by the broker, and
Mosquitto can limit neither their number nor, by topic, their size. So a box gets exactly the topics
of its own cameras by name, never a pattern in which it chooses a part: then what it can make the
broker keep is `Rights.retained_topics` times the largest message.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from protocol.directory import BOX, CUSTODIAN, FORMS, Directory
from protocol.names import (
    ENVELOPE,
    EPOCH,
    HOURS,
    RECEIPT,
    STILL_REQUESTS,
    TOPIC_ROOT,
    CameraAddress,
    admissions_topic,
    box_health_topic,
    day_keys_topic,
    directory_topic,
    notice_topic,
    stills_topic,
)

BOXES_ACL, HEADQUARTERS_ACL, ACL_FILE = "acl-boxes", "acl-headquarters", "acl"
"""Access lists of the two listeners; ``acl`` is both, for configurations with one listener."""

_WRITTEN_OF_A_CAMERA = (ENVELOPE, EPOCH)
PROCESSES = 16
"""The aggregator may be so many processes: the broker knows each by a certificate of its own."""


def process_name(aggregator: str, number: int) -> str:
    """Return the name in the certificate of one of the aggregator's processes; 1 has its own."""
    return aggregator if number == 1 else f"{aggregator}-{number}"


@dataclass(frozen=True, slots=True)
class Rights:
    """The rights of everybody who may connect.

    Args:
        boxes: camera names of each box in force, of recordings too, by its name.
        revoked: names that may not speak any more, connected or not.
        processes: names of the aggregator's further processes, which have its rights.
    """

    site: str
    aggregator: str
    boxes: Mapping[str, Collection[str]] = field(default_factory=dict)
    revoked: Collection[str] = ()
    custodians: int = 0
    processes: Collection[str] = ()

    @classmethod
    def of(cls, directory: Directory, *, aggregator: str, revoked: Iterable[str] = ()) -> Rights:
        """Return the rights under ``directory``, with the registrar's admissions applied to it."""
        out = {p.name for p in directory.principals.values() if p.revoked_at_ms is not None}
        out |= set(revoked)
        return cls(
            site=directory.site,
            aggregator=aggregator,
            boxes={
                box.name: box.tells_of for box in directory.with_duty(BOX) if box.name not in out
            },
            revoked=frozenset(out),
            custodians=len(directory.with_duty(CUSTODIAN)),
            processes=[
                name
                for name in (process_name(aggregator, n) for n in range(2, PROCESSES + 1))
                if name not in directory.principals  # somebody else's name stays theirs
            ],
        )

    def topics_of(self, box: str) -> list[str]:
        """Return the topics that ``box`` may write: its cameras', its own health, its stills'."""
        topics = [
            CameraAddress(self.site, box, camera).topic(leaf)
            for camera in sorted(self.boxes.get(box, ()))
            for leaf in _WRITTEN_OF_A_CAMERA
        ]
        own = [box_health_topic(self.site, box), stills_topic(self.site, box)]
        return [*topics, *own] if box in self.boxes else []

    @property
    def retained_topics(self) -> int:
        """Return how many messages the broker can be made to keep, by everybody together."""
        cameras = sum(len(names) for names in self.boxes.values())
        # receipts and hours; requests for stills; day keys and directory in both forms;
        # admissions, notice
        ours = 2 * cameras + len(self.boxes) + (self.custodians + 1) * len(FORMS) + 2
        return sum(len(self.topics_of(box)) for box in self.boxes) + ours

    def boxes_acl(self) -> str:
        """Return the access list of the boxes' listener: nobody there has rights but boxes."""
        return f"{_HEAD}{self._denied()}{self._boxes()}"

    def headquarters_acl(self) -> str:
        """Return the access list of headquarters' listener: for the aggregator alone."""
        return f"{_HEAD}{self._denied()}{self._headquarters()}"

    def acl(self) -> str:
        """Return both in one, for a broker whose configuration has one listener still."""
        return f"{_HEAD}{self._denied()}{self._headquarters()}{self._boxes()}"

    @property
    def _base(self) -> str:
        return f"{TOPIC_ROOT}/{self.site}"

    def _denied(self) -> str:
        base, text = self._base, ""
        revoked = set(self.revoked)
        if self.aggregator in revoked:
            revoked |= set(self.processes)
        for name in sorted(revoked):
            own = [f"{base}/{name}/#", f"{base}/custodians/#"]
            ours = name in {self.aggregator, *self.processes}
            topics = ["#"] if ours else own
            text += f"\nuser {name}\n" + "".join(f"topic deny {topic}\n" for topic in topics)
        if text:
            text = (
                "\n# Revoked: who is still connected may say nothing, and reads only who is in the"
                f" site.\n{text}"
            )
        return text

    def _headquarters(self) -> str:
        base, site = self._base, self.site
        rights = f"""\
topic read {base}/#
topic write {base}/+/+/{RECEIPT}
topic write {base}/+/+/{HOURS}
topic write {base}/+/{STILL_REQUESTS}
{_lines("topic write", _relayed(site))}"""
        further = "".join(f"\nuser {name}\n{rights}" for name in self.processes)
        return f"""
# The aggregator reads all of the site, answers with receipts and hours, relays, gives notice, and
# hands on what stills officers ask for; so do its further processes, where it is several.
user {self.aggregator}
{rights}{further}"""

    def _boxes(self) -> str:
        base, site = self._base, self.site
        written = ""
        for box in sorted(self.boxes):
            written += f"\nuser {box}\n"
            written += "".join(f"topic write {topic}\n" for topic in self.topics_of(box))
        return f"""
# A box reads its receipts, which hours are told of its cameras, which stills officers ask it for,
# the custodians' day keys, who is in the site, and what is asked live.
pattern read {base}/%u/+/{RECEIPT}
pattern read {base}/%u/+/{HOURS}
pattern read {base}/%u/{STILL_REQUESTS}
{_lines("pattern read", _relayed(site))}
# It writes of its own cameras alone, by name.
{written}"""


def _relayed(site: str) -> list[str]:
    """Return the topics that the aggregator writes for all boxes, ``+`` for any custodian."""
    return [
        *(day_keys_topic(site, "+", form) for form in sorted(FORMS)),
        *(directory_topic(site, form) for form in sorted(FORMS)),
        admissions_topic(site),
        notice_topic(site),
    ]


def _lines(right: str, topics: Iterable[str]) -> str:
    return "".join(f"{right} {topic}\n" for topic in topics)


_HEAD = """\
# Rights at the broker, by certificate name (%u). Made by `sealtrace`; changes are overwritten.
"""
