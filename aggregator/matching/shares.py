"""Fair shares of the room for candidates: no camera's finds displace those of another.

A box that knows the patient's template can make any number of sightings that score as high as it
likes. Whoever keeps just the best so many keeps nothing else. So each camera gets its best find of
each subject in, then its second best, and so on, until the room is full.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

_Item = TypeVar("_Item")


def fair_shares(
    items: Sequence[_Item],
    room: int,
    *,
    camera: Callable[[_Item], object],
    score: Callable[[_Item], float],
) -> tuple[list[_Item], list[_Item]]:
    """Return the ``room`` items that get in, and those that do not, each best first.

    Args:
        items: finds of any cameras.
        room: how many may get in, at least 0.
        camera: what an item shares its turn with: its camera and subject.
        score: of an item; higher is better.
    """
    best_first = sorted(items, key=lambda item: -score(item))
    taken: dict[object, int] = {}
    turns: list[tuple[int, int]] = []  # (turn within its camera, place by score)
    for place, item in enumerate(best_first):
        name = camera(item)
        turn = taken.get(name, 0)
        taken[name] = turn + 1
        turns.append((turn, place))
    turns.sort()
    within = sorted(place for _, place in turns[: max(0, room)])
    beyond = sorted(place for _, place in turns[max(0, room) :])
    return [best_first[place] for place in within], [best_first[place] for place in beyond]
