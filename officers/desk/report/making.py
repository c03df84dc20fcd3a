"""Make a report: PDF, HTML, and beside them the officer's signature over both; it is logged."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from officers.desk.forms.around import Around
from officers.desk.handing_over import check_free, hand_over
from officers.desk.report.contents import document_of
from officers.desk.report.document import Document
from officers.desk.report.gathering import gather
from officers.desk.report.plan import Plan
from officers.desk.report.words import ENGLISH, Words
from officers.desk.results import Results
from officers.desk.session import Session
from protocol.signing import SigningKey

FORM = "report"
"""Under which the log knows a report."""


@dataclass(frozen=True, slots=True)
class Paths:
    """The files of a report."""

    pdf: Path
    html: Path
    signature: Path

    @classmethod
    def at(cls, base: Path) -> Paths:
        """Return them beside one another; a ``.pdf`` or ``.html`` of the base is left out."""
        stem = base.with_suffix("") if base.suffix.lower() in {".pdf", ".html"} else base
        return cls(*(stem.with_name(f"{stem.name}.{kind}") for kind in ("pdf", "html", "sig")))

    def check(self, *, overwrite: bool) -> None:
        """Check that all can be written.

        Raises:
            FileProblem: one exists and may not be replaced, or the folder is missing.
        """
        for path in (self.pdf, self.html, self.signature):
            check_free(path, overwrite=overwrite)


@dataclass(frozen=True, slots=True)
class Made:
    """A report that was written, and how many confirmed sightings are in it."""

    paths: Paths
    hits: int


@dataclass(frozen=True, slots=True)
class SetReport:
    """A report that is set and written nowhere yet, and how many confirmed sightings it has."""

    pdf: bytes = field(repr=False)
    html: bytes = field(repr=False)
    hits: int


def make_report(
    session: Session,
    results: Results,
    paths: Paths,
    key: SigningKey,
    *,
    around: Around,
    language: str = ENGLISH,
    plan: Plan | None = None,
    overwrite: bool = False,
) -> Made:
    """Write a query's report, whole and readable by the officer alone.

    Only what as many officers have confirmed as must is in it.

    Args:
        session: the officer's.
        results: as opened.
        paths: where to.
        key: the officer's signing key.
        around: from `around_of`.
        language: one of `officers.desk.report.words.LANGUAGES`.
        plan: drawn under the ways.
        overwrite: replace files that exist.

    Raises:
        FileProblem: a file exists and may not be replaced, or cannot be written.
        OperationError: there is no such language, or it could not be logged: nothing is written.
    """
    paths.check(overwrite=overwrite)
    made = set_report(session, results, around=around, language=language, plan=plan)
    files = {paths.pdf: made.pdf, paths.html: made.html}
    hand_over(
        session, results.case, FORM, files, key, overwrite=overwrite, signature=paths.signature
    )
    return Made(paths, made.hits)


def set_report(
    session: Session,
    results: Results,
    *,
    around: Around,
    language: str = ENGLISH,
    plan: Plan | None = None,
) -> SetReport:
    """Set a query's report as PDF and HTML, in memory; as `make_report`.

    Raises:
        OperationError: there is no such language, or the aggregator does not answer.
    """
    words = Words(language, around.zone)
    gathered = gather(session, results, around, plan=plan)
    document = document_of(gathered, words)
    hits = sum(len(trace.hits) for trace in gathered.report.traces)
    return SetReport(set_pdf(document), set_html(document), hits)


def set_pdf(document: Document) -> bytes:
    """Return a document as PDF; what sets it is loaded for those alone who make reports."""
    from officers.desk.report.pdf import as_pdf  # noqa: PLC0415

    return as_pdf(document)


def set_html(document: Document) -> bytes:
    """Return a document as HTML; loaded as the other is."""
    from officers.desk.report.html import as_html  # noqa: PLC0415

    return as_html(document)
