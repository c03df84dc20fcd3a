"""Subject files opened: what they hold, and whether it makes a query of one person each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from officers.desk.option_labels import SUBJECT
from officers.desk.phrases import phrase
from protocol import hpke
from protocol.errors import ModelMismatch, ProtocolError, TemplatesDisagree
from protocol.keytree import FOLLOWED
from protocol.policy import Policy
from protocol.query import Query
from protocol.templates import SubjectFile, Template, check_resemblance
from runtime.bundle import load_bundle
from runtime.calibration import Calibration, calibrations_of, least_resemblance
from runtime.errors import OperationError
from runtime.officer import OfficerConfig
from runtime.subject_files import read_subject


class DraftInvalid(OperationError):
    """What was asked for does not make a query."""


@dataclass(frozen=True, slots=True)
class OpenedSubject:
    """A subject file with its templates in the clear."""

    file: SubjectFile
    templates: tuple[Template, ...]

    def of(self, modalities: Sequence[str]) -> tuple[Template, ...]:
        """Return the templates of these modalities."""
        return tuple(t for t in self.templates if t.modality in modalities)


@contextmanager
def opened_subjects(
    paths: Sequence[Path], sealing: hpke.PrivateKey
) -> Iterator[list[OpenedSubject]]:
    """Open subject files; the templates are wiped when the block ends.

    Raises:
        FileProblem, SubjectFileInvalid: one cannot be read, or is not a subject file.
        DraftInvalid: one is sealed to somebody else, or comes twice.
    """
    subjects: list[OpenedSubject] = []
    try:
        for path in paths:
            subjects.append(_open_subject(path, sealing))
        names = [subject.file.pseudonym for subject in subjects]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DraftInvalid(
                phrase(
                    "subject '{twice}' is given twice; name each file once",
                    twice=twice[0],
                )
            )
        yield subjects
    finally:
        for subject in subjects:
            for template in subject.templates:
                template.row.fill(0)


def _open_subject(path: Path, sealing: hpke.PrivateKey) -> OpenedSubject:
    file = read_subject(path)
    try:
        return OpenedSubject(file, file.open(sealing))
    except ModelMismatch as error:
        raise DraftInvalid(
            phrase(
                "{path}: {error}; enrol the subject anew",
                path=path,
                error=error,
            )
        ) from error
    except ProtocolError as error:
        raise DraftInvalid(
            phrase(
                "{path} does not open with your sealing key: it was enrolled by another "
                "investigator, or has been altered ({error})",
                path=path,
                error=error,
            )
        ) from error


def modalities_of(
    subjects: Sequence[OpenedSubject], asked: Sequence[str], *, legal_basis: str, policy: Policy
) -> tuple[str, ...]:
    """Return the modalities to compare: those asked for, else what is held and permitted.

    Clothes beside a face are compared only where it is asked for: many people share them.

    Raises:
        DraftInvalid: the policy permits none of them, or a subject has no template of any.
    """
    rule = policy.bases.get(legal_basis)
    if rule is None:
        raise DraftInvalid(
            phrase(
                "the site's policy knows no legal basis '{legal_basis}'; it knows {bases}",
                legal_basis=legal_basis,
                bases=", ".join(sorted(policy.bases)),
            )
        )
    held = {template.modality for subject in subjects for template in subject.templates}
    permitted = held & rule.modalities
    chosen = set(asked) or permitted - {FOLLOWED} or permitted
    if not chosen:
        raise DraftInvalid(
            phrase(
                "on the legal basis '{legal_basis}' the policy permits {modalities}, and the "
                "subjects' files hold {held}",
                legal_basis=legal_basis,
                modalities=", ".join(sorted(rule.modalities)) or phrase("no modality"),
                held=", ".join(sorted(held)),
            )
        )
    for subject in subjects:
        if not subject.of(sorted(chosen)):
            raise DraftInvalid(
                phrase(
                    "the file of '{pseudonym}' holds no template for {chosen}; enrol the subject "
                    "anew, or ask for another modality",
                    pseudonym=subject.file.pseudonym,
                    chosen=", ".join(sorted(chosen)),
                )
            )
    unheld = sorted(chosen - held)
    if unheld:
        raise DraftInvalid(
            phrase(
                "the subjects' files hold no template for {unheld}, so nothing could be compared "
                "there; they hold {held}",
                unheld=", ".join(unheld),
                held=", ".join(sorted(held)),
            )
        )
    return tuple(sorted(chosen))


def models_of(subjects: Sequence[OpenedSubject], modalities: Sequence[str]) -> list[str]:
    """Return the ids of the models whose templates are compared, sorted."""
    return sorted({t.model for subject in subjects for t in subject.of(modalities)})


def check_one_person_each(
    subjects: Sequence[OpenedSubject], modalities: Sequence[str], config: OfficerConfig
) -> None:
    """Check that the templates of each subject resemble one another: else a query asks for more.

    Raises:
        DraftInvalid: two templates of a subject do not seem to be of one person.
        BundleError: the officer's bundle is needed and cannot be used.
    """
    if all(len(subject.of(modalities)) < 2 for subject in subjects):
        return
    calibrations: Mapping[str, Calibration] = {}
    if config.bundle is not None:
        bundle = load_bundle(config.bundle, config.bundle_signers, roles=())
        calibrations = calibrations_of(bundle.manifest)
    for subject in subjects:
        try:
            check_resemblance(
                subject.file.pseudonym,
                subject.of(modalities),
                partial(least_resemblance, calibrations),
            )
        except TemplatesDisagree as error:
            raise DraftInvalid(
                phrase(
                    "nothing was signed: {error}",
                    error=error,
                )
            ) from error


def templates_for(query: Query, subjects: Sequence[OpenedSubject]) -> dict[str, list[Template]]:
    """Return the templates that a query was signed for, in its order, from subject files.

    Raises:
        DraftInvalid: a subject's file is missing, or is not the one that the query was signed for.
    """
    by_name = {subject.file.pseudonym: subject for subject in subjects}
    extra = sorted(set(by_name) - {subject.pseudonym for subject in query.subjects})
    if extra:
        raise DraftInvalid(
            phrase(
                "the query does not name '{extra}'; leave that file out",
                extra=extra[0],
            )
        )
    templates: dict[str, list[Template]] = {}
    for wanted in query.subjects:
        if not wanted.templates:  # by examples alone
            templates[wanted.pseudonym] = []
            continue
        subject = by_name.get(wanted.pseudonym)
        if subject is None:
            raise DraftInvalid(
                phrase(
                    "the file of '{pseudonym}' is missing; give it with {subject_field}",
                    pseudonym=wanted.pseudonym,
                    subject_field=SUBJECT,
                )
            )
        by_digest = {template.digest: template for template in subject.templates}
        try:
            templates[wanted.pseudonym] = [by_digest[r.digest] for r in wanted.templates]
        except KeyError:
            raise DraftInvalid(
                phrase(
                    "the file of '{pseudonym}' is not the one that the query was signed for (was "
                    "the subject enrolled again?); give that one, or file a new query",
                    pseudonym=wanted.pseudonym,
                )
            ) from None
    return templates
