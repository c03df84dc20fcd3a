"""Which cameras a query is to look at: named, by pattern, by place, in an area on a map, or all.

What comes of it stands in the signed query camera by camera: a pattern or an area is only how an
officer finds them.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from officers.desk.areas import read_area
from officers.desk.notices import Notice, Tell
from officers.desk.option_labels import ALL_CAMERAS, AREA, CAMERA, PLACE
from officers.desk.phrases import Phrase, phrase, together
from officers.desk.subjects import DraftInvalid
from protocol.directory import BOX, Directory
from protocol.places import CameraPlace, Places

_GLOB = frozenset("*?[")
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Wanted:
    """Cameras as an officer asks for them; several ways add up, `every` stands alone.

    Args:
        cameras: names, or patterns of camera names or of places (``cam-*``, ``station/*``).
        places: names of places in any language, ``place/room``, or patterns of these.
        area: a GeoJSON file.
        every: all cameras that a box in force watches.
    """

    cameras: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    area: Path | None = None
    every: bool = False

    @property
    def needs_register(self) -> bool:
        """Whether the register of places has to be at hand."""
        return bool(self.places) or self.area is not None

    @property
    def anything(self) -> bool:
        """Whether anything is asked for."""
        return self.every or bool(self.cameras or self.places) or self.area is not None


def choose(
    wanted: Wanted, directory: Directory, register: Places | None, tell: Tell
) -> tuple[str, ...]:
    """Return the cameras that are meant, sorted; what patterns, places and areas gave is told.

    Those give cameras of boxes in force alone; a camera whose box is revoked has to be named.

    Args:
        wanted: what is asked for.
        directory: says which cameras there are.
        register: where they are; None where it is not at hand.
        tell: takes what was taken, and what was left out.

    Raises:
        DraftInvalid: none is meant, or one is unknown, or `every` does not stand alone.
        AreaInvalid, FileProblem: the area's file.
    """
    known, in_force = cameras_known(directory)
    if wanted.every:
        if wanted.cameras or wanted.needs_register:
            raise DraftInvalid(
                phrase(
                    "give either {all_cameras_field} or cameras, places and an area, not both",
                    all_cameras_field=ALL_CAMERAS,
                )
            )
        if not in_force:
            raise DraftInvalid(
                phrase("the site has no cameras yet; add a box with `sealtrace box add`")
            )
        if left_out := [camera for camera in known if camera not in in_force]:
            words = phrase(
                "left out, because their boxes are revoked: {left_out}; for what they saw "
                "before, name them with {camera_field}",
                left_out=few(left_out),
                camera_field=CAMERA,
            )
            tell(Notice(words))
        return in_force
    if not wanted.anything:
        raise DraftInvalid(
            phrase(
                "name the cameras with {camera_field}, {place_field} or {area_field}, or all with "
                "{all_cameras_field} ({known})",
                camera_field=CAMERA,
                place_field=PLACE,
                area_field=AREA,
                all_cameras_field=ALL_CAMERAS,
                known=few(known),
            )
        )
    if wanted.needs_register and register is None:
        raise DraftInvalid(
            phrase(
                "{place_field} and {area_field} take the site's register of places, and it is not "
                "here; name cameras with {camera_field}, or have the authority's office hand it "
                "out (`sealtrace site update SITE --push`)",
                place_field=PLACE,
                area_field=AREA,
                camera_field=CAMERA,
            )
        )
    found: set[str] = set()
    taking = _Taking(register, known, frozenset(in_force), tell)
    for text in wanted.cameras:
        found |= taking.by_name(text)
    for text in wanted.places:
        found |= taking.by_place(text)
    if wanted.area is not None:
        found |= taking.in_area(wanted.area)
    return tuple(sorted(found))


def cameras_known(directory: Directory) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return all cameras that a directory knows, and those that a box in force watches, sorted."""
    boxes = [p for p in directory.principals.values() if BOX in p.duties]
    known = {camera for box in boxes for camera in box.tells_of}
    in_force = {c for box in boxes if box.revoked_at_ms is None for c in box.tells_of}
    return tuple(sorted(known)), tuple(sorted(in_force))


def place_text(one: CameraPlace) -> str:
    """Return a camera's place with its other names: ``Lobby (로비), Hall A``."""
    names = ", ".join(dict.fromkeys(name for name in one.names.values() if name != one.place))
    words = f"{one.place} ({names})" if names else one.place
    return f"{words}, {one.room}" if one.room else words


def places_text(cameras: Sequence[str], register: Places | None) -> str:
    """Say how many of some cameras are at which place; empty where no register is at hand."""
    if register is None:
        return ""
    placed = [register.cameras.get(camera) for camera in cameras]
    counts = Counter(place_text(one) for one in placed if one is not None)
    said = [
        phrase("{count} at {place}", count=count, place=place)
        for place, count in counts.most_common()
    ]
    if unplaced := sum(one is None for one in placed):
        said.append(phrase("{count} that the register of places does not list", count=unplaced))
    some, more = together(said[:_SHOWN], "; "), len(said) - _SHOWN
    if more <= 0:
        return some
    return phrase("{some} and {more} more places", some=some, more=more)


def few(names: Collection[str]) -> Phrase:
    """Return some names in a line, and how many more there are."""
    some, more = ", ".join(list(names)[:_SHOWN]), len(names) - _SHOWN
    if more <= 0:
        return phrase("{names}", names=some)
    return phrase("{names} and {more} more", names=some, more=more)


@dataclass(frozen=True, slots=True)
class _Taking:
    """Takes cameras by one thing that was asked for, and tells which."""

    register: Places | None
    known: tuple[str, ...]
    in_force: frozenset[str]
    tell: Tell

    def by_name(self, text: str) -> set[str]:
        if text in self.known:
            return {text}
        if _GLOB & set(text):
            taken = {camera for camera in self.known if fnmatchcase(camera, text)}
            taken |= self._placed(_matching(text))
            if taken:
                return self._told(_given(CAMERA, text), taken)
            near = ""
        else:
            near = next(iter(difflib.get_close_matches(text, self.known, n=1)), "")
        hint = (
            phrase("did you mean '{near}'?", near=near)
            if near
            else phrase("known are {names}", names=few(self.known))
        )
        if self._placed(_matching(text)):
            hint = phrase(
                "a place is called so: give {place_field} '{text}'",
                place_field=PLACE,
                text=text,
            )
        raise DraftInvalid(
            phrase(
                "the site has no camera '{text}'; {hint}",
                text=text,
                hint=hint,
            )
        )

    def by_place(self, text: str) -> set[str]:
        taken = self._placed(_matching(text))
        if taken:
            return self._told(_given(PLACE, text), taken)
        names = {name for one in self._listed() for name in _names(one)}
        folded = {_folded(name): name for name in sorted(names)}
        near = difflib.get_close_matches(_folded(text), folded, n=1)
        places = sorted({one.place for one in self._listed()})
        hint = (
            phrase("did you mean '{near}'?", near=folded[near[0]])
            if near
            else phrase("there are {names}", names=few(places))
        )
        raise DraftInvalid(
            phrase(
                "the register has no place '{text}'; {hint}",
                text=text,
                hint=hint,
            )
        )

    def in_area(self, path: Path) -> set[str]:
        area = read_area(path)
        register = self.register
        if register is None or not register.axes:
            raise DraftInvalid(
                phrase(
                    "the register of places has no positions, so no camera is in an area; name "
                    "places with {place_field}",
                    place_field=PLACE,
                )
            )
        taken, unplaced = set(), []
        for one in self._listed():
            if one.position is None:
                unplaced.append(one.camera)
                continue
            first, second = one.position
            east, north = (second, first) if register.axes[0] == "lat" else (first, second)
            if area.holds(east, north):
                taken.add(one.camera)
        unplaced += sorted(self.in_force - register.cameras.keys())
        if unplaced:
            words = phrase(
                "not in the area, as no position of theirs is known: {unplaced}",
                unplaced=few(unplaced),
            )
            self.tell(Notice(words, warning=True))
        if not taken:
            raise DraftInvalid(
                phrase(
                    "no camera of the register is in the area of {path}",
                    path=path,
                )
            )
        return self._told(phrase("{field} {given}", field=AREA, given=path), taken)

    def _listed(self) -> Iterator[CameraPlace]:
        """Yield the places of cameras that a box in force watches."""
        for one in () if self.register is None else self.register.cameras.values():
            if one.camera in self.in_force:
                yield one

    def _placed(self, fits: Callable[[str], bool]) -> set[str]:
        listed = () if self.register is None else self.register.cameras.values()
        return {one.camera for one in listed if any(fits(name) for name in _names(one))}

    def _told(self, asked: str, taken: set[str]) -> set[str]:
        """Say what was taken, and leave out what no box in force watches.

        Raises:
            DraftInvalid: nothing is left.
        """
        chosen = sorted(taken & self.in_force)
        if gone := sorted(taken - self.in_force):
            words = phrase(
                "{asked} leaves out, because no box in force watches them: {gone}; for what "
                "they saw before, name them with {camera_field}",
                asked=asked,
                gone=few(gone),
                camera_field=CAMERA,
            )
            self.tell(Notice(words))
        if not chosen:
            raise DraftInvalid(
                phrase(
                    "{asked} names no camera that a box in force watches",
                    asked=asked,
                )
            )
        self.tell(
            Notice(
                phrase(
                    "{asked} takes {count}: {chosen}",
                    asked=asked,
                    count=len(chosen),
                    chosen=few(chosen),
                )
            )
        )
        return set(chosen)


def _given(field: Phrase, text: str) -> Phrase:
    return phrase("{field} '{given}'", field=field, given=text)


def _names(one: CameraPlace) -> Iterator[str]:
    """Yield what a camera's place is called, and each with its room."""
    for name in dict.fromkeys((one.place, *one.names.values())):
        yield name
        if one.room:
            yield f"{name}/{one.room}"


def _matching(text: str) -> Callable[[str], bool]:
    """Return what tells whether a place is meant by a text; letters' case does not matter."""
    wanted = _folded(text)
    if _GLOB & set(text):
        return lambda name: fnmatchcase(_folded(name), wanted)
    return lambda name: _folded(name) == wanted


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())
