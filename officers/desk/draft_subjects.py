"""The subjects of a drafted query: what it says of each, and who witnessed their enrolment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from officers.desk.by_example import Shown
from officers.desk.notices import Notice, Tell
from officers.desk.officer import Officer
from officers.desk.phrases import phrase
from officers.desk.subjects import OpenedSubject
from protocol.enrolment import check_witnessed
from protocol.errors import EnrolmentNotWitnessed
from protocol.query import Query, Subject, TemplateReference
from runtime.subject_files import read_sheet, sheet_path


def subjects_asked(
    shown: Shown,
    subjects: Sequence[OpenedSubject],
    modalities: Sequence[str],
    *,
    documents: bool,
) -> list[Subject]:
    """Return the subjects of a query, without witnesses.

    Args:
        shown: earlier sightings, of the one subject or of somebody without a file.
        subjects: opened.
        modalities: that the query compares.
        documents: whether the site's machines read which document each consent is.
    """
    if not subjects:
        return [shown.subject(document=documents)]
    return [
        Subject(
            subject.file.pseudonym,
            subject.file.consent_reference,
            tuple(TemplateReference(t.modality, t.model, t.digest) for t in subject.of(modalities)),
            examples=shown.examples,
            words=subject.file.words,
            consent_document=subject.file.consent_document if documents else b"",
        )
        for subject in subjects
    ]


def with_witnesses(query: Query, files: Sequence[Path], me: Officer, tell: Tell) -> Query:
    """Return the query with the witnesses' statements, from the sheets beside the subject files.

    One that would not count is left out with a warning, unless the policy asks for it: then it
    stays, so that the query is refused with the reason.
    """
    subjects = []
    for subject, file in zip(query.subjects, files, strict=True):
        path = sheet_path(file)
        statement = read_sheet(path).statement if path.exists() else b""
        carrying = replace(subject, witnessed=statement)
        if statement and not me.policy.witnessed_enrolment:
            try:
                check_witnessed(
                    carrying,
                    requester=me.name,
                    directory=me.directory,
                    now_ms=query.requested_at_ms,
                )
            except EnrolmentNotWitnessed as error:
                tell(
                    Notice(
                        phrase(
                            "{path} is left out of the query: {error}",
                            path=path,
                            error=error,
                        ),
                        warning=True,
                    )
                )
                carrying = subject
        subjects.append(carrying)
    return replace(query, subjects=tuple(subjects))
