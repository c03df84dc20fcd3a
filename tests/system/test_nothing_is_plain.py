"""With every disk and the whole wire in hand, no template and no sighting is found."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

import pytest
from film_set import FilmSet
from puppet_box import announced
from query_desk import Case, QueryDesk

from protocol.names import ENVELOPE, epoch_of
from protocol.query import SubjectFile
from protocol.sealing import SEGMENT, Envelope
from provisioning.demo.intruder import Intruder, plain_needles
from provisioning.demo.wiretap import Message, find_in_files, find_in_messages

pytestmark = pytest.mark.usefixtures("fetched_logs")  # before an intruder stirs up the logs


def envelopes_heard(films: FilmSet) -> list[Envelope]:
    assert films.tap is not None
    return [Envelope.parse(message.payload) for message in films.tap.messages(ENVELOPE)]


@pytest.fixture(scope="module")
def needles(film_set: FilmSet) -> list[bytes]:
    """What only the plain sightings and the subject's template hold, from properly granted keys."""
    subject = SubjectFile.parse(film_set.enrol().read_bytes())
    templates = subject.open(film_set.site.sealing("ana"))
    desk, intruder = QueryDesk(film_set.site), Intruder(film_set.site.local)
    cameras = [clip.camera for clip in film_set.truth]
    case: Case = desk.draft(templates, cameras, *film_set.window)
    approvals = [desk.approval(case, name) for name in ("bo", "cy")]
    announcements = [
        data
        for data in film_set.site.announcements(*cameras)
        if announced(data).epoch == epoch_of(film_set.slot_ms)
    ]
    answers = intruder.ask(case.signed, approvals, announcements)
    found = [template.row.tobytes()[:24] for template in templates]
    segments = [e for e in envelopes_heard(film_set) if e.header.kind == SEGMENT]
    for data in announcements:
        stated = announced(data)
        keys = intruder.keys(answers, data)
        for envelope in segments:
            header = envelope.header
            if (header.address, header.generation) == (stated.address, stated.generation):
                found += plain_needles(envelope, keys)
    sightings = sum(len(clip.sightings) for clip in film_set.truth)
    assert len(found) >= 1 + 2 * (sightings - 1)  # a template and an id each; one is far away
    assert len(set(found)) == len(found)
    return found


def spelled(needles: list[bytes]) -> list[bytes]:
    """The needles as bytes, and as logs or JSON would write them."""
    return [
        form
        for needle in needles
        for form in (needle, needle.hex().encode(), base64.b64encode(needle).rstrip(b"="))
    ]


def test_no_file_of_the_site_holds_anything_plain(film_set: FilmSet, needles: list[bytes]) -> None:
    files = list(film_set.site.local.files())
    names = {path.name for path in files}
    assert {"aggregator.db", "aggregator.db-wal", "outbox.sqlite", "box-1.log"} <= names
    assert find_in_files(spelled(needles), files) == []


def test_nothing_plain_crossed_the_broker(film_set: FilmSet, needles: list[bytes]) -> None:
    assert film_set.tap is not None
    heard = film_set.tap.messages()
    cameras = {m.topic.split("/")[4] for m in heard if m.topic.endswith(ENVELOPE)}
    assert cameras == {"cam-1", "cam-2", "cam-3"}
    assert find_in_messages(spelled(needles), heard) == []


def test_the_search_would_find_it(film_set: FilmSet, needles: list[bytes], tmp_path: Path) -> None:
    database = film_set.site.folder("aggregator") / "state" / "aggregator.db"
    planted = tmp_path / "aggregator.db"
    shutil.copy(database, planted)
    with planted.open("ab") as file:
        file.write(b"\x00" * 5 + needles[-1] + b"\x00" * 5)
    logged = tmp_path / "box-1.log"
    logged.write_text('{"event": "seen", "id": "' + needles[-1].hex() + '"}\n')
    words = spelled(needles)
    places = {path for path, _ in find_in_files(words, [planted, logged, database])}
    assert places == {planted, logged}
    message = Message("st/v1/demo/box-1/cam-1/envelope", b"...." + needles[0] + b"....")
    assert find_in_messages(words, [message]) == [message.topic]
