"""A second detector, made up here, sees persons from behind; what becomes of them, to the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edge_site import EPOCH, NOON_MS, SLOT, Box, Site

from aggregator.config import LimitsSection
from aggregator.ingest.intake import Intake
from aggregator.ingest.messages import Incoming
from aggregator.matching.probes import Probes
from aggregator.matching.scopes import MatchReport, match_scopes
from aggregator.store import open_store
from edge_agent.outbox import EPOCH as ANNOUNCEMENT
from edge_agent.outbox import Message
from edge_agent.vision.arrays import Image
from edge_agent.vision.config import VisionConfig
from edge_agent.vision.models import VisionModels
from edge_agent.vision.people import Bodies
from edge_agent.vision.pipeline import CameraPipeline
from protocol import epoch_keys, grant, names
from protocol.keytree import FACE, LIVE, META
from protocol.sightings import MaskStatus
from protocol.v2.sightings import Sighting

pytestmark = pytest.mark.models

HEAD_PX = 70.0
Box4 = tuple[float, float, float, float]


class SeesPersons:
    """Says that persons stand where it was told, and looks at no picture."""

    def __init__(self, *bodies: Box4, score: float = 0.9) -> None:
        self._bodies = np.array(bodies, np.float32).reshape(-1, 4)
        self._score = score

    def detect(self, image: Image) -> Bodies:
        return Bodies(self._bodies, np.full(len(self._bodies), self._score, np.float32))


def standing_at(x: float) -> Box4:
    """A body whose head is ``HEAD_PX`` high, ``x`` px from the left."""
    return x, 70.0, 2 * HEAD_PX, 7.5 * HEAD_PX


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    one = Box(Site(tmp_path, version=1), tmp_path / "box")
    yield one
    one.outbox.close()


def watch(models: VisionModels, scene: Any, *bodies: Box4) -> tuple[CameraPipeline, list[Sighting]]:
    pipeline = CameraPipeline(VisionConfig(), models, person_detectors=[SeesPersons(*bodies)])
    seen = [sighting for frame in scene for sighting in pipeline.process(frame)]
    return pipeline, seen + pipeline.flush()


def test_two_people_from_behind_are_sightings_that_met(models: VisionModels, clip: Any) -> None:
    pipeline, (first, second) = watch(models, clip(3.0), standing_at(100), standing_at(250))
    assert (first.templates, second.templates) == ({}, {})
    assert first.row.mask is MaskStatus.UNKNOWN
    assert first.row.quality == 0
    assert pipeline.stats.without_template == 2
    assert pipeline.stats.faces == 0
    (met,), (met_too,) = first.row.encounters, second.row.encounters
    assert (met.other_id, met_too.other_id) == (second.sighting_id, first.sighting_id)
    assert met.nearest_m == pytest.approx(150 * 0.23 / HEAD_PX, abs=0.05)
    assert met.within_s == pytest.approx(2.8, abs=0.3)


def test_nobody_counts_behind_a_shop_window(models: VisionModels, clip: Any) -> None:
    window = ((220.0, 40.0), (420.0, 40.0), (420.0, 300.0), (220.0, 300.0))
    people = SeesPersons(standing_at(100), standing_at(250))
    pipeline = CameraPipeline(VisionConfig(ignored=(window,)), models, person_detectors=[people])
    found = [s for frame in clip(2.0) for s in pipeline.process(frame)] + pipeline.flush()
    assert len(found) == 1
    assert found[0].row.encounters == ()
    with pytest.raises(ValueError, match="three corners"):
        VisionConfig(ignored=(window[:2],))


def test_a_face_and_its_body_are_one_sighting(models: VisionModels, face: Any, clip: Any) -> None:
    head = face("obama.jpg", round(HEAD_PX))
    middle = 60 + head.shape[1] / 2 - HEAD_PX
    top = 60 + 0.25 * head.shape[0]
    body = (middle, top, 2 * HEAD_PX, 7.5 * HEAD_PX)
    _, (only,) = watch(models, clip(3.0).add(head, (60, 60)), body)
    assert set(only.templates) == {FACE}
    assert only.row.encounters == ()


@pytest.mark.parametrize(("moves", "people"), [(0, 1), (12, 2)])
def test_a_face_that_never_moves_and_has_no_body_where_others_have_is_a_painting(
    models: VisionModels, face: Any, clip: Any, moves: int, people: int
) -> None:
    scene = clip(4.0).add(face("obama.jpg", round(HEAD_PX)), (40, 60), (moves, 0))
    _, found = watch(models, scene, standing_at(400))
    assert len(found) == people
    assert sum(bool(one.templates) for one in found) == people - 1
    assert all(len(one.row.encounters) <= people - 1 for one in found)


def test_who_is_unsure_to_every_detector_is_discarded(models: VisionModels, clip: Any) -> None:
    doubtful = SeesPersons(standing_at(100), score=0.45)
    pipeline = CameraPipeline(VisionConfig(), models, person_detectors=[doubtful])
    assert [s for frame in clip(2.0) for s in pipeline.process(frame)] + pipeline.flush() == []
    assert pipeline.stats.tracks_discarded == 1


def test_who_shows_no_face_is_sealed_and_stored_and_matched_by_nobody(
    models: VisionModels, face: Any, clip: Any, box: Box
) -> None:
    scene = clip(3.0, start_ms=NOON_MS).add(face("obama.jpg", round(HEAD_PX)), (40, 60))
    _, seen = watch(models, scene, standing_at(250))
    (known,) = (one for one in seen if one.templates)
    (unknown,) = (one for one in seen if not one.templates)
    assert [met.other_id for met in known.row.encounters] == [unknown.sighting_id]
    box.clock.pass_s(10)
    sealer = box.new_sealer("cam-1", models=models.models)
    sealer.add(seen, box.clock.now_ms)
    assert sealer.finish()
    assert not known.templates[FACE].row.any(), "what is sealed is wiped"

    messages = box.outbox.take(100)
    report = found_by_anybody(messages, models, box)
    assert report.sightings == 2
    assert (report.malformed, report.altered) == (0, ())
    assert [one.sighting_id for one in report.candidates] == [known.sighting_id]
    (met,) = report.candidates[0].encounters
    assert met.other_id == unknown.sighting_id


def found_by_anybody(messages: list[Message], models: VisionModels, box: Box) -> MatchReport:
    """Store what a box published, and search it for somebody whom everybody resembles."""
    site, address = box.site, box.sealer.address
    store = open_store(box.folder / "aggregator.db")
    intake = Intake(
        store,
        site="demo",
        directory=lambda: site.directory,
        limits=LimitsSection(),
        retention_days=lambda: 14,
        now_ms=lambda: box.clock.now_ms,
        audit=lambda _kind, _body: None,
    )
    kinds = {ANNOUNCEMENT: names.EPOCH}
    incoming = [
        Incoming(
            address.topic(kinds.get(message.kind, names.ENVELOPE)),
            message.payload,
            box.clock.now_ms,
        )
        for message in messages
    ]
    assert intake.process(incoming).stored == len(messages)
    announced = site.announcement(messages[0].payload)
    scope = grant.Scope(address, EPOCH, announced.generation, SLOT, SLOT)
    released = [
        grant.release(
            announced.open_share(name, site.day_secrets[name, EPOCH]), scope, [FACE, META, LIVE]
        )
        for name in ("c1", "c3")
    ]
    anybody = np.random.default_rng(3).standard_normal((1, models.embedder.dimension))
    anybody /= np.linalg.norm(anybody)
    probes = Probes(
        FACE,
        models.model_id,
        anybody.astype(np.float32),
        np.array([-1.0], np.float32),
        ("anybody",),
    )
    return match_scopes(
        store.segments,
        [epoch_keys.combine(announced, released)],
        [probes],
        calibrations={},
        contacts=True,
        max_candidates=10,
    )
