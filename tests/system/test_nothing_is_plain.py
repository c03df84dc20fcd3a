"""With every disk and the whole wire in hand, no template and no sighting is found."""

from __future__ import annotations

import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
from film_set import FilmSet
from plain_bytes import plain_bytes, spelled
from query_desk import Case, QueryDesk
from waiting import wait_for

from demo.wiretap import Message, find_in_files, find_in_messages
from protocol.names import ENVELOPE
from protocol.templates import SubjectFile


@dataclass(frozen=True)
class Searched:
    """A film set, and what only its plain sightings and the subject's template hold."""

    films: FilmSet
    needles: list[bytes]


BROKERS = ["film_set", pytest.param("mosquitto_film_set", marks=pytest.mark.mosquitto)]


@pytest.fixture(scope="module", params=BROKERS)
def searched(request: pytest.FixtureRequest) -> Searched:
    """Learn the plain bytes with properly granted keys, as the dishonest aggregator would."""
    films: FilmSet = request.getfixturevalue(request.param)
    if request.param == "film_set":
        request.getfixturevalue("fetched_logs")  # before an intruder stirs up the logs
    subject = SubjectFile.parse(films.enrol().read_bytes())
    templates = subject.open(films.site.sealing("ana"))
    desk = QueryDesk(films.site)
    cameras = [clip.camera for clip in films.truth]
    case: Case = desk.draft(templates, cameras, *films.window, threshold=0.8)
    found = [template.row.tobytes()[:24] for template in templates]
    found += plain_bytes(films, case.signed, [desk.approval(case, name) for name in ("bo", "cy")])
    sightings = sum(len(clip.sightings) for clip in films.truth)
    assert len(found) >= 1 + 2 * (sightings - 1)  # a template and an id; one is far away
    assert len(set(found)) == len(found)
    return Searched(films, found)


def test_no_file_of_the_site_holds_anything_plain(searched: Searched) -> None:
    site = searched.films.site
    if site.plan.broker.kind == "mosquitto":
        site.signal("broker", signal.SIGUSR1)  # it writes down what it holds
        kept = site.folder("broker") / "data" / "mosquitto.db"
        wait_for(kept.exists, "Mosquitto's own database")
    files = list(site.local.files())
    names = {path.name for path in files}
    assert {"aggregator.db", "aggregator.db-wal", "outbox.sqlite", "box-1.log"} <= names
    assert find_in_files(spelled(searched.needles), files) == []


@pytest.mark.parametrize("searched", ["film_set"], indirect=True)
def test_nothing_plain_crossed_the_broker(searched: Searched) -> None:
    assert searched.films.tap is not None  # Mosquitto lets the aggregator alone hear everything
    heard = searched.films.tap.messages()
    cameras = {m.topic.split("/")[4] for m in heard if m.topic.endswith(ENVELOPE)}
    assert cameras >= {"cam-1", "cam-2", "cam-3"}
    assert find_in_messages(spelled(searched.needles), heard) == []


def test_the_search_would_find_it(searched: Searched, tmp_path: Path) -> None:
    database = searched.films.site.folder("aggregator") / "state" / "aggregator.db"
    needles = searched.needles
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
