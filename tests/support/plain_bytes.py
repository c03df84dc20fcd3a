"""What only the plain content of a film set's segments holds, to be looked for elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from film_set import FilmSet
from puppet_box import announced

from aggregator.store import open_reader
from demo.intruder import Intruder, plain_needles
from protocol.names import epoch_of, slot_of
from protocol.sealing import SEGMENT
from protocol.signing import Signed
from protocol.v2.envelopes import Envelope


def plain_bytes(films: FilmSet, query: Signed, approvals: Sequence[Signed]) -> list[bytes]:
    """Open the films' segments with properly granted keys, as a dishonest aggregator would.

    Returns:
        Pieces of the templates of what the query asks to compare, ids of sightings and episodes.
    """
    intruder = Intruder(films.site.local)
    announcements = announcements_of(films)
    answers = intruder.ask(query, approvals, announcements)
    segments = segments_of(films)
    found = []
    for data in announcements:
        stated = announced(data)
        keys = intruder.keys(answers, data)
        for envelope in segments:
            name = envelope.header.name
            if (name.address, name.generation) == (stated.address, stated.generation):
                found += plain_needles(envelope, keys)
    return found


def announcements_of(films: FilmSet) -> list[bytes]:
    """The announcements of the day of the films, of their cameras."""
    return [
        data
        for data in films.site.announcements(*(clip.camera for clip in films.truth))
        if announced(data).epoch == epoch_of(films.slot_ms)
    ]


def segments_of(films: FilmSet) -> list[Envelope]:
    """The segments of the films' slot, put together again from the aggregator's store."""
    reader = open_reader(films.site.folder("aggregator") / "state" / "aggregator.db")
    wanted = epoch_of(films.slot_ms), slot_of(films.slot_ms)
    found = []
    for number in range(1, reader.newest() + 1):
        try:
            envelope = reader.envelope(number)
        except KeyError:
            continue  # a live one that its segment has replaced
        if not isinstance(envelope, Envelope):
            continue  # of version 1, which tests of the same site publish in a box's name
        name = envelope.header.name
        if envelope.header.kind == SEGMENT and (name.epoch, name.slot) == wanted:
            found.append(envelope)
    return found


def spelled(needles: Sequence[bytes]) -> list[bytes]:
    """The needles as bytes, and as logs or JSON would write them."""
    return [
        form
        for needle in needles
        for form in (needle, needle.hex().encode(), base64.b64encode(needle).rstrip(b"="))
    ]
