"""A small site for a cluster to match: boxes of both versions, and ten subjects seen by some."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from boxes_v2 import make_box_v2, person, strangers
from intake_desk import Desk
from sealed_boxes import MODEL, NOON_SLOT, make_box, near, sighting, unit_vector

from aggregator.matching.probes import Probes
from aggregator.matching.report import MatchReport
from aggregator.matching.tasks import do_task
from aggregator.matching.workers import MatchTask
from protocol.epoch_keys import EpochKeys
from protocol.keytree import FACE

SUBJECTS = tuple(f"patient-{number}" for number in range(17, 27))
MOST = 200


class ClusterSite:
    """Sightings in the embedded store at ``state``, and the keys of all of them."""

    def __init__(self, state: Path) -> None:
        self.rng = rng = np.random.default_rng(11)
        self.state = state
        state.mkdir(parents=True, exist_ok=True)
        self.subjects = [unit_vector(rng) for _ in SUBJECTS]
        self.boxes = [make_box_v2(number) for number in range(1, 5)]
        self.old = make_box(7)
        self.desk = Desk(state / "aggregator.db", [*self.boxes, self.old])
        messages = [
            box.segment(
                [
                    *strangers(10, rng),
                    *(person(near(one, 0.9, rng)) for one in self.subjects),
                ],
                slot=NOON_SLOT - back,
            )
            for box in self.boxes
            for back in (1, 2)
        ]
        messages.append(self.boxes[0].live([person(near(self.subjects[0], 0.8, rng))]))
        messages.append(self.old.segment([sighting(near(self.subjects[1], 0.8, rng))]))
        assert self.desk.take(*messages).stored == len(messages), self.desk.rejects()

    def keys(self) -> list[EpochKeys]:
        """The keys of every camera's day."""
        return [*(box.keys() for box in self.boxes), self.old.keys()]

    def probes(self) -> tuple[Probes, ...]:
        """What is compared; made anew each time, as whoever gets it wipes it."""
        matrix = np.asarray(self.subjects, np.float32).copy()
        thresholds = np.full(len(SUBJECTS), 0.6, np.float32)
        return (Probes(FACE, MODEL, matrix, thresholds, SUBJECTS),)

    def task(self, keys: Sequence[EpochKeys] | None = None, group: bytes = b"") -> MatchTask:
        """A portion; of everything, if nothing is said."""
        return MatchTask(tuple(keys or self.keys()), self.probes(), True, MOST, group=group)

    def here(self, task: MatchTask) -> MatchReport:
        """What this process finds."""
        return do_task(self.desk.store.segments, task, {})
