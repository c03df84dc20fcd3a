"""What a query asks for more, less or otherwise than the last one of the same case.

The same case: both look for a subject of one pseudonym. The last: asked for before this one, and
the newest of those. That there is none between is headquarters' word; both are verified here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from officers.desk.api_client import QuerySummary
from officers.desk.case import Case
from officers.desk.modality_words import NO_MORE, NOW_TOO
from officers.desk.phrases import Phrase, duration, listed, moment, nphrase, phrase, span, theirs
from officers.desk.session import Session
from officers.desk.wording import short_id
from protocol.names import SLOT_MS
from protocol.policy import LINKED_CONTACTS, NEAR_CONTACTS
from protocol.query import Query, Subject

MORE, LESS, OTHER = "more", "less", "other"
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it was; ``kind``: asked for more (`MORE`), less, or otherwise."""

    kind: str
    words: Phrase


@dataclass(frozen=True, slots=True)
class Compared:
    """The last query of the same case, and what is not as it was there.

    ``state`` is where it came to, by headquarters' word. ``earlier`` None: there is no such query.
    """

    earlier: Case | None
    state: str
    rows: tuple[Difference, ...]

    @property
    def words(self) -> Phrase:
        """Say what it is compared with."""
        if self.earlier is None:
            return phrase("no earlier query looks for the same subject, as far as is told here")
        return phrase(
            "compared with {id} of {requester}, asked for {moment}",
            id=short_id(self.earlier.id),
            requester=self.earlier.requester,
            moment=moment(self.earlier.query.requested_at_ms),
        )


def compare_with_last(session: Session, case: Case) -> Compared:
    """Find the last query of the same case, verify it, and say what differs.

    Args:
        session: anybody's.
        case: the query, verified.

    Raises:
        OperationError: the aggregator does not give what it lists.
        ProtocolError: what it gives is not genuine.
    """
    for one in _same_case(session.queries(), case):
        earlier = session.case(one.id)
        if _names(earlier.query) & _names(case.query) and _before(earlier, case):
            return Compared(earlier, one.state, tuple(differences(earlier.query, case.query)))
    return Compared(None, "", ())


def differences(before: Query, now: Query) -> Iterator[Difference]:
    """Yield what ``now`` asks for more, less or otherwise than ``before``."""
    yield from _subjects(before, now)
    yield from _cameras(before, now)
    yield from _window(before, now)
    yield from _how(before, now)
    yield from _options(before, now)
    yield from _why(before, now)
    yield from _people(before, now)


def _same_case(queries: Iterable[QuerySummary], case: Case) -> list[QuerySummary]:
    """Return the queries that are said to look for the same subject, the newest first."""
    names = _names(case.query)
    others = (one for one in queries if one.id != case.id and names & {*one.query.pseudonyms})
    return sorted(others, key=lambda one: one.filed_ms, reverse=True)


def _before(earlier: Case, case: Case) -> bool:
    return earlier.query.requested_at_ms < case.query.requested_at_ms


def _names(query: Query) -> set[str]:
    return {subject.pseudonym for subject in query.subjects}


def _subjects(before: Query, now: Query) -> Iterator[Difference]:
    more, less = _changed(sorted(_names(before)), sorted(_names(now)))
    if more:
        yield Difference(MORE, phrase("looks for {names} too", names=_quoted(more)))
    if less:
        yield Difference(LESS, phrase("no longer looks for {names}", names=_quoted(less)))
    earlier = {one.pseudonym: one for one in before.subjects}
    for subject in now.subjects:
        known = earlier.get(subject.pseudonym)
        if known is not None and known.consent_reference != subject.consent_reference:
            words = phrase(
                "{name} stands on another consent or order: “{now}”, before “{before}”",
                name=theirs(subject.pseudonym),
                now=theirs(subject.consent_reference),
                before=theirs(known.consent_reference),
            )
            yield Difference(OTHER, words)
        if known is not None and known.consent_document != subject.consent_document:
            yield Difference(OTHER, _document(known, subject))
        if known is not None and known.templates != subject.templates:
            words = phrase("{name}: other templates", name=theirs(subject.pseudonym))
            yield Difference(OTHER, words)


def _cameras(before: Query, now: Query) -> Iterator[Difference]:
    more, less = _changed(before.cameras, now.cameras)
    if more:
        yield Difference(
            MORE,
            nphrase("1 camera more: {names}", "{n} cameras more: {names}", len(more),
                    names=listed(more, "")),
        )  # fmt: skip
    if less:
        yield Difference(
            LESS,
            nphrase("1 camera less: {names}", "{n} cameras less: {names}", len(less),
                    names=listed(less, "")),
        )  # fmt: skip


def _window(before: Query, now: Query) -> Iterator[Difference]:
    if before.window_to_ms <= now.window_from_ms or now.window_to_ms <= before.window_from_ms:
        words = phrase(
            "other hours: {now}; before {before}",
            now=span(now.window_from_ms, now.window_to_ms),
            before=span(before.window_from_ms, before.window_to_ms),
        )
        yield Difference(OTHER, words)
    else:
        yield from _edges(before, now)
    was, is_now = _quarters(before), _quarters(now)
    if was != is_now:
        words = phrase(
            "{now:,} camera quarter hours in all, before {before:,}", now=is_now, before=was
        )
        yield Difference(MORE if is_now > was else LESS, words)


def _edges(before: Query, now: Query) -> Iterator[Difference]:
    earlier_s = (before.window_from_ms - now.window_from_ms) / 1000
    later_s = (now.window_to_ms - before.window_to_ms) / 1000
    if earlier_s > 0:
        yield Difference(MORE, phrase("begins {time} earlier", time=duration(earlier_s)))
    if earlier_s < 0:
        yield Difference(LESS, phrase("begins {time} later", time=duration(-earlier_s)))
    if later_s > 0:
        yield Difference(MORE, phrase("ends {time} later", time=duration(later_s)))
    if later_s < 0:
        yield Difference(LESS, phrase("ends {time} earlier", time=duration(-later_s)))


def _how(before: Query, now: Query) -> Iterator[Difference]:
    more, less = _changed(before.modalities, now.modalities)
    for modality in more:
        yield Difference(MORE, phrase(NOW_TOO[modality]))
    for modality in less:
        yield Difference(LESS, phrase(NO_MORE[modality]))
    for model in sorted(before.thresholds.keys() & now.thresholds.keys()):
        was, is_now = before.thresholds[model], now.thresholds[model]
        if was != is_now:
            yield _threshold(was, is_now)
    if now.max_candidates != before.max_candidates:
        words = phrase(
            "at most {now:,} candidates, before {before:,}",
            now=now.max_candidates,
            before=before.max_candidates,
        )
        yield Difference(MORE if now.max_candidates > before.max_candidates else LESS, words)


def _threshold(was: float, is_now: float) -> Difference:
    if is_now < was:
        words = phrase(
            "threshold {now:.3f}, before {before:.3f}: more is found, and more strangers",
            now=is_now,
            before=was,
        )
        return Difference(MORE, words)
    words = phrase(
        "threshold {now:.3f}, before {before:.3f}: less is found, and fewer strangers",
        now=is_now,
        before=was,
    )
    return Difference(LESS, words)


def _options(before: Query, now: Query) -> Iterator[Difference]:
    was, is_now = set(before.options), set(now.options)
    words = {
        "live": (
            phrase("opens each quarter hour while it runs"),
            phrase("opens no quarter hour any more while it runs"),
        ),
        NEAR_CONTACTS: (phrase("asks who was near"), phrase("no longer asks who was near")),
        LINKED_CONTACTS: (
            phrase("asks which of those who were near are one person"),
            phrase("no longer asks which of those who were near are one person"),
        ),
        "continuation": (
            phrase("follows who is confirmed by their clothes"),
            phrase("no longer follows who is confirmed by their clothes"),
        ),
        "same_place_counts": (
            phrase("counts how many people were there"),
            phrase("no longer counts how many people were there"),
        ),
        "evidence": (phrase("asks for stills"), phrase("no longer asks for stills")),
    }
    for option, (asked, dropped) in words.items():
        if option in is_now - was:
            yield Difference(MORE, asked)
        elif option in was - is_now:
            yield Difference(LESS, dropped)
    stills, earlier = now.asks.evidence_stills, before.asks.evidence_stills
    if stills and earlier and stills != earlier:
        words_of_stills = phrase("at most {now:,} stills, before {before:,}", now=stills,
                                 before=earlier)  # fmt: skip
        yield Difference(MORE if stills > earlier else LESS, words_of_stills)
    after, once = now.asks.afterwards_min, before.asks.afterwards_min
    if after != once:
        yield Difference(
            OTHER,
            phrase("counts who came until {time} after a confirmed hit", time=duration(after * 60))
            if after
            else phrase("counts over all of its hours, not only after a confirmed hit"),
        )


def _why(before: Query, now: Query) -> Iterator[Difference]:
    if now.legal_basis != before.legal_basis:
        words = phrase(
            "another legal ground: {now}, before {before}",
            now=now.legal_basis,
            before=before.legal_basis,
        )
        yield Difference(OTHER, words)
    if now.purpose_kind != before.purpose_kind:
        words = phrase(
            "another purpose of the policy: “{now}”, before “{before}”",
            now=theirs(now.purpose_kind or "-"),
            before=theirs(before.purpose_kind or "-"),
        )
        yield Difference(OTHER, words)
    if now.purpose != before.purpose:
        words = phrase("said otherwise; before: “{before}”", before=theirs(before.purpose))
        yield Difference(OTHER, words)
    if now.policy_digest != before.policy_digest:
        yield Difference(OTHER, phrase("asked under another policy"))


def _people(before: Query, now: Query) -> Iterator[Difference]:
    more, less = _changed(sorted(before.confirmers), sorted(now.confirmers))
    if more:
        yield Difference(MORE, phrase("{names} reads the results too", names=listed(more, "")))
    if less:
        words = phrase("{names} no longer reads the results", names=listed(less, ""))
        yield Difference(LESS, words)
    was = round((before.not_after_ms - before.requested_at_ms) / _DAY_MS)
    is_now = round((now.not_after_ms - now.requested_at_ms) / _DAY_MS)
    if was != is_now:
        words = phrase("valid for {now} days, before {before}", now=is_now, before=was)
        yield Difference(MORE if is_now > was else LESS, words)


def _quarters(query: Query) -> int:
    return len(query.cameras) * ((query.window_to_ms - query.window_from_ms) // SLOT_MS)


def _changed(before: Sequence[str], now: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return what is new, and what is gone, each in its order."""
    return [one for one in now if one not in before], [one for one in before if one not in now]


def _quoted(names: Iterable[str]) -> Phrase:
    return listed([theirs(name) for name in names])


def _document(known: Subject, subject: Subject) -> Phrase:
    """Say how the document that a subject's consent is differs."""
    name = theirs(subject.pseudonym)
    if not known.consent_document:
        return phrase("{name}: names the document of consent, as before it did not", name=name)
    if not subject.consent_document:
        return phrase("{name}: does not name the document of consent any more", name=name)
    return phrase("{name}: another document of consent", name=name)
