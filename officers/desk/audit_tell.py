"""Sentences about an audit that every face of it says: verdict, weight, place, facts, cells."""

from __future__ import annotations

from collections.abc import Sequence

from officers.desk.audit_counts import MonthCount
from officers.desk.audit_desk import Audited
from officers.desk.audit_story import Standing, Step
from officers.desk.audit_words import actor_of
from officers.desk.phrases import (
    Phrase,
    duration,
    listed,
    moment,
    nphrase,
    phrase,
    span,
    theirs,
    together,
)
from officers.desk.query_words import ground_words, option_words
from protocol.findings import Finding, LogSummary, QueryCount, Severity

SHORT = 8
WEIGHTS: dict[Severity, Phrase] = {
    Severity.WRONG: phrase("Wrong"),
    Severity.WARNING: phrase("Warning"),
    Severity.NOTE: phrase("Note"),
}
STANDINGS: dict[Standing, Phrase] = {
    Standing.PROVEN: phrase("proven"),
    Standing.SEALED: phrase("sealed to others"),
    Standing.UNREADABLE: phrase("not readable"),
    Standing.DOUBTED: phrase("see finding"),
}
COUNT_HEADS: tuple[Phrase, ...] = (
    phrase("Month"),
    phrase("Legal ground"),
    phrase("Filed"),
    phrase("Refused"),
    phrase("Approved"),
    phrase("Withdrawn"),
    phrase("Quarter hours opened"),
    phrase("Sightings opened one by one"),
    phrase("Stills"),
    phrase("Filing to approval, half within"),
    phrase("Slowest"),
)
COUNTS_NOTE = phrase(
    "These are numbers of queries and of what was opened, so they are told below five too. A "
    "quarter hour counts once for each camera whose keys enough custodians gave. Nothing is "
    "counted by officer."
)
CLOCKS_NOTE = phrase(
    "Each log is kept by its own keeper's clock: steps seconds apart may stand in another order."
)
NOT_SHOWN = phrase(
    "No log can show that custodians who must agree did not agree in secret, that who signed was "
    "not forced, or what happened to a file that was exported."
)
ALARM = phrase("A log is not what it was")
ALARM_MEANS = phrase(
    "Somebody has rewritten a log, cut it short, or shown others another one. Until this is "
    "cleared up, nothing that the logs tell can be taken for the whole truth."
)
ALARM_DO = phrase(
    "Do not approve or sign anything on the strength of these logs. Keep this copy where the "
    "operators cannot reach it, and compare it with the other auditors today."
)


def verdict(audited: Audited) -> Phrase:
    """Return whether the logs are sound, and how much was looked at."""
    looked = phrase(
        "{logs}, {entries}.",
        logs=nphrase("{n:,} log", "{n:,} logs", len(audited.report.logs)),
        entries=nphrase("{n:,} entry", "{n:,} entries", audited.entries),
    )
    wrong = len(audited.report.wrong) + len(audited.copy.damaged)
    if wrong:
        said = nphrase(
            "Not sound: {n:,} thing is wrong.", "Not sound: {n:,} things are wrong.", wrong
        )
    elif audited.report.uncovered:
        rest = sum(log.entries - log.covered_size for log in audited.report.uncovered)
        said = nphrase(
            "Sound but for {n:,} entry that too few others stand behind yet.",
            "Sound but for {n:,} entries that too few others stand behind yet.",
            rest,
        )
    else:
        said = phrase("Sound: nothing is wrong.")
    return together([said, looked], " ")


def depth(audited: Audited) -> Phrase | None:
    """Return what was not looked at, None where everything was."""
    if audited.report.auditor is not None:
        return None
    return phrase(
        "The contents of the entries are sealed to the site's auditors, and you are none of them: "
        "only what stands in the clear was checked."
    )


def place(finding: Finding) -> Phrase:
    """Return what a finding is about: a log, an entry of it."""
    name = actor_of(finding.origin)
    if finding.index is None:
        return phrase("log of {name}", name=theirs(name))
    return phrase("log of {name}, entry {index}", name=theirs(name), index=finding.index)


def looked_behind(log: LogSummary) -> Phrase:
    """Return how far others stand behind a log."""
    if log.covered_size >= log.entries:
        return phrase("all of it")
    return nphrase(
        "all but the last {n:,}", "all but the last {n:,}", log.entries - log.covered_size
    )


def about(query: QueryCount) -> list[tuple[Phrase, Phrase]]:
    """Return what a query asked and what came of it: what each row is about, and what is said."""
    nobody = phrase("nobody")
    rows: list[tuple[Phrase, Phrase]] = []
    if query.requester is not None:
        rows += [
            (phrase("Asked by"), theirs(query.requester)),
            (phrase("Purpose"), theirs(query.purpose or "")),
            (
                phrase("Legal ground"),
                phrase(
                    "{ground} ({references})",
                    ground=ground_words(query.legal_basis or ""),
                    references=listed([theirs(one) for one in query.consent_references], ""),
                ),
            ),
            *(
                (
                    phrase("Document of consent"),
                    phrase(
                        "{subject}: the file whose SHA-256 is {digest}",
                        subject=theirs(subject),
                        digest=digest,
                    ),
                )
                for subject, digest in sorted(query.consent_documents.items())
            ),
            (
                phrase("Asked for"),
                nphrase(
                    "{n:,} camera, {span}",
                    "{n:,} cameras, {span}",
                    query.cameras or 0,
                    span=span(*(query.window_ms or (0, 0))),
                ),
            ),
            (
                phrase("Besides comparing"),
                listed([option_words(one) for one in query.options], "") or phrase("nothing"),
            ),
            (
                phrase("Enrolment witnessed by"),
                _listed([f"{who} ({whom})" for whom, who in sorted(query.witnessed.items())])
                or nobody,
            ),
            (phrase("Approved by"), _listed(query.approvers) or nobody),
        ]
    if query.refused_by:
        rows.append((phrase("Refused by"), _listed(query.refused_by)))
    rows.append((phrase("Keys given by"), _listed(query.granting_custodians) or nobody))
    if query.withdrawn_by:
        rows.append((phrase("Withdrawn by"), _listed(query.withdrawn_by)))
    if query.candidates is not None:
        found = [nphrase("{n:,} candidate", "{n:,} candidates", query.candidates)]
        if query.confirmed is not None:
            found.append(nphrase("{n:,} confirmed", "{n:,} confirmed", query.confirmed))
        rows.append((phrase("Found"), listed(found, "")))
    if query.digest:
        rows.append((phrase("Digest"), theirs(query.digest)))
    return rows


def when(step: Step) -> Phrase:
    """Return when a step was; from and to of what happened often."""
    if step.often > 1 and step.to_ms > step.from_ms:
        return span(step.from_ms, step.to_ms)
    return moment(step.from_ms)


def said(step: Step) -> str:
    """Return a step's sentence, and how often it happened."""
    if step.often == 1:
        return step.words
    times = nphrase("({n:,} time)", "({n:,} times)", step.often)
    return together([step.words, times], " ")


def count_cells(count: MonthCount) -> list[Phrase | str]:
    """Return a row under `COUNT_HEADS`."""
    return [
        count.month or phrase("not known"),
        ground_words(count.ground) if count.ground else phrase("sealed"),
        *(
            f"{number:,}"
            for number in (
                count.filed,
                count.refused,
                count.approved,
                count.withdrawn,
                count.quarter_hours,
                count.rows,
                count.stills,
            )
        ),
        _took(count.approval_ms),
        _took(count.slowest_ms),
    ]


def _took(time_ms: int | None) -> Phrase:
    return phrase("none yet") if time_ms is None else duration(time_ms / 1000)


def _listed(names: Sequence[str]) -> Phrase:
    return listed([theirs(name) for name in names], "")
