"""Several people under one pseudonym are no subject: not for the program, not for the matcher."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import protocol_samples as s
import pytest
from laid_down import new_store

from aggregator.queries import QueryConflict, QueryDesk
from aggregator.store.rows import QueryRecord
from edge_agent.enrol import only_face, read_photo, template_from_photos
from edge_agent.vision.models import load_models
from officers.desk.subjects import DraftInvalid, OpenedSubject, check_one_person_each
from protocol.about_queries import MATCHER_KEY_KIND, MatcherKey
from protocol.auditlog import Entry, origin_of
from protocol.errors import TemplatesDisagree
from protocol.query import Subject, TemplateReference
from protocol.sightings import quantise_template
from protocol.signing import Signed
from protocol.templates import SubjectFile, Template, check_resemblance, seal_templates
from runtime.auditlog import AuditLog
from runtime.bundle import load_bundle
from runtime.calibration import Calibration, Normal, calibrations_of, least_resemblance
from runtime.clock import system_ms
from runtime.masks_drawn import draw_mask
from runtime.officer import OfficerConfig
from runtime.trust import Trust

DIMENSION = 192
MODEL = f"people-{DIMENSION}@00000000"
LEAST = 0.4
CALIBRATION = Calibration(
    Normal(0.05, 0.16), Normal(0.82, 0.12), Normal(0.5, 0.13),
    ((0.3, 0.059), (0.35, 0.03), (LEAST, 0.015), (0.5, 0.0021)),
)  # fmt: skip


def person(number: int) -> np.ndarray:
    """Return a unit vector; two people's have little in common."""
    vector = np.random.default_rng(number).standard_normal(DIMENSION)
    return np.asarray(vector / np.linalg.norm(vector))


def photo(number: int, shot: int, likeness: float = 0.8) -> np.ndarray:
    """Return another picture of a person, whose cosine with ``person(number)`` is ``likeness``."""
    own, other = person(number), person(1000 * number + shot)
    other -= (other @ own) * own
    other /= np.linalg.norm(other)
    return np.asarray(likeness * own + np.sqrt(1 - likeness**2) * other)


def templates(vectors: Sequence[np.ndarray], model: str = MODEL) -> list[Template]:
    made = []
    for place, vector in enumerate(vectors):
        row, scale = quantise_template(vector)
        made.append(Template("face", model, s.fixed(f"salt {place}", 32), row, scale))
    return made


def check(vectors: Sequence[np.ndarray]) -> None:
    check_resemblance("P-17", templates(vectors), lambda _model: LEAST)


CROWDS: dict[str, list[np.ndarray]] = {
    "eight people": [person(n) for n in range(8)],
    "one person and a stranger": [*(photo(1, shot) for shot in range(7)), person(2)],
    "two people, four pictures of each": [photo(n, shot) for n in (1, 2) for shot in range(4)],
    "an average of four people, and they": [
        sum((person(n) for n in range(4)), np.zeros(DIMENSION)) / 2,
        *(person(n) for n in range(4)),
    ],
    "an average of two people, and one of them twice": [
        (person(1) + person(2)) / np.sqrt(2),
        person(1),
        person(2),
    ],
}


@pytest.mark.parametrize("crowd", CROWDS)
def test_several_people_do_not_pass_as_one(crowd: str) -> None:
    with pytest.raises(TemplatesDisagree, match=r"templates \d and \d of 'P-17'"):
        check([vector / np.linalg.norm(vector) for vector in CROWDS[crowd]])


def test_pictures_of_one_person_pass() -> None:
    check([photo(1, shot) for shot in range(8)])
    check([person(1)])


def test_the_two_that_do_not_fit_are_named_by_their_place() -> None:
    with pytest.raises(TemplatesDisagree, match=r"templates \d and 3 .*pseudonym of their own"):
        check([person(1), photo(1, 1, 0.5), person(2)])


def test_only_what_can_be_compared_is_compared() -> None:
    mixed = [*templates([person(1)]), *templates([person(2)], "second-192@00000001")]
    check_resemblance("P-17", mixed, lambda _model: LEAST)


def test_the_bound_is_what_few_strangers_reach_and_high_where_nothing_was_measured() -> None:
    assert least_resemblance({MODEL: CALIBRATION}, MODEL) == LEAST
    assert least_resemblance({}, MODEL) == 0.7


# ------------------------------------------------------------------------------ the matcher's side


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[QueryDesk]:
    installed = tmp_path / "directory.cbor"
    installed.write_bytes(s.directory().sign(s.authority()).to_bytes())
    authority = s.authority().verify_key
    trust = Trust(site=s.SITE, authority=authority, installed=installed, state_dir=None)
    store, key = new_store(tmp_path / "a.db"), s.signing_key("aggregator")
    auditors = {"eve": s.sealing_key("eve").public}
    log = AuditLog(tmp_path / "audit.db", origin_of(s.SITE, "aggregator"), key, auditors)
    calibrations = {s.MODEL: CALIBRATION}
    made = QueryDesk(store, trust, s.POLICY, log, key, calibrations=calibrations)
    made.log = log  # type: ignore[attr-defined]  # for the tests to read
    yield made
    log.close()
    store.close()


def sent(desk: QueryDesk, listed: Sequence[Template]) -> QueryRecord:
    """File a query for these templates and hand them over, as an officer's program would."""
    now_ms = system_ms()
    references = tuple(TemplateReference(t.modality, t.model, t.digest) for t in listed)
    query = s.query(
        subjects=(Subject("P-17", "form 17", references),),
        requested_at_ms=now_ms,
        not_after_ms=now_ms + 3_600_000,
    )
    record = desk.file(query.sign(s.signing_key("ana")).to_bytes())
    signed = Signed.parse(desk.matcher_key(record.query_id), kind=MATCHER_KEY_KIND)
    key = MatcherKey.parse(signed.payload).key
    sealed = seal_templates({"P-17": listed}, key, query_digest=record.digest)
    return desk.put_templates(record.query_id, sealed)


def test_the_matcher_ends_a_query_for_several_people_and_says_why(desk: QueryDesk) -> None:
    strangers = [s.template("person 1"), s.template("person 0")]
    with pytest.raises(TemplatesDisagree):
        sent(desk, strangers)
    (record,) = desk.everything()
    assert record.state == "failed"
    assert "one person" in record.reason
    log: AuditLog = desk.log  # type: ignore[attr-defined]
    entry = Entry.parse(log.entries(0, log.size)[-1])
    assert entry.kind == "refusal"
    assert "templates-disagree" in entry.open("eve", s.sealing_key("eve"))["reason"]
    assert desk.matcher(record.digest) is None
    with pytest.raises(QueryConflict, match="one person"):
        desk.matcher_key(record.query_id)


def test_the_matcher_takes_several_templates_of_one_person(desk: QueryDesk) -> None:
    assert sent(desk, [s.template("person 1"), s.template("person 1")]).state != "failed"


# ------------------------------------------------------------------------------ the officer's side


def test_the_officers_program_signs_no_query_for_several_people() -> None:
    def opened(*names: str) -> OpenedSubject:
        listed = tuple(s.template(name) for name in names)
        key = s.sealing_key("ana").public
        file = SubjectFile.enrol("P-17", "form 17", listed, key, enrolled_at_ms=0)
        return OpenedSubject(file, listed)

    config = OfficerConfig.model_construct(bundle=None)
    check_one_person_each([opened("person 1", "person 1")], ["face"], config)
    with pytest.raises(DraftInvalid, match=r"nothing was signed.*templates 1 and 2 of"):
        check_one_person_each([opened("person 1", "person 0")], ["face"], config)


# --------------------------------------------------------------------- the embedder that is shipped


def test_the_shipped_bound_passes_masked_copies_of_a_face_and_no_other_face(
    model_bundle_path: Path, model_bundle_key: bytes, photos_path: Path
) -> None:
    bundle = load_bundle(model_bundle_path, [model_bundle_key])
    models = load_models(bundle)
    calibrations = calibrations_of(bundle.manifest)
    rng = np.random.default_rng(1)

    def masked(name: str) -> np.ndarray:
        crop = only_face(read_photo(photos_path / name), name, models).crop
        drawn = np.stack([draw_mask(crop.copy(), rng) for _ in range(8)])
        mean = models.embedder.embed(np.concatenate([drawn, drawn[:, :, ::-1]])).sum(axis=0)
        return np.asarray(mean / np.linalg.norm(mean))

    def least(model: str) -> float:
        return least_resemblance(calibrations, model)

    def all_of(*vectors: np.ndarray) -> list[Template]:
        return templates(vectors, models.model_id)

    photos = ["obama.jpg", "obama2.jpg", "obama3.jpg"]
    own = [template_from_photos([photos_path / name], models).vector for name in photos]
    fused = template_from_photos([photos_path / name for name in photos], models).vector
    covered = [masked(name) for name in photos]
    check_resemblance("P-17", all_of(fused, *own, *covered), least)
    for name in ("biden.jpg", "astronaut.png"):
        single = template_from_photos([photos_path / name], models).vector
        check_resemblance("P-18", all_of(single, masked(name)), least)
        for stranger in (single, masked(name)):
            with pytest.raises(TemplatesDisagree):
                check_resemblance("P-17", all_of(fused, stranger), least)
