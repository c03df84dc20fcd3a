"""Put an audit's report and log entries into words and JSON, the same on every face."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from protocol.about_queries import Approval, Refusal, Withdrawal
from protocol.audit_queries import BAD_BODY, OpenedEntry
from protocol.exports import EXPORT_KIND, Export
from protocol.findings import Finding, QueryCount, Report, Severity
from protocol.grant import Scope
from protocol.names import EPOCH_MS
from protocol.query import Query
from protocol.results import Decision
from protocol.signing import Signed
from runtime.text import counted

SHORT = 12


def report_json(report: Report) -> dict[str, object]:
    """Return a report as JSON values.

    ``sound`` says whether nothing is wrong, ``covered`` whether enough others stand behind the last
    entry of every log to rule out that somebody else was shown another history.
    """
    return {"sound": not report.wrong, "covered": not report.uncovered, **asdict(report)}


def query_lines(query: QueryCount) -> list[str]:
    """Tell one query in a few lines: who asked what, who agreed, what was granted and found."""
    digest = f" (digest {query.digest[:SHORT]})" if query.digest else ""
    filed = moment(query.filed_ms) or "nowhere"
    lines = [f"query {query.query[:SHORT] or 'without an id'}{digest}, filed {filed}"]
    if query.requester is not None:
        start, end = query.window_ms or (None, None)
        consent = ", ".join(query.consent_references)
        lines += [
            f"asked by {query.requester}: {_purpose(query.purpose or '', query.purpose_kind)}",
            f"{query.legal_basis} ({consent}); {counted(query.cameras or 0, 'camera')}, "
            f"{moment(start)} to {moment(end)}",
            *(
                f"the consent of {subject} is the file whose SHA-256 is {digest}"
                for subject, digest in sorted(query.consent_documents.items())
            ),
            f"enrolment witnessed by {_witnesses(query)}; asks for "
            f"{', '.join(query.options) or 'nothing'} besides comparing",
            f"approved by {', '.join(query.approvers) or 'nobody'}",
        ]
    custodians = ", ".join(query.granting_custodians) or "nobody"
    slots = "" if query.granted_slots is None else f", {counted(query.granted_slots, 'slot')}"
    lines.append(
        f"granted by {custodians}: {counted(query.grants, 'grant')}, "
        f"{query.received} received{slots}"
    )
    if query.rows_opened is not None:
        stills = counted(query.stills_opened or 0, "still")
        lines.append(f"{counted(query.rows_opened, 'row')} and {stills} opened one by one")
    if query.stills_sent is not None:
        lines.append(f"{counted(query.stills_sent, 'still')} sent by boxes to who asked for them")
    if query.pairs is not None:
        lines.append(
            f"{counted(query.pairs, 'pair')} of those who were near compared, to link them"
        )
    found = "" if query.candidates is None else f": {counted(query.candidates, 'candidate')}"
    if query.sightings is not None:
        found = f" of {counted(query.sightings, 'sighting')}{found}"
    confirmed = "" if query.confirmed is None else f", {query.confirmed} confirmed"
    lines.append(
        f"{counted(query.matches, 'match', 'matches')}{found}; "
        f"{counted(query.decisions, 'decision')}{confirmed}, "
        f"read {counted(query.reads, 'time')}, exported {counted(query.exports, 'time')}, "
        f"{counted(query.refusals, 'refusal')}"
    )
    if query.refused_by:
        lines.append(f"approval refused by {', '.join(query.refused_by)}")
    if query.withdrawn_by:
        lines.append(f"withdrawn by {', '.join(query.withdrawn_by)}")
    return [lines[0], *(f"    {printable(line)}" for line in lines[1:])]


def finding_text(finding: Finding) -> str:
    """Return a finding as one line."""
    place = actor_of(finding.origin)
    if finding.index is not None:
        place += f" #{finding.index}"
    if finding.query:
        place += f", query {finding.query[:SHORT]}"
    line = f"{finding.severity}: {finding.kind} ({place}): {finding.message}"
    return printable(line)


def verdict(report: Report, damaged: int) -> str:
    """Return the last line: whether the logs are sound, and what was checked."""
    entries = sum(log.entries for log in report.logs)
    lesser = {
        severity: sum(finding.severity is severity for finding in report.findings)
        for severity in (Severity.WARNING, Severity.NOTE)
    }
    checked = (
        f"{counted(len(report.logs), 'log')}, {counted(entries, 'entry', 'entries')}, "
        f"{counted(len(report.queries), 'query', 'queries')}, "
        f"{counted(sum(q.grants for q in report.queries), 'grant')}"
    )
    depth = "" if report.auditor else "; structure only, the bodies stayed sealed"
    wrong = len(report.wrong) + damaged
    if wrong:
        return f"NOT sound: {counted(wrong, 'thing')} wrong ({checked}{depth})"
    reach = "sound"
    if report.uncovered:
        rest = sum(log.entries - log.covered_size for log in report.uncovered)
        names = ", ".join(actor_of(log.origin) for log in report.uncovered)
        reach = f"sound but for {counted(rest, 'entry', 'entries')} not yet cosigned ({names})"
    return (
        f"{reach}: {checked}; {counted(lesser[Severity.WARNING], 'warning')}, "
        f"{counted(lesser[Severity.NOTE], 'note')}{depth}"
    )


def entry_json(item: OpenedEntry) -> dict[str, object]:
    """Return an entry as JSON values; bytes become hex, the body is null when it is sealed."""
    return {
        "log": item.origin,
        "index": item.index,
        "time_ms": item.entry.time_ms,
        "kind": item.entry.kind,
        "actor": item.entry.actor,
        "query": item.entry.query_id.hex() if item.entry.query_id else None,
        "body": _plain(item.body),
        "summary": summary(item),
    }


def summary(item: OpenedEntry) -> str:
    """Say in a few words what an entry's body tells; ``sealed`` when it does not open."""
    if item.body is None:
        return "sealed"
    describe = _SUMMARIES.get(item.entry.kind, _pairs)
    try:
        return printable(describe(item.body))
    except BAD_BODY:
        return "not readable as an entry of this kind"


def _purpose(words: str, kind: str | None) -> str:
    return f"{words} ({kind})" if kind else words


def _witnesses(query: QueryCount) -> str:
    told = [f"{witness} ({subject})" for subject, witness in sorted(query.witnessed.items())]
    return ", ".join(told) or "nobody"


def _query_text(body: Mapping[str, Any]) -> str:
    signed = Signed.parse(body["query"], kind="query")
    query = Query.parse(signed.payload)
    return (
        f"{signed.signer} asks: {_purpose(query.purpose, query.purpose_kind)}; "
        f"{query.legal_basis}, "
        f"{counted(len(query.subjects), 'subject')}, {counted(len(query.cameras), 'camera')}, "
        f"{moment(query.window_from_ms)} to {moment(query.window_to_ms)}; "
        f"digest {signed.digest.hex()[:SHORT]}"
    )


def _approval_text(body: Mapping[str, Any]) -> str:
    signed = Signed.parse(body["approval"], kind="approval")
    content = Approval.parse(signed.payload)
    return f"{signed.signer} approves {content.query_digest.hex()[:SHORT]}"


def _refusal_text(body: Mapping[str, Any]) -> str:
    signed = Signed.parse(body["refusal"], kind="refusal")
    content = Refusal.parse(signed.payload)
    return f"{signed.signer} refuses {content.query_digest.hex()[:SHORT]}: {content.reason}"


def _withdrawal_text(body: Mapping[str, Any]) -> str:
    signed = Signed.parse(body["withdrawal"], kind="withdrawal")
    content = Withdrawal.parse(signed.payload)
    return f"{signed.signer} withdraws {content.query_digest.hex()[:SHORT]}: {content.reason}"


def _decision_text(body: Mapping[str, Any]) -> str:
    signed = Signed.parse(body["decision"], kind="decision")
    content = Decision.parse(signed.payload)
    return f"{signed.signer}: {content.candidate_id.hex()[:SHORT]} {content.verdict}"


def _export_text(body: Mapping[str, Any]) -> str:
    signed = Signed.parse(body["export"], kind=EXPORT_KIND)
    content = Export.parse(signed.payload)
    files = ", ".join(digest.hex() for digest in content.files)
    return f"{signed.signer} writes {content.form}: SHA-256 {files}"


def _grant_text(body: Mapping[str, Any]) -> str:
    text = _scopes_text(body["scopes"]) + f"; {', '.join(body['labels'])}"
    refused = len(body["refused"])
    return text + (f"; {refused} refused" if refused else "")


def _rows_text(body: Mapping[str, Any]) -> str:
    left_out = sum(int(count) for _, count in body["left_out"])
    text = f"{counted(int(body['rows']), 'row')} opened, {int(body['total'])} in all"
    return text + (f"; {left_out} left out" if left_out else "")


def _stills_text(body: Mapping[str, Any]) -> str:
    return (
        f"{counted(int(body['stills']), 'still')} opened for {', '.join(body['officers'])}, "
        f"asked by {body['asked_by']}; {int(body['total'])} in all"
    )


def _received_text(body: Mapping[str, Any]) -> str:
    return f"from {body['custodian']}: {_scopes_text(body['scopes'])}"


def _scopes_text(values: list[Any]) -> str:
    scopes = [Scope.from_value(value) for value in values]
    slots = sum(scope.last_slot - scope.first_slot + 1 for scope in scopes)
    cameras = sorted({scope.address.camera for scope in scopes})
    named = ", ".join(cameras[:4]) + (f" and {len(cameras) - 4} more" if len(cameras) > 4 else "")
    return f"{counted(slots, 'slot')} of {named}"


def _match_text(body: Mapping[str, Any]) -> str:
    return (
        f"{counted(body['sightings'], 'sighting')} in {counted(body['segments'], 'envelope')} "
        f"compared under {counted(len(body['grant_ids']), 'grant')}: "
        f"{counted(body['candidates'], 'candidate')}"
    )


def _opened_text(body: Mapping[str, Any]) -> str:
    return (
        f"{counted(int(body['rows']), 'row')} opened under "
        f"{counted(len(body['release_ids']), 'receipt')}: "
        f"{counted(int(body['candidates']), 'candidate')}"
    )


def _linked_text(body: Mapping[str, Any]) -> str:
    return (
        f"{counted(int(body['companions']), 'person', 'people')} who were near compared with one "
        f"another, in {counted(int(body['pairs']), 'pair')}"
    )


def _asked_text(body: Mapping[str, Any]) -> str:
    stills = counted(int(body["stills"]), "still")
    return f"{body['officer']} asked {body['box']} for {stills}"


def _answered_text(body: Mapping[str, Any]) -> str:
    reason = f" ({body['reason']})" if body["reason"] else ""
    return (
        f"{body['box']} answered {body['officer']}: {body['outcome']}{reason}; "
        f"{counted(int(body['sent']), 'still')} sent for the query so far"
    )


def _version_text(body: Mapping[str, Any]) -> str:
    return f"version {body['version']}, {body['digest'].hex()[:SHORT]}"


def _days_text(body: Mapping[str, Any]) -> str:
    epochs = body["epochs"] if "epochs" in body else [body["epoch"]]
    days = [moment(int(epoch) * EPOCH_MS).removesuffix(" 00:00:00") for epoch in epochs]
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


_SUMMARIES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "query-filed": _query_text,
    "approval": _approval_text,
    "approval-refused": _refusal_text,
    "withdrawal": _withdrawal_text,
    "decision": _decision_text,
    "exported": _export_text,
    "grant": _grant_text,
    "rows": _rows_text,
    "evidence": _stills_text,
    "grant-received": _received_text,
    "match": _match_text,
    "opened-rows": _opened_text,
    "linked-contacts": _linked_text,
    "still-asked": _asked_text,
    "still-answered": _answered_text,
    "refusal": lambda body: str(body["reason"]),
    "rejected": lambda body: f"{body['box']}, {body['camera']}: {body['reason']}",
    "gap": lambda body: f"{body['box']}, {body['camera']}: {body['first']} to {body['last']}",
    "directory": _version_text,
    "policy": _version_text,
    "day-keys-issued": _days_text,
    "day-key-destroyed": _days_text,
}


def _pairs(body: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {value.hex()[:SHORT] if isinstance(value, bytes) else value}"
        for name, value in body.items()
    )


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def printable(text: str) -> str:
    """Return ``text`` without anything that could steer a terminal: logs are written by others."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def actor_of(origin: str) -> str:
    """Return whose log an origin names."""
    return origin.rpartition("/")[2]


def moment(time_ms: int | None) -> str:
    """Return a time for people, in UTC."""
    if time_ms is None:
        return ""
    try:
        return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):  # a log may claim any time
        return f"{time_ms} ms"
