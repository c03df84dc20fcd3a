"""Say in a report what was asked, approved and opened, and how far the logs had grown."""

from __future__ import annotations

from collections.abc import Iterator

from officers.desk.by_words import words_note
from officers.desk.report.document import Block, Facts, Heading, Paragraph, Table
from officers.desk.report.gathering import Gathered
from officers.desk.report.words import Words, marked
from protocol.keytree import APPEARANCE, FACE
from protocol.policy import CONSENT, LINKED_CONTACTS, NEAR_CONTACTS, STATUTORY_ORDER
from protocol.query import Subject

_BASES = {CONSENT: marked("consent"), STATUTORY_ORDER: marked("statutory order")}
_MODALITIES = {FACE: marked("faces"), APPEARANCE: marked("clothes and build")}
_OPTIONS = {
    "live": marked("opening while it runs"),
    NEAR_CONTACTS: marked("who was near"),
    LINKED_CONTACTS: marked("linked contacts"),
    "continuation": marked("following by clothes from confirmed sightings"),
    "same_place_counts": marked("counts of people at the same place"),
    "evidence": marked("stills"),
}


def asked_blocks(gathered: Gathered, words: Words) -> Iterator[Block]:
    """Yield what was asked by whom, who approved, and what custodians say that they opened."""
    case, query = gathered.case, gathered.case.query
    receipts = gathered.report.receipts
    around = gathered.around
    yield Heading(words.text("What was asked, approved and opened"))
    consents = [
        words.text(
            "{case}: {reference}",
            case=one.pseudonym,
            reference="; ".join(
                filter(None, (one.consent_reference, _document(one), words_note(one)))
            ),
        )
        for one in query.subjects
    ]
    cameras = [around.named(camera) for camera in query.cameras]
    approvals = [
        words.text("{approver}, {moment}", approver=one.approver, moment=words.moment(one.at_ms))
        for one in gathered.approvals
    ]
    needed = gathered.approvals_needed
    rows = [
        (
            words.text("asked by"),
            words.text("{officer}, {moment}", officer=case.requester,
                       moment=words.moment(query.requested_at_ms)),
        ),
        (words.text("purpose"), query.purpose),
        (words.text("kind of purpose"), query.purpose_kind),
        (
            words.text("legal basis"),
            _known(_BASES, query.legal_basis, words) + "\n" + "\n".join(consents),
        ),
        (words.text("cameras"), f"{len(cameras)}: {'; '.join(cameras)}"),
        (words.text("window"), words.span(query.window_from_ms, query.window_to_ms)),
        (
            words.text("compared"),
            ", ".join(_known(_MODALITIES, one, words) for one in sorted(query.modalities)),
        ),
        (
            words.text("asked besides"),
            ", ".join(_known(_OPTIONS, one, words) for one in query.options)
            or words.text("nothing"),
        ),
        (
            words.text("who confirms"),
            words.text("{needed} of: {officers}", needed=gathered.needed,
                       officers=", ".join(case.officers)),
        ),
        (
            words.text("approved by"),
            ("\n".join(approvals) or words.text("nobody"))
            + ("" if needed is None else "\n" + words.text("{count} were needed", count=needed)),
        ),
        (words.text("policy"), words.text("version {version}", version=gathered.policy_version)),
    ]  # fmt: skip
    if receipts is not None:
        opened = [words.text("{rows} rows of times, masks and contacts", rows=receipts.rows)]
        opened += [
            words.text("{custodian}: does not answer", custodian=one.custodian)
            if one.silence
            else words.text("{custodian}: {rows} by its receipts", custodian=one.custodian,
                            rows=one.rows)
            for one in receipts.custodians
        ]  # fmt: skip
        rows.append((words.text("opened"), "\n".join(opened)))
    rows.append((words.text("digest of the query"), f"SHA-256 {case.digest.hex()}"))
    yield Facts([(about, said) for about, said in rows if said])
    if receipts is not None and receipts.problems:
        yield Paragraph(
            words.text(
                "What is shown is not what custodians say that they opened. Do not act on this "
                "report before auditors have looked at it."
            ),
            warning=True,
        )


def log_blocks(gathered: Gathered, words: Words) -> Iterator[Block]:
    """Yield how far each log had grown when the report was made."""
    yield Heading(words.text("Logs when this report was made"))
    yield Paragraph(
        words.text(
            "Every step above stands in append-only logs that auditors verify. Each keeper signed "
            "this root over all entries until then; a log that shows another history later "
            "contradicts it."
        )
    )
    yield Table(
        columns=[words.text("log"), words.text("entries"), words.text("root (SHA-256)")],
        rows=[
            (one.keeper, "–", words.text("not reached"))
            if one.silence
            else (one.keeper, f"{one.size:,}", one.root.hex())
            for one in gathered.heads
        ],
        widths=(25, 18, 135),
        right=frozenset({1}),
    )


def _document(subject: Subject) -> str:
    digest = subject.consent_document.hex()
    return f"SHA-256 {digest}" if digest else ""


def _known(texts: dict[str, str], name: str, words: Words) -> str:
    return words.text(texts[name]) if name in texts else name
