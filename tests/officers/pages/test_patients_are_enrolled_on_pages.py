"""A patient is enrolled from dropped photographs, which are nowhere but in memory."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import protocol_samples as s
import pytest
from desk_pages import PageDesk, hidden, words_of
from hostile_text import HOSTILE, MARK, tampered
from httpx import Response
from officer_site import PASSPHRASE, OfficerSite

from officers.desk.patients import forget_patient, patients
from officers.pages.patients.memory import Memory

pytestmark = [pytest.mark.models, pytest.mark.processes]
KEY = s.sealing_key("ana")
SCAN = b"%PDF-1.7 the patient agrees"
POLICY = b"policy_schema = 2\nconfirmations = 1\n" + s.POLICY_TEXT


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, model_bundle_path: Path, model_bundle_key: bytes
) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("enrolling"), policy=POLICY)
    config = made.officer("ana")
    bundle = f'bundle = "{model_bundle_path}"\nbundle_keys = ["{model_bundle_key.hex()}"]\n'
    config.write_text(bundle + config.read_text())
    yield made
    made.close()


@pytest.fixture(scope="module")
def running(site: OfficerSite) -> Iterator[PageDesk]:
    with closing(PageDesk(site, "ana")) as made:
        yield made


@pytest.fixture
def ana(running: PageDesk) -> PageDesk:
    if running.house.locked:
        running.house.unlock(PASSPHRASE.encode())
    for one in patients(running.house.officer, KEY):
        forget_patient(one)
    return running


def begun(ana: PageDesk) -> str:
    return str(ana.get("/patients/new").headers["location"])


def dropped(ana: PageDesk, path: str, *files: tuple[str, bytes], part: str = "") -> Response:
    sent = [("photos", (name, data, "image/jpeg")) for name, data in files]
    return ana.post(f"{path}/photos", {"part": part}, files=sent)


def enrolled(ana: PageDesk, path: str, **changes: str) -> Response:
    form = {"pseudonym": "patient-17", "consent": "C-2031/17"} | changes
    scan = {"document": ("scan.pdf", SCAN, "application/pdf")}
    return ana.post(path, form, files=scan)


def where(response: Response) -> str:
    return str(response.headers["location"])


def large_photo(photos_path: Path) -> bytes:
    """A photograph of more than a mebibyte, as telephones take them."""
    image = np.asarray(cv2.imread(str(photos_path / "obama.jpg")), np.uint8)
    data = cv2.imencode(".png", cv2.resize(image, None, fx=2, fy=2))[1].tobytes()
    assert len(data) > 2 << 20
    return data


def test_a_patient_is_enrolled_and_no_photo_is_on_the_disk(
    ana: PageDesk,
    site: OfficerSite,
    photos_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))  # a temporary file fails
    good, large = (photos_path / "obama.jpg").read_bytes(), large_photo(photos_path)
    path = begun(ana)
    assert "good enough" in dropped(ana, path, ("front.jpg", good), part="yes").text
    dropped(ana, path, ("large.png", large))
    shown = ana.get(path)
    (first, second) = re.findall(r'src="(/patients/new/[^"]*)"', shown.text)
    small = ana.get(first)
    assert small.headers["cache-control"] == "no-store"
    assert small.content[:3] == b"\xff\xd8\xff"
    assert good[1000:1064] not in small.content
    receipt = enrolled(ana, path)
    assert receipt.status_code == 303, words_of(receipt)
    (kept,) = patients(ana.house.officer, KEY)
    assert (kept.pseudonym, kept.photos) == ("patient-17", 2)
    assert "patient-17" not in where(receipt)
    page = ana.get(where(receipt))
    assert "patient-17" not in page.text.partition("</title>")[0]
    assert "2 photos" in words_of(page)
    assert ana.get(f"{where(receipt)}/document").content == SCAN

    (template,) = kept.file.open(KEY)
    needles = [good[1000:1064], large[5000:5064], SCAN, template.row.tobytes()]
    looked_at = [path for path in site.folder.rglob("*") if path.is_file()]
    assert len(looked_at) > 20
    for file in looked_at:
        assert not any(needle in file.read_bytes() for needle in needles), file
    assert ana.get(second).status_code == 409


def test_what_is_wrong_is_said_at_its_field_and_the_photos_stay(
    ana: PageDesk, photos_path: Path
) -> None:
    path = begun(ana)
    nothing = ana.post(path, {"pseudonym": "Kim Min-su", "consent": " "})
    assert nothing.status_code == 422
    for field, said in (
        ("pseudonym", "never the name"),
        ("consent", "Give the reference"),
        ("document", "asks for a witness"),
        ("photos", "Add a photo"),
    ):
        assert f'href="#f-{field}"' in nothing.text
        assert said in words_of(nothing)
    assert 'value="Kim Min-su"' in nothing.text
    dropped(ana, path, ("obama.jpg", (photos_path / "obama.jpg").read_bytes()))
    dropped(ana, path, ("notes.jpg", b"%PDF-1.4 this is no photo"))
    unusable = enrolled(ana, path)
    assert "Remove the photos that cannot be used" in words_of(unusable)
    assert "scan.pdf" in words_of(unusable)
    photo = re.findall(r'name="photo" value="([0-9a-f]+)"', unusable.text)[1]
    ana.post(f"{path}/drop", {"photo": photo})
    done = ana.post(path, {"pseudonym": "patient-17", "consent": "C-1"})
    assert done.status_code == 303, words_of(done)


def test_photos_of_two_people_are_refused(ana: PageDesk, photos_path: Path) -> None:
    path = begun(ana)
    for name in ("obama.jpg", "biden.jpg"):
        dropped(ana, path, (name, (photos_path / name).read_bytes()))
    refused = enrolled(ana, path)
    assert refused.status_code == 422
    assert "do not seem to show one person" in words_of(refused)
    assert patients(ana.house.officer, KEY) == ()


def test_the_photo_beside_stills_is_gone_when_the_desk_locks(
    ana: PageDesk, photos_path: Path
) -> None:
    path = begun(ana)
    dropped(ana, path, ("obama.jpg", (photos_path / "obama.jpg").read_bytes()))
    one = where(enrolled(ana, path))
    assert ana.get(f"{one}/photo").content[:3] == b"\xff\xd8\xff"
    held = ana.house.kept("patients", Memory)
    ana.house.lock()
    assert held.shown(one.rpartition("/")[2]) == b""
    ana.house.unlock(PASSPHRASE.encode())
    assert ana.get(f"{one}/photo").status_code == 404
    again = {"photo": ("o.jpg", (photos_path / "obama.jpg").read_bytes(), "image/jpeg")}
    assert ana.post(f"{one}/photo", files=again).status_code == 303
    assert ana.get(f"{one}/photo").status_code == 200
    wrong = ana.post(f"{one}/photo", files={"photo": ("o.jpg", b"GIF89a?", "image/jpeg")})
    assert wrong.status_code == 422


def test_what_was_dropped_is_gone_when_the_desk_locks(ana: PageDesk, photos_path: Path) -> None:
    path = begun(ana)
    dropped(ana, path, ("obama.jpg", (photos_path / "obama.jpg").read_bytes()))
    basket = ana.house.kept("patients", Memory).find(path.rpartition("/")[2])
    (photo,) = basket.photos
    ana.house.lock()
    assert not any(photo.data)
    ana.house.unlock(PASSPHRASE.encode())
    gone = ana.get(path)
    assert gone.status_code == 410
    assert "not in memory any more" in words_of(gone)


def test_a_second_officer_witnesses_at_a_desk_of_their_own(
    ana: PageDesk, site: OfficerSite, photos_path: Path
) -> None:
    path = begun(ana)
    dropped(ana, path, ("obama.jpg", (photos_path / "obama.jpg").read_bytes()))
    one = where(enrolled(ana, path))
    sheet = ana.get(f"{one}/sheet")
    assert "attachment" in sheet.headers["content-disposition"]
    scan = {"document": ("copy.pdf", SCAN, "application/pdf")}
    own = ana.post("/patients/witness", files={"sheet": ("s", sheet.content), **scan})
    assert "nobody witnesses what they did themselves" in words_of(own)
    with closing(PageDesk(site, "bo")) as bo:
        other = {"document": ("copy.pdf", b"another", "application/pdf")}
        wrong = bo.post("/patients/witness", files={"sheet": ("s", sheet.content), **other})
        assert "is not the document" in words_of(wrong)
        none = bo.post("/patients/witness", files={"sheet": ("s", b"\x00")})
        assert "no witness's sheet" in words_of(none)
        read = bo.post("/patients/witness", files={"sheet": ("s", sheet.content), **scan})
        number = where(read)
        assert "compared here" in words_of(bo.get(number))
        receipt = bo.sign(bo.post(number))
        assert "Hand the signed sheet back" in words_of(receipt)
        signed = bo.get(f"{number}/sheet").content
    back = ana.post(f"{one}/sheet", files={"sheet": ("s", signed)})
    assert back.status_code == 303, words_of(back)
    assert "witnessed by bo" in words_of(ana.get(one))
    refused = ana.post(f"{one}/sheet", files={"sheet": ("s", sheet.content)})
    assert "counts for nothing" in words_of(refused)


def test_a_patient_is_deleted_on_a_page_that_says_what_that_means(
    ana: PageDesk, photos_path: Path
) -> None:
    path = begun(ana)
    dropped(ana, path, ("obama.jpg", (photos_path / "obama.jpg").read_bytes()))
    one = where(enrolled(ana, path))
    asked = ana.get(f"{one}/delete")
    assert "what they opened stays known" in words_of(asked)
    ana.post(f"{one}/delete", hidden(asked))
    assert patients(ana.house.officer, KEY) == ()
    assert ana.get(one).status_code == 409
    assert urlsplit(one).path.startswith("/patients/")


def test_a_photo_of_fifty_megapixels_is_looked_at_and_a_larger_one_refused(
    ana: PageDesk, photos_path: Path
) -> None:
    image = np.asarray(cv2.imread(str(photos_path / "obama.jpg")), np.uint8)
    fifty, seventy = (
        cv2.imencode(".jpg", cv2.resize(image, (wide, 7100)))[1].tobytes() for wide in (7050, 9900)
    )
    path = begun(ana)
    assert "good enough" in dropped(ana, path, ("camera.jpg", fifty), part="yes").text
    assert (
        "more than 64 million pixels" in dropped(ana, path, ("scan.jpg", seventy), part="yes").text
    )


def test_names_of_files_are_shown_as_text(ana: PageDesk) -> None:
    path = begun(ana)
    name = f"{HOSTILE[0]}{HOSTILE[-1]}\x1b[31m.jpg"
    named = dropped(ana, path, (name, b"no photo"), part="yes")
    assert tampered(named.text) == []
    assert MARK in named.text
    assert "\x1b" not in named.text
    assert "cannot be used" in named.text
    assert tampered(ana.get(path).text) == []
