"""Several intakes over one store take in a box each, and none sees gaps that are not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from intake_desk import Desk
from sealed_boxes import NOW_MS, SITE, TestBox, make_box, sighting, unit_vector
from store_file import rows

from aggregator.ingest.intake import Intake, NotOurs
from aggregator.ingest.messages import Incoming
from aggregator.ingest.partitions import (
    PARTITIONS,
    boxes_in,
    filters_of_box,
    filters_of_site,
    partition_of,
)
from aggregator.processes.keeper import Shared
from aggregator.processes.shares import partitions
from aggregator.store.leases import PARTITION

RNG = np.random.default_rng(3)
LONG_MS = 60_000


class Process:
    """One of several intakes over the store of a desk."""

    def __init__(self, desk: Desk, name: str) -> None:
        self.desk = desk
        self.name = name
        self.share: Shared = partitions()
        self.intake = Intake(
            desk.store,
            site=SITE,
            directory=lambda: desk.directory,
            limits=desk.limits,
            retention_days=lambda: 14,
            now_ms=lambda: desk.now_ms,
            boot_ms=lambda: desk.now_ms,
            audit=lambda kind, body: desk.audited.append((kind, body)),
            share=self.share,
        )

    def take(self, *boxes: TestBox) -> None:
        """Take the leases of boxes, whoever has them: those have run out."""
        held = dict(self.share.held())
        for box in boxes:
            number = partition_of(box.name)
            with self.desk.store.writing() as unit:
                for lease in unit.ledger.held(PARTITION):
                    if lease.number == number:
                        unit.ledger.release_leases([lease])
                taken = unit.ledger.take_lease(PARTITION, number, self.name, for_ms=LONG_MS)
                assert taken is not None
                held[number] = taken
        self.share.hold(list(held.values()))

    def gets(self, *messages: tuple[str, bytes]) -> tuple[int, int]:
        """Process messages; return how many were stored, and how many passed on."""
        batch = self.intake.process([Incoming(t, p, self.desk.now_ms) for t, p in messages])
        return batch.stored, batch.passed_on


@pytest.fixture
def box() -> TestBox:
    return make_box(1)


@pytest.fixture
def desk(tmp_path: Path, box: TestBox) -> Desk:
    return Desk(tmp_path / "a.db", [box, make_box(2)], gap_grace_s=0)


def segment(box: TestBox) -> tuple[str, bytes]:
    return box.segment([sighting(unit_vector(RNG))], slot=40)


def gaps(desk: Desk) -> list[tuple[object, ...]]:
    return rows(desk.store, "SELECT first, last FROM gaps")


def test_partitions_of_boxes_are_the_same_for_ever() -> None:
    assert [partition_of(name) for name in ("box-1", "box-2", "gate.north")] == [
        60,
        38,
        56,
    ]  # by sha256sum
    spread = {partition_of(f"box-{n}") for n in range(1000)}
    assert spread == set(range(PARTITIONS))


def test_a_process_listens_to_exactly_its_boxes(desk: Desk) -> None:
    assert boxes_in(desk.directory, [partition_of("box-1")]) == {"box-1"}
    assert boxes_in(desk.directory, []) == set()
    assert len(filters_of_box(SITE, "box-1")) == 3
    assert all("/box-1/" in one for one in filters_of_box(SITE, "box-1"))
    assert all("/+/" in one for one in filters_of_site(SITE))


def test_messages_of_other_processes_boxes_are_passed_on(desk: Desk, box: TestBox) -> None:
    ours, theirs = Process(desk, "a"), Process(desk, "b")
    ours.take(box)
    message = box.announcement()
    assert theirs.gets(message) == (0, 1)
    assert ours.gets(message) == (1, 0)
    assert desk.rejects() == {}


def test_who_takes_over_goes_on_where_the_other_stopped(desk: Desk, box: TestBox) -> None:
    first, second = Process(desk, "a"), Process(desk, "b")
    first.take(box)
    second.take()
    assert first.gets(box.announcement(), segment(box)) == (2, 0)
    second.take(box)
    assert second.gets(segment(box), segment(box)) == (2, 0)
    second.intake.review_gaps()
    assert gaps(desk) == []
    position = second.intake.position(box.address)
    assert position == (box.sequence - 1, ())


def test_a_process_that_slept_through_the_loss_of_its_lease_writes_nothing(
    desk: Desk, box: TestBox
) -> None:
    slept, awake = Process(desk, "a"), Process(desk, "b")
    slept.take(box)
    slept.gets(box.announcement())
    lost, stored = segment(box), segment(box)
    awake.take(box)
    assert awake.gets(lost, stored) == (2, 0)
    assert slept.gets(segment(box)) == (0, 1)  # it still believes that it has the box
    assert slept.intake.position(box.address) is None  # so it receipts nothing either
    slept.intake.review_gaps()
    assert gaps(desk) == []


def test_a_batch_with_a_lost_box_keeps_what_is_still_ours(desk: Desk, box: TestBox) -> None:
    other = desk.boxes[1]
    first, second = Process(desk, "a"), Process(desk, "b")
    first.take(box, other)
    first.gets(box.announcement(), other.announcement())
    second.take(box)
    assert first.gets(segment(box), segment(other)) == (1, 1)
    assert {one.box for one, _, _ in first.intake.positions()} == {other.name}


def test_what_is_taken_back_is_read_anew(desk: Desk, box: TestBox) -> None:
    first, second = Process(desk, "a"), Process(desk, "b")
    first.take(box)
    first.gets(box.announcement())
    second.take(box)
    second.gets(segment(box))
    first.take(box)
    assert first.gets(segment(box)) == (1, 0)
    first.intake.review_gaps()
    assert gaps(desk) == []


def test_a_sleeper_that_wakes_for_the_gaps_reports_none_of_anothers_boxes(
    desk: Desk, box: TestBox
) -> None:
    slept, awake = Process(desk, "a"), Process(desk, "b")
    slept.take(box)
    box.announcement()  # never comes: a gap
    slept.gets(segment(box))
    awake.take(box)
    desk.now_ms += 60_000
    assert slept.intake.review_gaps() == set()
    assert desk.audited == []
    awake.intake.review_gaps()
    assert [kind for kind, _ in desk.audited] == ["gap"]


def test_only_who_has_a_box_admits_its_messages_out_of_quarantine(desk: Desk, box: TestBox) -> None:
    first, second = Process(desk, "a"), Process(desk, "b")
    first.take(box)
    first.gets(box.announcement())
    first.gets(box.segment([sighting(unit_vector(RNG))], slot=40, sealed_at_ms=NOW_MS + 10**7))
    number = desk.store.ledger.quarantined()[0].number
    with pytest.raises(NotOurs, match="another process"):
        second.intake.admit(number)
    first.intake.admit(number)
    assert desk.store.ledger.quarantined() == []
