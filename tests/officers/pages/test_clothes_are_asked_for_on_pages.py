"""Clothes are asked for at the desk: by a picture, in words, and by those of a sighting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import cv2
import protocol_samples as s
import pytest
from desk_pages import PageDesk, file_for, hidden, links_of, page_desk, query_of, words_of
from httpx import Response
from officer_site import OfficerSite
from traced_query import ONE_CONFIRMS, TracedQuery, TracedSite, on_their_way

from officers.desk.by_clothes import EXAMPLE, PICTURE, WORDS, clothes_offers
from officers.desk.drafts import drafts, new_draft, read_draft
from officers.desk.patients import forget_patient, patients
from protocol.policy import BY_WORDS, parse_policy
from runtime.bundle import load_bundle

KEY = s.sealing_key("ana")
ORDER = b"%PDF-1.7 order 12/31"
CLOTHES = f"clothes-{s.DIMENSION}@0123456789abcdef"


def with_floors(policy: bytes, model: str, *, words: bool = True) -> bytes:
    floors = f'[threshold_floor]\n"{model}" = 0.6\n'
    if words:
        floors += f'"{BY_WORDS}{model}" = 0.12\n'
    return policy.replace(b"[threshold_floor]", floors.encode())


def test_each_way_is_offered_as_the_policy_permits_it() -> None:
    policy = parse_policy(with_floors(ONE_CONFIRMS, CLOTHES))
    assert [one.why_not for one in clothes_offers(policy).values()] == [None, None, None]
    wordless = clothes_offers(parse_policy(with_floors(ONE_CONFIRMS, CLOTHES, words=False)))
    assert "no threshold for words" in str(wordless[WORDS].why_not)
    assert (wordless[PICTURE].why_not, wordless[EXAMPLE].why_not) == (None, None)
    faces = ONE_CONFIRMS.replace(b'["face", "appearance"]', b'["face"]').replace(
        b'["appearance"]', b"[]"
    )
    assert all(one.why_not for one in clothes_offers(parse_policy(faces)).values())
    old = clothes_offers(s.POLICY)
    assert old[PICTURE].why_not is None
    assert "first schema" in str(old[WORDS].why_not)


# --------------------------------------------------------------------------- by a sighting


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TracedSite]:
    made = TracedSite(
        tmp_path_factory.mktemp("officers"), policy=with_floors(ONE_CONFIRMS, CLOTHES)
    )
    yield made
    made.close()


@pytest.fixture(scope="module")
def found(site: TracedSite) -> TracedQuery:
    return on_their_way(site)


@pytest.fixture
def ana(site: TracedSite) -> Iterator[PageDesk]:
    with closing(PageDesk(site, "ana")) as made:
        yield made


@pytest.mark.slow
def test_the_clothes_of_a_candidate_are_looked_for_in_a_query_of_their_own(
    ana: PageDesk, found: TracedQuery
) -> None:
    page = ana.get(f"/queries/{found.id}/candidates/1")
    assert "compared with those of that sighting" in words_of(page)
    assert "identifies nobody" in words_of(page)
    begun = ana.post("/drafts", {"example": hidden(page)["example"]})
    path = begun.headers["location"].rpartition("/")[0]
    who = ana.get(f"{path}/who")
    assert "candidate 1 of query" in words_of(who)
    assert "compared with those of that sighting" in words_of(who)
    ana.post(f"{path}/who", {"examples": f"{found.id}:1"})
    reasons = {"purpose": "where they went", "purpose_kind": "exercise", "contacts": "none"}
    ana.post(f"{path}/why", {**reasons, "legal_basis": "statutory-order"})
    check = ana.get(f"{path}/check")
    said = words_of(check)
    assert "1 earlier sighting in place of photographs" in said
    assert "This cannot be filed so" not in said, said
    query = query_of(ana, ana.sign(ana.post(f"{path}/check", hidden(check))))
    (subject,) = query.subjects
    assert subject.examples == (found.rows[1],)
    assert (query.modalities, query.cameras) == (("appearance",), (found.rows[1].camera,))
    assert query.thresholds[CLOTHES] == 0.6, "not in the space of the face it was found by"


@pytest.mark.slow
def test_without_the_sighting_nobody_is_looked_for(ana: PageDesk, found: TracedQuery) -> None:
    begun = ana.post("/drafts", {"example": f"{found.id}:2"}).headers["location"]
    kept = ana.post(begun, {})
    assert kept.status_code == 422
    assert "Choose whom to look for" in words_of(kept)
    for nonsense in ("", "x", f"{found.id}:99", "<script>"):
        page = ana.post("/drafts", {"example": nonsense})
        assert page.status_code < 500
        assert "<script>" not in page.text.partition("<main")[2].partition("</main>")[0]


@pytest.mark.slow
def test_where_the_policy_has_no_clothes_no_candidate_offers_them(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    faces = ONE_CONFIRMS.replace(b'["face", "appearance"]', b'["face"]').replace(
        b'["appearance"]', b"[]"
    )
    faces = faces.replace(b"continuation = true\n", b"")
    made = TracedSite(tmp_path_factory.mktemp("faces"), policy=faces)
    try:
        with page_desk(made, "ana") as ana:
            clothes = words_of(ana.get("/patients/clothes"))
            assert clothes.count("has no clothes compared, on any legal ground") == 2
            assert "Enrol" not in clothes
            draft = new_draft(ana.house.officer, examples=("00ff:1",))
            said = words_of(ana.get(f"/drafts/{draft.id}/check"))
        assert "No sighting can be an example" in said
    finally:
        made.close()


@pytest.mark.slow
def test_words_and_photographs_are_not_mixed_in_one_draft(ana: PageDesk) -> None:
    draft = new_draft(ana.house.officer, examples=("00ff:1", "00ff:2"))
    assert read_draft(ana.house.officer, draft.id, KEY).examples == ("00ff:1", "00ff:2")
    assert any(one.about == "00ff:1, 00ff:2" for one in drafts(ana.house.officer, KEY))


# --------------------------------------------------------------------------- by picture and words


@pytest.fixture(scope="module")
def enrolling(
    tmp_path_factory: pytest.TempPathFactory, model_bundle_path: Path, model_bundle_key: bytes
) -> Iterator[OfficerSite]:
    bundle = load_bundle(model_bundle_path, [model_bundle_key], roles=())
    model = bundle.entry("appearance_embedder").model_id
    policy = with_floors(
        b'policy_schema = 2\nconfirmations = 1\npurposes = ["exercise"]\n'
        b"enrolment_without_witness = true\nconsent_documents = true\n" + s.POLICY_TEXT,
        model,
    )
    made = OfficerSite(tmp_path_factory.mktemp("enrolling"), policy=policy)
    config = made.officer("ana")
    named = f'bundle = "{model_bundle_path}"\nbundle_keys = ["{model_bundle_key.hex()}"]\n'
    config.write_text(named + config.read_text())
    yield made
    made.close()


def clothes(desk: PageDesk, picture: bytes = b"", **more: str) -> Response:
    files = {"document": ("order.pdf", ORDER, "application/pdf")}
    if picture:
        files["picture"] = ("them.png", picture, "image/png")
    entered = {"pseudonym": "W-3", "consent": "order 12/31", **more}
    return desk.post("/patients/clothes", entered, files=files)


@pytest.mark.models
@pytest.mark.processes
def test_clothes_in_words_and_on_a_picture_are_kept_and_drafted(
    enrolling: OfficerSite, photos_path: Path
) -> None:
    with closing(PageDesk(enrolling, "ana")) as ana:
        for one in patients(ana.house.officer, KEY):
            forget_patient(one)
        assert "/patients/clothes" in links_of(ana.get("/patients"))
        unknown = clothes(ana, way=WORDS, words="something nice")
        assert unknown.status_code == 422
        assert "These words are not understood" in words_of(unknown)
        assert "--words" not in words_of(unknown)
        for more, said in (
            ({"way": ""}, "Choose a picture or words"),
            ({"way": PICTURE}, "Choose a picture."),
            ({"way": WORDS, "words": ""}, "Describe the clothes in 1 to 200"),
            ({"way": WORDS, "words": "red jacket", "pseudonym": "no no"}, "A pseudonym is 1 to 64"),
        ):
            assert said in words_of(clothes(ana, b"", **more))
        assert "no picture that can be read" in words_of(clothes(ana, b"rubbish", way=PICTURE))
        kept = clothes(ana, way=WORDS, words="red jacket, dark trousers")
        assert kept.status_code == 303, words_of(kept)
        assert "clothes in words: red jacket, dark trousers" in words_of(
            ana.get(kept.headers["location"])
        )
        photo = cv2.imread(str(photos_path / "astronaut.png"))
        assert photo is not None
        body = cv2.imencode(".png", photo[0:500, 40:290])[1].tobytes()
        pictured = clothes(ana, body, way=PICTURE, pseudonym="W-4")
        assert pictured.status_code == 303, words_of(pictured)
        assert "a picture of their clothes" in words_of(ana.get("/patients"))
        both = {one.pseudonym: one for one in patients(ana.house.officer, KEY)}
        assert both["W-3"].file.words == "red jacket, dark trousers"
        assert both["W-4"].clothes_alone
        assert not both["W-4"].file.words
        filed = {}
        for name in ("W-3", "W-4"):
            query, said = file_for(ana, name, purpose_kind="exercise")
            assert "of everybody seen there" in said
            (filed[name],) = query.subjects
        mixed = new_draft(ana.house.officer, patients=("W-3", "W-4"), cameras=("cam-1",))
        said = words_of(ana.get(f"/drafts/{mixed.id}/check"))
        assert "is described in words, which nothing else can be compared beside" in said
    assert filed["W-3"].words == "red jacket, dark trousers"
    assert filed["W-3"].consent_document == filed["W-4"].consent_document != b""
