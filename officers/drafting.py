"""Turn what an investigator typed into a subject query: cameras, thresholds, opened subjects."""

from __future__ import annotations

import difflib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from protocol import hpke
from protocol.directory import BOX, Directory
from protocol.errors import ModelMismatch, ProtocolError, TemplatesDisagree
from protocol.policy import Policy
from protocol.query import ID_BYTES, Query, Subject, TemplateReference
from protocol.templates import SubjectFile, Template, check_resemblance
from runtime.bundle import load_bundle
from runtime.calibration import Calibration, calibrations_of, least_resemblance
from runtime.errors import OperationError
from runtime.fsio import read_file
from runtime.officer import OfficerConfig

DAY_MS = 86_400_000
DEFAULT_VALID_DAYS = 7
DEFAULT_CANDIDATES = 100
_MAX_SUBJECT_FILE = 1 << 20
_MAX_PURPOSE = 2000


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
        FileProblem: one cannot be read.
        DraftInvalid: one is not a subject file, is sealed to somebody else, or comes twice.
    """
    subjects: list[OpenedSubject] = []
    try:
        for path in paths:
            subjects.append(_open_subject(path, sealing))
        names = [subject.file.pseudonym for subject in subjects]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DraftInvalid(f"subject '{twice[0]}' is given twice; name each file once")
        yield subjects
    finally:
        for subject in subjects:
            for template in subject.templates:
                template.row.fill(0)


def _open_subject(path: Path, sealing: hpke.PrivateKey) -> OpenedSubject:
    data = read_file(path, _MAX_SUBJECT_FILE)
    try:
        file = SubjectFile.parse(data)
    except ProtocolError as error:
        raise DraftInvalid(
            f"{path} is not a subject file ({error}); make one with `sealtrace subject enrol`"
        ) from error
    try:
        return OpenedSubject(file, file.open(sealing))
    except ModelMismatch as error:
        raise DraftInvalid(f"{path}: {error}; enrol the subject anew") from error
    except ProtocolError as error:
        raise DraftInvalid(
            f"{path} does not open with your sealing key: it was enrolled by another "
            f"investigator, or has been altered ({error})"
        ) from error


def cameras_of(directory: Directory, named: Sequence[str], *, every: bool) -> tuple[str, ...]:
    """Return the cameras that are meant, sorted.

    Raises:
        DraftInvalid: none is named, one is unknown, or both ways of naming are used.
    """
    known, in_force = _cameras(directory)
    if every and named:
        raise DraftInvalid("give either --camera or --all-cameras, not both")
    if every:
        if not in_force:
            raise DraftInvalid("the site has no cameras yet; add a box with `sealtrace box add`")
        return in_force
    if not named:
        raise DraftInvalid(
            f"name the cameras with --camera, or all with --all-cameras ({_few(known)})"
        )
    for camera in named:
        if camera not in known:
            near = difflib.get_close_matches(camera, known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known are {_few(known)}"
            raise DraftInvalid(f"the site has no camera '{camera}'; {hint}")
    return tuple(sorted(set(named)))


def cameras_left_out(directory: Directory) -> tuple[str, ...]:
    """Return the cameras that "all cameras" leaves out: no box in force watches them any more."""
    known, in_force = _cameras(directory)
    return tuple(camera for camera in known if camera not in in_force)


def _cameras(directory: Directory) -> tuple[tuple[str, ...], tuple[str, ...]]:
    boxes = [p for p in directory.principals.values() if BOX in p.duties]
    known = {camera for box in boxes for camera in box.cameras}
    in_force = {c for box in boxes if box.revoked_at_ms is None for c in box.cameras}
    return tuple(sorted(known)), tuple(sorted(in_force))


def modalities_of(
    subjects: Sequence[OpenedSubject], asked: Sequence[str], *, legal_basis: str, policy: Policy
) -> tuple[str, ...]:
    """Return the modalities to compare: those asked for, else all that are held and permitted.

    Raises:
        DraftInvalid: the policy permits none of them, or a subject has no template of any.
    """
    rule = policy.bases.get(legal_basis)
    if rule is None:
        raise DraftInvalid(
            f"the site's policy knows no legal basis '{legal_basis}'; "
            f"it knows {', '.join(sorted(policy.bases))}"
        )
    held = {template.modality for subject in subjects for template in subject.templates}
    chosen = set(asked) or held & rule.modalities
    if not chosen:
        raise DraftInvalid(
            f"on the legal basis '{legal_basis}' the policy permits "
            f"{', '.join(sorted(rule.modalities)) or 'no modality'}, and the subjects' files hold "
            f"{', '.join(sorted(held))}"
        )
    for subject in subjects:
        if not subject.of(sorted(chosen)):
            raise DraftInvalid(
                f"the file of '{subject.file.pseudonym}' holds no template for "
                f"{', '.join(sorted(chosen))}; enrol the subject anew, or ask for another modality"
            )
    unheld = sorted(chosen - held)
    if unheld:
        raise DraftInvalid(
            f"the subjects' files hold no template for {', '.join(unheld)}, so nothing could be "
            f"compared there; they hold {', '.join(sorted(held))}"
        )
    return tuple(sorted(chosen))


def models_of(subjects: Sequence[OpenedSubject], modalities: Sequence[str]) -> list[str]:
    """Return the ids of the models whose templates are compared, sorted."""
    return sorted({t.model for subject in subjects for t in subject.of(modalities)})


def thresholds_for(
    models: Sequence[str],
    asked: float | None,
    *,
    defaults: Mapping[str, float],
    floors: Mapping[str, float],
    config: OfficerConfig,
) -> dict[str, float]:
    """Return each model's threshold: as asked, else the aggregator's, else the bundle's default.

    A default is raised to the policy's floor; what was asked for is not, so that it is refused.

    Raises:
        DraftInvalid: there is no default for a model.
        BundleError: the officer's bundle is needed and cannot be used.
    """
    if asked is not None:
        return dict.fromkeys(models, asked)
    known = dict(defaults)
    if not set(models) <= set(known) and config.bundle is not None:
        bundle = load_bundle(config.bundle, config.bundle_signers, roles=())
        for entry in bundle.manifest.models:
            if entry.threshold is not None:
                known.setdefault(entry.model_id, entry.threshold)
    missing = [model for model in models if model not in known]
    if missing:
        raise DraftInvalid(
            f"no default threshold is known for model {missing[0]}: the subject was enrolled with "
            "another model than the site runs. Enrol anew with the site's bundle, or give "
            "--threshold"
        )
    return {model: max(known[model], floors.get(model, -1.0)) for model in models}


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
            raise DraftInvalid(f"nothing was signed: {error}") from error


@dataclass(frozen=True, slots=True)
class Request:
    """What the investigator asks for, as typed and rounded."""

    cameras: tuple[str, ...]
    window_from_ms: int
    window_to_ms: int
    purpose: str
    legal_basis: str
    modalities: tuple[str, ...]
    thresholds: Mapping[str, float]
    live: bool
    contacts: bool
    max_candidates: int | None
    valid_days: int | None


def draft(
    request: Request,
    subjects: Sequence[OpenedSubject],
    *,
    policy: Policy,
    expected_false: float,
    now_ms: int,
) -> Query:
    """Return the query that would be signed.

    Raises:
        DraftInvalid: it would expire before its window ends, or its purpose says nothing.
    """
    purpose = " ".join(request.purpose.split())
    if not 0 < len(purpose) <= _MAX_PURPOSE or not purpose.isprintable():
        raise DraftInvalid(f"--purpose must be a text of 1 to {_MAX_PURPOSE} characters")
    days = request.valid_days or min(DEFAULT_VALID_DAYS, policy.max_query_days)
    not_after_ms = now_ms + days * DAY_MS
    if not_after_ms <= request.window_to_ms:
        raise DraftInvalid(
            f"the query would expire after {days} days, before its window ends; "
            f"give a longer --valid-days (the policy permits {policy.max_query_days})"
        )
    return Query(
        query_id=secrets.token_bytes(ID_BYTES),
        site=policy.site,
        subjects=tuple(_subject(subject, request.modalities) for subject in subjects),
        purpose=purpose,
        legal_basis=request.legal_basis,
        cameras=request.cameras,
        window_from_ms=request.window_from_ms,
        window_to_ms=request.window_to_ms,
        modalities=request.modalities,
        live=request.live,
        thresholds=dict(request.thresholds),
        contacts=request.contacts,
        max_candidates=request.max_candidates or min(DEFAULT_CANDIDATES, policy.max_candidates),
        expected_false=expected_false,
        requested_at_ms=now_ms,
        not_after_ms=not_after_ms,
        policy_digest=policy.digest,
    )


def templates_for(query: Query, subjects: Sequence[OpenedSubject]) -> dict[str, list[Template]]:
    """Return the templates that a query was signed for, in its order, from subject files.

    Raises:
        DraftInvalid: a subject's file is missing, or is not the one that the query was signed for.
    """
    by_name = {subject.file.pseudonym: subject for subject in subjects}
    extra = sorted(set(by_name) - {subject.pseudonym for subject in query.subjects})
    if extra:
        raise DraftInvalid(f"the query does not name '{extra[0]}'; leave that file out")
    templates = {}
    for wanted in query.subjects:
        subject = by_name.get(wanted.pseudonym)
        if subject is None:
            raise DraftInvalid(
                f"the file of '{wanted.pseudonym}' is missing; give it with --subject"
            )
        by_digest = {template.digest: template for template in subject.templates}
        try:
            templates[wanted.pseudonym] = [by_digest[r.digest] for r in wanted.templates]
        except KeyError:
            raise DraftInvalid(
                f"the file of '{wanted.pseudonym}' is not the one that the query was signed for "
                "(was the subject enrolled again?); give that one, or file a new query"
            ) from None
    return templates


def _subject(subject: OpenedSubject, modalities: Sequence[str]) -> Subject:
    references = [TemplateReference(t.modality, t.model, t.digest) for t in subject.of(modalities)]
    return Subject(subject.file.pseudonym, subject.file.consent_reference, tuple(references))


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
