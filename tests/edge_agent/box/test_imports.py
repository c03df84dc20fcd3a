"""An import from files to the outbox: resumed after any end, and adding nothing the second time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from edge_site import EPOCH, MODEL, NOON_MS, SLOT, Box
from film_stand_ins import StandIn, found

from edge_agent.footage.desk import ImportDesk, Quarter
from edge_agent.footage.found import FoundFile
from edge_agent.footage.importing import Import, Outcome, Progress, prepare
from edge_agent.footage.ledger import Ledger
from edge_agent.footage.planning import Fate, Plan
from edge_agent.footage.work import look_through
from protocol.keytree import FACE
from protocol.names import SLOT_MS, SLOTS_PER_EPOCH
from protocol.v2.rows import Coverage
from protocol.v2.sightings import Sighting
from runtime.errors import OperationError

NUMBER = EPOCH * SLOTS_PER_EPOCH + SLOT - 8
BEGIN_MS = NUMBER * SLOT_MS
MINUTE = 60_000


@pytest.fixture
def open_desk(box: Box) -> Iterator[Callable[[], ImportDesk]]:
    """Open a desk, as each process that owns the outbox does."""
    ledgers: list[Ledger] = []

    def make() -> ImportDesk:
        ledgers.append(Ledger(box.folder / "imports.sqlite", box.site.board))
        return ImportDesk(
            site="demo", box="box-1", trust=box.trust, keyring=box.keyring, board=box.site.board,
            models={FACE: MODEL}, outbox=box.outbox, ledger=ledgers[-1], keys_wait_s=0.0,
            now_ms=box.clock,
        )  # fmt: skip

    yield make
    for one in ledgers:
        one.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    films = tmp_path / "films"
    films.mkdir()
    return films


def planned(desk: ImportDesk, *films: FoundFile, **options: Any) -> Plan:
    return prepare(desk, films, now_ms=NOON_MS, wait_s=0.0, **options)


def do(
    desk: ImportDesk, *films: FoundFile, until: Callable[[int], bool] = lambda _n: False,
    **options: Any,
) -> Progress:  # fmt: skip
    """Import in this process: passages in turn, as one worker would look at them."""
    plan = planned(desk, *films, **options)
    work = Import(desk, plan, models={FACE: MODEL})
    equipment = StandIn().build()
    told = 0
    for number, passage in enumerate(plan.passages):
        eyes, frames = equipment.eyes(passage.camera), equipment.frames(passage.camera)
        for message in look_through(passage, eyes=eyes, frames=frames):
            work.take(number, message)
            told += 1
            if until(work._progress.sealed):
                work.wipe()
                desk.end()
                return work._progress
    desk.end()
    return work._progress


def ids(box: Box) -> list[int]:
    """Minutes at which people were sealed, after the beginning."""
    opened = box.site.open([*box.announced, *box.payloads()])
    return sorted(one - BEGIN_MS // MINUTE for each in opened for one in each.ids)


@pytest.mark.slow
def test_films_of_two_cameras_become_segments(
    box: Box, open_desk: Callable[[], ImportDesk], folder: Path
) -> None:
    films = [
        found(folder / "a.mp4", "cam-1", BEGIN_MS, 20),
        found(folder / "b.mp4", "cam-2", BEGIN_MS + 10 * MINUTE, 10),
    ]
    progress = do(open_desk(), *films)
    assert (progress.files_done, progress.sealed, progress.sightings) == (2, 4, 30)
    assert ids(box) == sorted([*range(20), *range(10, 20)])


@pytest.mark.slow
def test_a_second_run_of_the_same_films_adds_nothing(
    box: Box, open_desk: Callable[[], ImportDesk], folder: Path
) -> None:
    film = found(folder / "a.mp4", "cam-1", BEGIN_MS, 20)
    do(open_desk(), film)
    before = box.outbox.next_sequence("cam-1")
    again = film.path.rename(folder / "another-name.mp4")
    renamed = found(again, "cam-1", BEGIN_MS, 20)
    plan = planned(open_desk(), renamed)
    assert [one.fate for one in plan.verdicts] == [Fate.NOTHING_NEW]
    assert do(open_desk(), renamed).sealed == 0
    assert box.outbox.next_sequence("cam-1") == before


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 2])
def test_an_import_goes_on_where_it_was_killed(
    box: Box, open_desk: Callable[[], ImportDesk], folder: Path, after: int
) -> None:
    films = [
        found(folder / "a.mp4", "cam-1", BEGIN_MS + 12 * MINUTE, 6),
        found(folder / "b.mp4", "cam-1", BEGIN_MS + 18 * MINUTE, 15),
    ]
    do(open_desk(), *films, until=lambda sealed: sealed == after)
    second = do(open_desk(), *films)
    assert second.sealed == 3 - after
    assert ids(box) == list(range(12, 33))
    assert do(open_desk(), *films).sealed == 0


@pytest.mark.slow
def test_seconds_of_a_camera_add_up_over_runs(
    box: Box, open_desk: Callable[[], ImportDesk], folder: Path
) -> None:
    do(open_desk(), found(folder / "a.mp4", "cam-1", BEGIN_MS, 10))
    do(open_desk(), found(folder / "b.mp4", "cam-1", BEGIN_MS + 8 * MINUTE, 7))
    opened = box.opened()
    assert [one.coverage for one in opened] == [Coverage(watched_s=600), Coverage(watched_s=300)]
    assert opened[0].generation < opened[1].generation
    assert [seed for one in opened for seed in one.ids] == [
        BEGIN_MS // MINUTE + n for n in range(15)
    ]


@pytest.mark.slow
def test_a_film_that_broke_off_is_done_and_named(
    box: Box, open_desk: Callable[[], ImportDesk], folder: Path
) -> None:
    film = found(folder / "broken.mp4", "cam-1", BEGIN_MS, 20)
    desk = open_desk()
    plan = planned(desk, film)
    work = Import(desk, plan, models={FACE: MODEL})
    equipment = StandIn().build()
    for message in look_through(
        plan.passages[0], eyes=equipment.eyes("cam-1"), frames=equipment.frames("cam-1")
    ):
        work.take(0, message)
    assert work._broken == [(film.path, "It breaks off in the middle.")]
    assert ids(box) == list(range(10))
    assert [one.fate for one in planned(open_desk(), film).verdicts] == [Fate.NOTHING_NEW]


@pytest.mark.slow
def test_the_whole_copy_of_a_film_that_broke_off_brings_the_rest(
    box: Box, open_desk: Callable[[], ImportDesk], folder: Path
) -> None:
    do(open_desk(), found(folder / "broken.mp4", "cam-1", BEGIN_MS, 20))
    do(open_desk(), found(folder / "whole.mp4", "cam-1", BEGIN_MS, 20))
    assert ids(box) == list(range(20))


@pytest.mark.slow
def test_a_file_that_grew_is_not_taken_for_done(
    box: Box, open_desk: Callable[[], ImportDesk], folder: Path
) -> None:
    film = found(folder / "a.mp4", "cam-1", BEGIN_MS, 10)
    desk = open_desk()
    plan = planned(desk, film)
    film.path.write_bytes(b"more than it was before")
    work = Import(desk, plan, models={FACE: MODEL})
    equipment = StandIn().build()
    for message in look_through(
        plan.passages[0], eyes=equipment.eyes("cam-1"), frames=equipment.frames("cam-1")
    ):
        work.take(0, message)
    longer = found(film.path, "cam-1", BEGIN_MS, 14)
    assert [one.fate for one in planned(open_desk(), longer).verdicts] == [Fate.PARTLY]


@pytest.mark.slow
def test_when_it_ends_early_nobody_who_was_seen_stays_in_memory(
    open_desk: Callable[[], ImportDesk], folder: Path
) -> None:
    desk = open_desk()
    film = found(folder / "a.mp4", "cam-1", BEGIN_MS + 10 * MINUTE, 8)
    plan = planned(desk, film)
    work = Import(desk, plan, models={FACE: MODEL})
    two = planned(desk, found(folder / "b.mp4", "cam-1", BEGIN_MS + 18 * MINUTE, 1))
    assert two.passages
    equipment = StandIn().build()
    kept: list[Sighting] = []
    for message in look_through(
        plan.passages[0], eyes=equipment.eyes("cam-1"), frames=equipment.frames("cam-1")
    ):
        if hasattr(message, "sightings") and isinstance(message.sightings, list):
            for slot in work._slots.values():
                slot.waits_for.add(99)  # as if another process looked at it, too
            kept += message.sightings
        work.take(0, message)
    assert kept
    work.wipe()
    assert not any(one.templates[FACE].row.any() for one in kept)


# ---------------------------------------------------------------------- with processes


class Recorder:
    """A desk that keeps what it is given."""

    def __init__(self) -> None:
        self.quarters: list[tuple[str, int, list[int]]] = []
        self.films: list[str] = []

    def seal(self, quarter: Quarter, *, floor: int) -> int:
        assert quarter.number >= floor or floor > quarter.number
        seeds = [one.row.last_ms // MINUTE - BEGIN_MS // MINUTE for one in quarter.sightings]
        self.quarters.append((quarter.camera, quarter.number - NUMBER, seeds))
        return len(seeds)

    def note_film(self, camera: str, content: bytes, *, began_ms: int) -> None:
        self.films.append(camera)


def run(
    desk: ImportDesk, recorder: Any, outfit: StandIn, *films: FoundFile, workers: int = 2,
    **options: Any,
) -> Outcome:  # fmt: skip
    work = Import(recorder, planned(desk, *films, workers=workers), models={FACE: MODEL}, **options)
    return work.run(outfit, workers=workers)


@pytest.mark.processes
def test_processes_share_the_films(open_desk: Callable[[], ImportDesk], folder: Path) -> None:
    films = [
        found(folder / f"{camera}-{n}.mp4", camera, BEGIN_MS + n * 10 * MINUTE, 10)
        for camera in ("cam-1", "cam-2")
        for n in range(3)
    ]
    recorder, told = Recorder(), []
    outcome = run(
        open_desk(), recorder, StandIn(), *films, tell=lambda now: told.append(now.film_done_s)
    )
    assert not outcome.stopped
    assert outcome.progress.files_done == 6
    assert sorted(recorder.quarters) == [
        (camera, n, list(range(15 * n, 15 * n + 15))) for camera in ("cam-1", "cam-2")
        for n in range(2)
    ]  # fmt: skip
    assert sorted(recorder.films) == ["cam-1"] * 3 + ["cam-2"] * 3
    assert told[-1] == pytest.approx(3600, rel=0.05)


@pytest.mark.processes
def test_an_import_that_is_stopped_ends_its_processes(
    open_desk: Callable[[], ImportDesk], folder: Path
) -> None:
    film = found(folder / "a.mp4", "cam-1", BEGIN_MS, 60)
    recorder = Recorder()
    outcome = run(open_desk(), recorder, StandIn(), film, stopped=lambda: bool(recorder.quarters))
    assert outcome.stopped
    assert len(recorder.quarters) < 5


@pytest.mark.processes
@pytest.mark.parametrize(("kind", "reason"), [("deadly", "exit code 9"), ("greedy", "Memory")])
def test_a_film_over_which_a_process_dies_is_named_and_the_others_are_imported(
    open_desk: Callable[[], ImportDesk], folder: Path, kind: str, reason: str
) -> None:
    films = [
        found(folder / "a.mp4", "cam-1", BEGIN_MS + 9 * MINUTE, 4),
        found(folder / f"{kind}.mp4", "cam-1", BEGIN_MS + 13 * MINUTE, 4),
        found(folder / "c.mp4", "cam-1", BEGIN_MS + 17 * MINUTE, 2),
    ]
    recorder = Recorder()
    outcome = run(open_desk(), recorder, StandIn(), *films, workers=1)
    ((path, why),) = outcome.broken
    assert path.name == f"{kind}.mp4"
    assert reason in why
    assert sorted(recorder.quarters) == [("cam-1", 0, [9, 10, 11, 12]), ("cam-1", 1, [17, 18])]
    assert len(recorder.films) == 2, "what a process died over is not taken for imported"
    assert outcome.progress.files_done == 3


@pytest.mark.processes
@pytest.mark.parametrize(
    ("outfit", "why"),
    [
        (StandIn(dies=True), "exit code 7"),
        (StandIn(models={FACE: "another@00000000"}), "other models"),
    ],
)
def test_a_process_that_cannot_go_on_ends_the_import_with_the_reason(
    open_desk: Callable[[], ImportDesk], folder: Path, outfit: StandIn, why: str
) -> None:
    film = found(folder / "a.mp4", "cam-1", BEGIN_MS, 5)
    with pytest.raises(OperationError, match=why):
        run(open_desk(), Recorder(), outfit, film)
