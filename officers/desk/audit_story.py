"""Tell one query's whole life as its logs have it: a sentence a step, each with its entries.

What a sentence says is what stands in an entry; that an entry is in a log nobody has rewritten is
what `verify_logs` finds out. Entries of several logs about one act make one step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from officers.desk.audit_copy import AuditCopy
from officers.desk.audit_sentences import sentence_of
from officers.desk.audit_words import actor_of
from officers.desk.phrases import phrase
from protocol.about_queries import WITHDRAWAL_KIND
from protocol.audit_queries import BAD_BODY, OpenedEntry, octets
from protocol.findings import QueryCount, Report, Severity
from protocol.merkle import leaf_hash
from protocol.signing import Signed

_NAMED = 4
_SHORT = 8


class Standing(StrEnum):
    """What stands behind a sentence."""

    PROVEN = "proven"
    """Its entries open, and nothing was found about them."""
    SEALED = "sealed"
    """An entry's contents are sealed to others: only its kind and time are known."""
    UNREADABLE = "unreadable"
    """An entry opens and is not what its kind says."""
    DOUBTED = "doubted"
    """Something was found about one of its entries."""


@dataclass(frozen=True, slots=True)
class Proof:
    """An entry: of which log, its number counted from 0, and the hash under which it is in it."""

    log: str
    index: int
    digest: str


@dataclass(frozen=True, slots=True)
class Step:
    """A sentence of the story.

    Args:
        from_ms: when it happened, by the clock of whoever kept the log.
        to_ms: the last time, of what happened often.
        words: the sentence.
        proofs: the entries that it stands on.
        standing: what stands behind it.
        findings: numbers of the findings about these entries, as the report lists them.
        often: how many times.
    """

    from_ms: int
    to_ms: int
    kind: str
    words: str
    proofs: tuple[Proof, ...]
    standing: Standing
    findings: tuple[int, ...] = ()
    often: int = 1


@dataclass(frozen=True, slots=True)
class Story:
    """One query: what was counted of it (of several that share an id: all), and its steps."""

    query_id: str
    counted: tuple[QueryCount, ...]
    steps: tuple[Step, ...]
    findings: tuple[int, ...]


def stories(copy: AuditCopy, report: Report, entries: Sequence[OpenedEntry]) -> dict[str, Story]:
    """Return the story of every query by its id (hex), the one filed last first.

    Args:
        copy: whose entries these are.
        report: what verifying them found.
        entries: of all logs in order of time (`read_entries`).
    """
    leaves = {log.origin: log.entries for log in copy.logs}
    about: dict[tuple[str, int | None], list[int]] = {}
    of_query: dict[str, list[int]] = {}
    for number, found in enumerate(report.findings):
        about.setdefault((found.origin, found.index), []).append(number)
        if found.query:
            of_query.setdefault(found.query, []).append(number)
    weighty = {
        number
        for number, found in enumerate(report.findings)
        if found.severity is not Severity.NOTE
    }
    told: dict[str, dict[object, Step]] = {}
    for item in entries:
        if item.entry.query_id is None:
            continue
        findings = tuple(n for n in about.get((item.origin, item.index), ()) if n in weighty)
        digest = leaf_hash(leaves[item.origin][item.index]).hex()
        step = _step(item, Proof(actor_of(item.origin), item.index, digest), findings)
        steps = told.setdefault(item.entry.query_id.hex(), {})
        key = _key(item)
        steps[key] = _joined(steps[key], step) if key in steps else step
    counted: dict[str, list[QueryCount]] = {}
    for count in report.queries:
        counted.setdefault(count.query, []).append(count)
    made = [
        Story(
            query_id,
            tuple(counted.get(query_id, ())),
            tuple(sorted(steps.values(), key=lambda step: step.from_ms)),
            tuple(of_query.get(query_id, ())),
        )
        for query_id, steps in told.items()
    ]
    made.sort(key=lambda one: (-one.steps[0].from_ms, one.query_id))
    return {one.query_id: one for one in made}


def _step(item: OpenedEntry, proof: Proof, findings: tuple[int, ...]) -> Step:
    words = sentence_of(item)
    standing = Standing.SEALED if item.body is None else Standing.PROVEN
    if words is None:
        standing = Standing.UNREADABLE
        words = phrase("An entry that is not what its kind, “{kind}”, says.", kind=item.entry.kind)
    if findings:
        standing = Standing.DOUBTED
    return Step(
        from_ms=item.entry.time_ms,
        to_ms=item.entry.time_ms,
        kind=item.entry.kind,
        words=words,
        proofs=(proof,),
        standing=standing,
        findings=findings,
    )


_REPEATED = frozenset({"result-read", "refusal"})
_WEIGHT = (Standing.PROVEN, Standing.SEALED, Standing.UNREADABLE, Standing.DOUBTED)


def _joined(first: Step, second: Step) -> Step:
    """Return one step of two about the same act; the words are those of who did it."""
    words = first.words if first.kind != "grant-received" else second.words
    again = first.kind == second.kind and first.kind in _REPEATED
    return replace(
        first,
        to_ms=max(first.to_ms, second.to_ms) if again else first.to_ms,
        kind="grant" if "grant" in {first.kind, second.kind} else first.kind,
        words=words,
        proofs=(*first.proofs, *second.proofs),
        standing=max(first.standing, second.standing, key=_WEIGHT.index),
        findings=tuple(dict.fromkeys((*first.findings, *second.findings))),
        often=first.often + 1 if again else first.often,
    )


def _key(item: OpenedEntry) -> object:
    """Return what tells the act of an entry from others: entries of one act have it in common."""
    read = None if item.body is None else _KEYS.get(item.entry.kind)
    try:
        if read is not None and item.body is not None:
            return read(item.actor, item.body)
    except BAD_BODY:
        pass  # a finding of its own
    return item.origin, item.index


_KEYS: dict[str, Callable[[str, Mapping[str, Any]], object]] = {
    "grant": lambda actor, body: ("grant", actor, octets(body, "grant_id")),
    "grant-received": lambda _actor, body: (
        "grant",
        str(body["custodian"]),
        octets(body, "grant_id"),
    ),
    "withdrawal": lambda _actor, body: (
        "withdrawal",
        Signed.parse(body["withdrawal"], kind=WITHDRAWAL_KIND).digest,
    ),
    "result-read": lambda _actor, body: ("read", str(body["reader"])),
    "refusal": lambda actor, body: ("refusal", actor, str(body["reason"])),
}
