"""What was dropped on the desk and is nowhere else: photographs, and a document not kept yet.

Wiped when the patient is enrolled, when others push it out, and when the desk locks.
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass, field

from officers.desk.patients import Patient, patients
from officers.desk.photographs import MAX_PHOTOS, Looked, PhotoHelper
from officers.desk.phrases import phrase
from officers.pages.at import At
from runtime.errors import OperationError

_MOST_BASKETS, _MOST_SHOWN = 4, 64
_MOST_BYTES = 160 << 20


class BasketRefused(OperationError):
    """There is no room, or nothing there any more."""


@dataclass
class HeldPhoto:
    """A photograph before somebody is enrolled from it."""

    id: str
    name: str
    data: bytearray = field(repr=False)
    looked: Looked


@dataclass
class Basket:
    """One enrolment under way: its photographs and its document."""

    id: str
    photos: list[HeldPhoto] = field(default_factory=list)
    document_name: str = ""
    document: bytes = field(default=b"", repr=False)
    masked: bool = False

    @property
    def good(self) -> list[HeldPhoto]:
        """Those that somebody can be enrolled from."""
        return [one for one in self.photos if one.looked.problem is None]

    def find(self, photo_id: str) -> HeldPhoto:
        """Return one photograph.

        Raises:
            BasketRefused: it is not there any more.
        """
        for one in self.photos:
            if one.id == photo_id:
                return one
        raise BasketRefused(phrase("This photo is not here any more."))

    def add(self, name: str, data: bytes, looked: Looked) -> None:
        """Hold a photograph.

        Raises:
            BasketRefused: there are too many, or they are too large together.
        """
        held = sum(len(one.data) for one in self.photos)
        if len(self.photos) >= MAX_PHOTOS or held + len(data) > _MOST_BYTES:
            raise BasketRefused(
                phrase("No more photos than these: {most} at most.", most=MAX_PHOTOS)
            )
        self.photos.append(HeldPhoto(secrets.token_hex(6), name, bytearray(data), looked))

    def drop(self, photo_id: str) -> None:
        """Let go of a photograph, and wipe it."""
        for one in [one for one in self.photos if one.id == photo_id]:
            one.data[:] = bytes(len(one.data))
            self.photos.remove(one)

    def wipe(self) -> None:
        """Let go of all."""
        for one in list(self.photos):
            self.drop(one.id)
        self.document = b""


class Memory:
    """All enrolments under way, and the photographs of this session, until the desk locks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._baskets: dict[str, Basket] = {}
        self._shown: dict[str, bytes] = {}

    def new(self) -> Basket:
        """Begin an enrolment; the oldest of many is let go."""
        made = Basket(secrets.token_hex(8))
        with self._lock:
            while len(self._baskets) >= _MOST_BASKETS:
                self._baskets.pop(next(iter(self._baskets))).wipe()
            self._baskets[made.id] = made
        return made

    def find(self, basket_id: str) -> Basket:
        """Return an enrolment under way.

        Raises:
            BasketRefused: it was finished, or let go.
        """
        with self._lock:
            if basket_id not in self._baskets:
                raise BasketRefused(
                    phrase(
                        "What was begun here is not in memory any more: the desk was locked, or "
                        "the patient is enrolled. Begin again."
                    )
                )
            return self._baskets[basket_id]

    def end(self, basket: Basket) -> None:
        """Let go of an enrolment."""
        with self._lock:
            self._baskets.pop(basket.id, None)
        basket.wipe()

    def show(self, patient_id: str, preview: bytes) -> None:
        """Hold a patient's small picture, to be seen beside stills."""
        with self._lock:
            while len(self._shown) >= _MOST_SHOWN:
                self._shown.pop(next(iter(self._shown)))
            self._shown[patient_id] = preview

    def shown(self, patient_id: str) -> bytes:
        """Return a patient's small picture; empty if none is held."""
        with self._lock:
            return self._shown.get(patient_id, b"")

    def hide(self, patient_id: str) -> None:
        """Let go of a patient's small picture."""
        with self._lock:
            self._shown.pop(patient_id, None)

    def forget(self) -> None:
        """Let go of everything."""
        with self._lock:
            baskets = list(self._baskets.values())
            self._baskets.clear()
            self._shown.clear()
        for one in baskets:
            one.wipe()


class _Helper(PhotoHelper):
    """A helper that a locked desk ends."""

    def forget(self) -> None:
        self.give_up()
        self.close()


def memory_of(here: At) -> Memory:
    """Return what this desk holds in memory."""
    return here.house.kept("patients", Memory)


def helper_of(here: At) -> PhotoHelper:
    """Return what looks at photographs for this desk.

    Raises:
        OperationError: the desk knows no configuration that the helper could read.
    """
    file = here.officer.file
    if file is None:
        raise BasketRefused(phrase("This desk was opened without a configuration file."))
    return here.house.kept("photo-helper", lambda: _Helper(file))


def known_patients(here: At) -> tuple[Patient, ...]:
    """Return who is enrolled here."""
    return patients(here.officer, here.keys.sealing)


def photo_path(here: At, pseudonym: str) -> str:
    """Return where a patient's photograph is seen that this desk holds in memory; empty if none."""
    for one in known_patients(here):
        if one.pseudonym == pseudonym and memory_of(here).shown(one.id):
            return f"/patients/{one.id}/photo"
    return ""
