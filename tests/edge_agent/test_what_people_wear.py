"""What people wear is sealed under a key of its own, if enough of it was seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from cryptography.exceptions import InvalidTag
from edge_site import MODEL, NOON_MS, SLOT, Box, Site, make_sighting

from edge_agent.vision.appearance import AppearanceEmbedder
from edge_agent.vision.arrays import Image
from edge_agent.vision.config import VisionConfig
from edge_agent.vision.models import VisionModels
from edge_agent.vision.people import NO_BODY, Bodies
from edge_agent.vision.pipeline import CameraPipeline
from edge_agent.vision.wearing import Wearing
from models.appearance.source import appearance_model
from protocol.errors import ProtocolError
from protocol.keytree import APPEARANCE, COVER, FACE
from protocol.sightings import dequantise_template, split_rows
from protocol.v2.envelopes import Envelope, parse_envelope
from protocol.v2.rows import ABSENT
from protocol.v2.sightings import Sighting

RED, GREEN, DARK, LIGHT = (40, 40, 190), (60, 150, 60), (40, 35, 35), (215, 215, 220)


@pytest.fixture(scope="module")
def embedder() -> AppearanceEmbedder:
    data, entry = appearance_model()
    return AppearanceEmbedder(data, model_id=entry.model_id, dimension=entry.dimension)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    one = Box(Site(tmp_path), tmp_path / "box")
    yield one
    one.outbox.close()


def body(upper: tuple[int, int, int], lower: tuple[int, int, int], height: int = 260) -> Image:
    """A picture (height, 0.4 height, 3) of a figure in two colours before a grey wall."""
    picture = np.full((260, 104, 3), 150, np.uint8)
    cv2.circle(picture, (52, 28), 18, (120, 150, 190), -1)
    cv2.rectangle(picture, (22, 48), (81, 138), upper, -1)
    cv2.rectangle(picture, (28, 139), (76, 250), lower, -1)
    size = (round(0.4 * height), height)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def frame_of(*bodies: tuple[Image, int]) -> tuple[Image, Bodies]:
    """A frame with bodies standing at x px from the left, and where a detector sees them."""
    frame = np.full((540, 960, 3), 150, np.uint8)
    boxes = []
    for picture, x in bodies:
        height, width = picture.shape[:2]
        frame[100 : 100 + height, x : x + width] = picture
        boxes.append((x, 100, width, height))
    places = np.array(boxes, np.float32)
    return frame, Bodies(places, np.full(len(boxes), 0.9, np.float32))


def wearing(embedder: AppearanceEmbedder | None) -> Wearing:
    return Wearing(embedder, crops=6, least=2, spacing_ms=300)


def seen(book: Wearing, times: int, *bodies: tuple[Image, int], light: float = 1.0) -> None:
    """Show frames, 400 ms apart, of persons numbered from 1."""
    frame, found = frame_of(*bodies)
    frame = (frame * light).astype(np.uint8)
    persons, rows = np.arange(1, len(found) + 1), np.arange(len(found))
    for number in range(times):
        book.look(frame, 1000 + 400 * number, persons, rows, found)


def test_who_was_seen_well_has_a_template_of_what_they_wear(embedder: AppearanceEmbedder) -> None:
    book = wearing(embedder)
    seen(book, 3, (body(RED, DARK), 100), (body(GREEN, LIGHT), 500))
    red, green = book.template(1), book.template(2)
    assert red is not None and green is not None
    again = wearing(embedder)
    seen(again, 2, (body(RED, DARK), 300))
    same = again.template(1)
    assert same is not None
    vectors = [dequantise_template(*one) for one in (red, green, same)]
    assert vectors[0] @ vectors[2] > 0.95
    assert vectors[0] @ vectors[1] < vectors[0] @ vectors[2] - 0.2


@pytest.mark.parametrize(
    ("times", "height", "light"), [(1, 260, 1.0), (3, 40, 1.0), (3, 260, 0.08)]
)
def test_who_was_seen_once_or_from_afar_or_in_the_dark_has_none(
    embedder: AppearanceEmbedder, times: int, height: int, light: float
) -> None:
    book = wearing(embedder)
    seen(book, times, (body(RED, DARK, height), 100), light=light)
    assert book.template(1) is None


def test_clothes_that_change_within_a_track_are_nobodys(embedder: AppearanceEmbedder) -> None:
    book = wearing(embedder)
    for number, colours in enumerate([(RED, DARK), (GREEN, LIGHT), ((190, 60, 40), RED)]):
        frame, found = frame_of((body(*colours), 100))
        book.look(frame, 1000 + 400 * number, np.array([1]), np.array([0]), found)
    assert book.template(1) is None


def test_crops_are_wiped_when_somebody_has_gone(embedder: AppearanceEmbedder) -> None:
    book = wearing(embedder)
    seen(book, 3, (body(RED, DARK), 100), (body(GREEN, LIGHT), 500))
    book.merge(2, 1)
    assert book.template(2) is None, "two numbers became one"
    assert book.template(1) is not None
    assert book.template(1) is None
    seen(book, 3, (body(RED, DARK), 100))
    book.forget(1)
    assert book.template(1) is None


def test_without_the_network_nothing_is_kept() -> None:
    book = wearing(None)
    seen(book, 3, (body(RED, DARK), 100))
    assert book.template(1) is None


def test_whose_body_was_not_seen_in_a_frame_gives_no_crop(embedder: AppearanceEmbedder) -> None:
    book = wearing(embedder)
    frame, found = frame_of((body(RED, DARK), 100))
    for number in range(3):
        book.look(frame, 1000 + 400 * number, np.array([1]), np.array([NO_BODY]), found)
    assert book.template(1) is None


def test_a_template_of_clothes_opens_by_its_own_key_alone(
    embedder: AppearanceEmbedder, box: Box
) -> None:
    book = wearing(embedder)
    seen(book, 3, (body(RED, DARK), 100))
    clothes = book.template(1)
    assert clothes is not None
    expected = clothes.row.copy()
    dressed = _with_clothes(make_sighting(NOON_MS, seed=1), clothes, embedder.model_id)
    faceless = _with_clothes(
        make_sighting(NOON_MS, seed=2, face=False, encounters=0),
        clothes._replace(row=clothes.row.copy()),
        embedder.model_id,
    )
    bare = make_sighting(NOON_MS, seed=3)
    sealer = box.new_sealer("cam-1", models={FACE: MODEL, APPEARANCE: embedder.model_id})
    box.clock.pass_s(10)
    sealer.add([dressed, faceless, bare], box.clock.now_ms)
    assert sealer.finish()
    assert not clothes.row.any(), "what is sealed is wiped"

    announcement, segment = _announced_and_segment(box)
    keys = box.site._keys(announcement, ("c1", "c3"), SLOT, [FACE, APPEARANCE, COVER])
    rows = segment.rows(keys.key(SLOT, COVER))
    absent = {
        label: [
            rows.places[label][_number(rows, one)] == ABSENT for one in (dressed, faceless, bare)
        ]
        for label in (FACE, APPEARANCE)
    }
    assert absent == {FACE: [False, True, False], APPEARANCE: [False, False, True]}
    opened = segment.open(APPEARANCE, keys.key(SLOT, APPEARANCE))
    table, _ = split_rows(
        np.frombuffer(opened, np.uint8, 2 * (embedder.dimension + 4)), embedder.dimension
    )
    assert (table == expected).all()
    with pytest.raises((ProtocolError, InvalidTag)):
        segment.open(APPEARANCE, keys.key(SLOT, FACE))


def _with_clothes(sighting: Sighting, clothes: Any, model: str) -> Sighting:
    return replace(
        sighting,
        row=replace(sighting.row, networks={**sighting.row.networks, APPEARANCE: model}),
        templates={**sighting.templates, APPEARANCE: clothes},
    )


def _number(rows: Any, sighting: Sighting) -> int:
    return next(n for n in range(len(rows)) if rows.id_of(n) == sighting.sighting_id)


def _announced_and_segment(box: Box) -> tuple[Any, Envelope]:
    payloads = [message.payload for message in box.outbox.take(100)]
    announcement = box.site.announcement(payloads[0])
    (segment,) = (
        envelope
        for envelope in map(parse_envelope, payloads[1:])
        if isinstance(envelope, Envelope)
        and envelope.header.name.slot == SLOT
        and envelope.header.kind != "live"
    )
    return announcement, segment


class SeesTwo:
    """Says that two persons stand where they were put."""

    def detect(self, image: Image) -> Bodies:
        boxes = np.array([[40, 60, 104, 260], [400, 200, 18, 44]], np.float32)
        return Bodies(boxes, np.full(2, 0.9, np.float32))


@pytest.mark.models
def test_a_person_who_shows_no_face_is_sighted_with_what_they_wear(
    models: VisionModels, embedder: AppearanceEmbedder, clip: Any
) -> None:
    dressed = replace(models, clothes=embedder)
    assert dressed.models == {FACE: models.model_id, APPEARANCE: embedder.model_id}
    pipeline = CameraPipeline(VisionConfig(), dressed, person_detectors=[SeesTwo()])
    scene = clip(3.0).add(body(RED, DARK), (40, 60)).add(body(GREEN, LIGHT, 44), (400, 200))
    found = [one for frame in scene for one in pipeline.process(frame)] + pipeline.flush()
    near, far = sorted(found, key=lambda one: len(one.templates), reverse=True)
    assert (set(near.templates), set(far.templates)) == ({APPEARANCE}, set())
    assert near.row.networks == {APPEARANCE: embedder.model_id}
    assert far.row.networks == {}
