"""Lay traces and candidates out for people: local times, masks, likelihood in words, contacts."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from officers.desk.contacts import Contact
from officers.desk.fitting import contradiction_text, fit_text
from officers.desk.ground import TOO_FAST
from officers.desk.moments import duration_text, span_text
from officers.desk.persons import Person
from officers.desk.receipts import Receipts
from officers.desk.traces import (
    UNDECIDED,
    Numbered,
    Stay,
    Trace,
    likelihood_times,
    likelihood_words,
    numbers_text,
)
from officers.desk.walking import Way
from protocol.epoch import RECORDING
from protocol.sightings import MaskStatus
from protocol.v2.header import CLOCK, STAMPED, STATED
from runtime.terminal import plain_table
from runtime.text import counted

_CONTACTS_SHOWN, _PERSONS_SHOWN = 3, 40
_TIMES = {
    CLOCK: "its time not known: that of its import",
    STAMPED: "its time as the recording carries it",
    STATED: "its time as whoever imported it said",
}
_MASKS = {MaskStatus.UNKNOWN: "?", MaskStatus.UNMASKED: "no mask", MaskStatus.MASKED: "mask"}


def trace_line(trace: Trace) -> str:
    """Return one line that sums a subject's trace up."""
    if not trace.hits:
        return f"{trace.subject}: no hits yet"
    cameras = list(dict.fromkeys(hit.address.camera for hit in trace.hits))
    met = sum(len(hit.contacts) for hit in trace.hits)
    by_clothes = f" ({trace.by_appearance} by appearance)" if trace.by_appearance else ""
    return (
        f"{trace.subject}: {counted(len(trace.hits), 'hit')}{by_clothes}, "
        f"{duration_text(trace.seconds)} on camera, by way of {' > '.join(cameras)}; "
        f"{counted(met, 'contact')}"
        + (f", {duration_text(trace.contact_seconds)} within reach" if met else "")
    )


def contradiction_lines(trace: Trace) -> str:
    """Return a warning of hits that cannot all be true, a line each; empty without such."""
    if not trace.contradictions:
        return ""
    head = f"{trace.subject}: this trace is impossible as it stands"
    return "\n".join([head, *(f"  {contradiction_text(one)}" for one in trace.contradictions)])


def stays_table(stays: Sequence[Stay], *, every_contact: bool = False) -> Table:
    """Return a table with one row a stay, in the order given."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name, right in (
        ("no.", True),
        ("camera", False),
        ("from - to (local)", False),
        ("for", True),
        ("mask", False),
        ("score", True),
        ("likelihood ratio", False),
        ("decision", False),
        ("contacts: nearest, for, mask", False),
    ):
        table.add_column(
            name,
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=name.startswith("from"),
        )
    for stay in stays:
        cells = (
            numbers_text(stay.numbers),
            stay.address.camera,
            span_text(stay.from_ms, stay.to_ms) + origin_text(stay),
            duration_text(stay.seconds),
            mask_text(stay.mask, stay.mask_confidence)
            + (" (put on or off)" if stay.mask_varies else ""),
            "-" if stay.score is None else f"{stay.score:.3f}",
            likelihood_text(stay),
            decision_text(stay),
            contacts_text(stay.contacts, every=every_contact),
        )
        table.add_row(*(Text(cell) for cell in cells))
    return table


def continuations_table(stays: Sequence[Stay], *, every_contact: bool = False) -> Table:
    """Return a table of who was followed by clothes, a row a stay, in the order given."""
    table = plain_table(
        "no.", "camera", "from - to (local)", "mask", "likeness", "goes on from", "the way",
        "decision", "contacts: nearest, for, mask", whole=("from - to (local)",),
    )  # fmt: skip
    for stay in stays:
        cells = (
            numbers_text(stay.numbers),
            stay.address.camera,
            span_text(stay.from_ms, stay.to_ms) + origin_text(stay),
            mask_text(stay.mask, stay.mask_confidence),
            "-" if stay.score is None else f"{stay.score:.3f}",
            numbers_text(stay.follows),
            way_text(stay.way),
            decision_text(stay),
            contacts_text(stay.contacts, every=every_contact),
        )
        table.add_row(*(Text(cell) for cell in cells))
    return table


def persons_line(persons: Sequence[Person]) -> str:
    """Return what the contact list is, and who on it may be one person."""
    apart = sum(not one.linked and one.subject is None for one in persons)
    doubt = (
        ". Whoever was not linked may be listed more than once: met at another camera, or lost "
        "from view for longer than a few seconds"
        if apart > 1
        else ""
    )
    return f"whom they met: {counted(len(persons), 'person')}, the longest first{doubt}"


def persons_table(persons: Sequence[Person], *, every: bool = False) -> Table:
    """Return a table with one row a person, who was within reach longest first.

    Args:
        persons: of one trace.
        every: also beyond the first `_PERSONS_SHOWN`.
    """
    table = plain_table(
        "contact", "within reach", "most in 24 h", "nearest", "median", "mask",
        "first - last (local)", "cameras", whole=("contact", "first - last (local)"),
    )  # fmt: skip
    ordered = sorted(persons, key=lambda one: (-one.seconds, one.number))
    for one in ordered if every else ordered[:_PERSONS_SHOWN]:
        name = f" = {one.subject}" if one.subject else " linked" if one.linked else ""
        cells = (
            f"{one.number}{name}",
            seconds_text(one.seconds),
            seconds_text(one.most_in_24h_s),
            metres_text(one.nearest_m),
            metres_text(one.median_m),
            mask_text(*one.mask) + (" (put on or off)" if one.mask_varies else ""),
            span_text(one.first_ms, one.last_ms),
            ", ".join(one.cameras),
        )
        table.add_row(*(Text(cell) for cell in cells))
    if len(ordered) > _PERSONS_SHOWN and not every:
        table.add_row(Text("…"), Text(f"{len(ordered) - _PERSONS_SHOWN} more (--all shows them)"))
    return table


def metres_text(metres: float | None) -> str:
    """Return a distance, or that it is not known."""
    return "? m" if metres is None else f"{metres:.1f} m"


def seconds_text(seconds: float) -> str:
    """Return how long a contact was: of a short one with tenths of a second."""
    return f"{seconds:.1f} s" if seconds < 10 else duration_text(seconds)


def followed_line(trace: Trace, *, placed: bool) -> str:
    """Return what the list of who was followed is, and is not.

    Args:
        placed: whether the register of places was at hand.
    """
    order = (
        "best by likeness and the way on foot first"
        if placed
        else "most alike first (with the register of places by the way on foot, too)"
    )
    return (
        f"{trace.subject}: perhaps before and after, by appearance, {order}. These are people "
        "dressed alike, nearby and within minutes: this identifies nobody. Confirm or reject by "
        "number"
    )


def way_text(way: Way | None) -> str:
    """Return how long before or after a hit, and whether somebody could have walked there."""
    if way is None:
        return "-"
    when = "after" if way.gap_s >= 0 else "before"
    gap = f"{duration_text(abs(way.gap_s))} {when}"
    if way.walk_s is None:
        return f"{gap}, how far is not known"
    if way.metres == 0:
        return f"{gap}, same camera"
    on_foot = f"{duration_text(way.walk_s)} on foot"
    walk = f"{gap}, {on_foot if way.metres is None else f'{way.metres:.0f} m ({on_foot})'}"
    return f"{walk}: {TOO_FAST}" if way.too_far else walk


def likelihood_text(stay: Stay) -> str:
    """Return the likelihood ratio in figures and words, and below it how the stay fits others."""
    lines = [_ratio_text(stay), fit_text(stay.fit)]
    return "\n".join(line for line in lines if line)


def _ratio_text(stay: Stay) -> str:
    if stay.score is None:
        return "not compared"
    if stay.by_appearance:
        going_on = f" (goes on from {numbers_text(stay.follows)})" if stay.follows else ""
        return f"by appearance, identifies nobody{going_on}"
    return f"{likelihood_times(stay.log10_lr)} {likelihood_words(stay.log10_lr)}".strip()


def impossible_table(items: Sequence[Numbered]) -> Table:
    """Return a table of what was opened and cannot be true, with the reason of each."""
    table = plain_table("no.", "camera", "from - to (local)", "why it cannot be")
    for item in items:
        one = item.candidate
        cells = (
            str(item.number),
            one.address.camera,
            span_text(one.first_seen_ms, one.last_seen_ms),
            one.impossible or "",
        )
        table.add_row(*(Text(cell) for cell in cells))
    return table


def receipts_text(receipts: Receipts) -> str:
    """Return how much was opened row by row, by each custodian's own word."""
    lines = [f"{counted(receipts.rows, 'row')} of times, masks and contacts"]
    lines += [
        f"{one.custodian}: "
        + (f"does not answer ({one.silence})" if one.silence else f"{one.rows} by its receipts")
        for one in receipts.custodians
    ]
    return "\n".join(lines)


def origin_text(stay: Stay) -> str:
    """Return that it is from a recording, and whose word its times are, and what doubles it."""
    said = ""
    if stay.origin == RECORDING:
        said = f"\nfrom a recording, {_TIMES[stay.time_source or CLOCK]}"
    if stay.doubles:
        said += f"\n{numbers_text(stay.doubles)}: the same passage, by another box or from a film"
    return said


def decision_text(stay: Stay) -> str:
    """Return what is decided; where several must confirm, also who has so far."""
    if stay.needed == 1 or stay.verdict != UNDECIDED:
        return stay.verdict
    names = f": {', '.join(stay.confirmed_by)}" if stay.confirmed_by else ""
    return f"{stay.verdict}, {len(stay.confirmed_by)} of {stay.needed} confirm it{names}"


def mask_text(mask: MaskStatus, confidence: float) -> str:
    """Return the mask status with its confidence."""
    if mask == MaskStatus.UNKNOWN:
        return "unknown"
    return f"{_MASKS[mask]} {confidence:.0%}"


def contacts_text(contacts: Sequence[Contact], *, every: bool = False) -> str:
    """Return the contacts, longest first, one a line; without ``every`` the first few."""
    shown = contacts if every else contacts[:_CONTACTS_SHOWN]
    lines = [_contact_text(contact) for contact in shown]
    if len(shown) < len(contacts):
        rest = contacts[len(shown) :]
        lines.append(f"and {len(rest)} more, {duration_text(sum(c.seconds for c in rest))}")
    return "\n".join(lines) or "-"


def _contact_text(contact: Contact) -> str:
    distance, seconds = metres_text(contact.nearest_m), seconds_text(contact.seconds)
    mask = mask_text(contact.mask, contact.mask_confidence)
    who = f" = {contact.subject}" if contact.subject else ""
    return f"{distance}, {seconds}, {'mask ' if mask == 'unknown' else ''}{mask}{who}"
