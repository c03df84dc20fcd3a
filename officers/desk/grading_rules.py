"""The rules by which contacts are graded: read from a preset, ours or the site's own, and checked.

What is not known is never weighed less than anything that could be: it has the largest weight there
is. So a preset states no weight for it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from officers.desk.phrases import phrase
from protocol.sightings import MaskStatus
from runtime.config import Section, load
from runtime.errors import OperationError
from runtime.fsio import read_file

_FOLDER = "presets"
_SUFFIX = ".toml"
_MAX_BYTES = 1 << 16
_MOST_DAYS = 400
_MOST_MINUTES = 100_000.0

Days = Annotated[int, Field(ge=0, le=_MOST_DAYS)]
Weight = Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]
Minutes = Annotated[float, Field(ge=0, le=_MOST_MINUTES, allow_inf_nan=False)]
Source = Annotated[str, Field(min_length=1, max_length=4000)]


class PresetInvalid(OperationError):
    """There is no such preset, or its file is none."""


class InfectiousPart(Section):
    """When somebody is infectious, in whole days about the day on which it began."""

    onset_of: Annotated[str, Field(min_length=1, max_length=200)]
    before_onset_days: Days
    after_onset_days: Days
    before_test_days: Days | None = None
    after_test_days: Days | None = None
    source: Source

    @model_validator(mode="after")
    def _both_of_a_test(self) -> InfectiousPart:
        if (self.before_test_days is None) != (self.after_test_days is None):
            raise ValueError("needs before_test_days and after_test_days, or neither")
        return self


class ScorePart(Section):
    """From how many weighted minutes on a contact has a level; a level that is absent is not used.

    Zero means: from anything that counts at all.
    """

    within_hours: Annotated[int, Field(ge=1, le=24 * _MOST_DAYS)] | None = None
    high: Minutes
    medium: Minutes | None = None
    low: Minutes | None = None
    source: Source

    @model_validator(mode="after")
    def _rise(self) -> ScorePart:
        listed = [one for one in (self.high, self.medium, self.low) if one is not None]
        if listed != sorted(listed, reverse=True):
            raise ValueError("needs high to be no less than medium, and medium no less than low")
        return self


class Band(Section):
    """What a minute weighs up to a distance."""

    up_to_m: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
    weight: Weight


class DistancePart(Section):
    """What a minute weighs by distance."""

    bands: Annotated[tuple[Band, ...], Field(max_length=16)] = ()
    beyond: Weight
    source: Source

    @field_validator("bands")
    @classmethod
    def _rise(cls, value: tuple[Band, ...]) -> tuple[Band, ...]:
        ends = [band.up_to_m for band in value]
        if ends != sorted(set(ends)):
            raise ValueError("needs up_to_m to rise from band to band")
        return value


class MasksPart(Section):
    """What a minute weighs if one of both wears a mask; without one it is 1."""

    patient: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 1.0
    contact: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 1.0
    sure_from: Annotated[float, Field(ge=0.5, le=1, allow_inf_nan=False)] = 0.8
    source: Source


class PlacesPart(Section):
    """What a minute weighs outdoors; indoors it is 1."""

    outdoors: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 1.0
    source: Source


class Preset(Section):
    """A preset's file."""

    # "schema" is what it is called in the file; pydantic has a method of that name.
    edition: Annotated[Literal[1], Field(alias="schema")]
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    title: Annotated[str, Field(min_length=1, max_length=100)]
    infectious: InfectiousPart
    score: ScorePart
    distance: DistancePart
    masks: MasksPart
    places: PlacesPart

    @field_validator("title")
    @classmethod
    def _printable(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError("must be a printable text")
        return value


@dataclass(frozen=True, slots=True)
class Weighing:
    """What a minute weighs for one reason, and that reason in words."""

    weight: float
    words: str


@dataclass(frozen=True, slots=True)
class Rules:
    """By what contacts are graded.

    Args:
        preset: as read from its file.
        digest: SHA-256 of that file, hex, so that a list can say by which rules it was graded.
        own: whether it is the site's own file, and none of ours.
    """

    preset: Preset
    digest: str
    own: bool = False

    @property
    def name(self) -> str:
        """The preset's name."""
        return self.preset.name

    @property
    def title(self) -> str:
        """The disease, for people."""
        return self.preset.title

    @property
    def sources(self) -> dict[str, str]:
        """Where the figures of each part come from."""
        one = self.preset
        said = {
            "infectious window": one.infectious.source,
            "score": one.score.source,
            "distance": one.distance.source,
            "masks": one.masks.source,
            "places": one.places.source,
        }
        return {name: " ".join(source.split()) for name, source in said.items()}

    def level(self, points: float) -> str:
        """Return the level of so many weighted minutes: high, medium, low or none."""
        score = self.preset.score
        for name, least in (("high", score.high), ("medium", score.medium), ("low", score.low)):
            if least is not None and points > 0 and points >= least:
                return name
        return "none"

    def distance(self, metres: float | None) -> Weighing:
        """Return what a minute weighs at a distance; at one that is not known, the most."""
        part = self.preset.distance
        if metres is None:
            worst = max([part.beyond, *(band.weight for band in part.bands)])
            return Weighing(worst, "distance not known, taken as the nearest")
        for band in part.bands:
            if metres <= band.up_to_m:
                return Weighing(band.weight, f"{metres:.1f} m")
        return Weighing(part.beyond, f"{metres:.1f} m")

    def mask(self, who: str, status: MaskStatus, confidence: float) -> Weighing:
        """Return what a minute weighs by a mask, which counts only where it is sure.

        Args:
            who: ``patient`` or ``contact``.
        """
        part = self.preset.masks
        if status == MaskStatus.UNKNOWN:
            return Weighing(1.0, f"{who}'s mask not known, taken as none")
        if status == MaskStatus.UNMASKED:
            return Weighing(1.0, f"{who} without mask")
        if confidence < part.sure_from:
            return Weighing(1.0, f"{who}'s mask not sure ({confidence:.0%}), taken as none")
        return Weighing(part.patient if who == "patient" else part.contact, f"{who} masked")

    def place(self, indoor: bool | None) -> Weighing:
        """Return what a minute weighs indoors or outdoors; not known counts as indoors."""
        if indoor is None:
            return Weighing(1.0, "in or outdoors not known, taken as indoors")
        return (
            Weighing(1.0, "indoors")
            if indoor
            else Weighing(self.preset.places.outdoors, "outdoors")
        )


def preset_names() -> tuple[str, ...]:
    """Return the names of our own presets, sorted."""
    folder = resources.files("officers") / _FOLDER
    names = (entry.name for entry in folder.iterdir())
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)))


def rules_of(preset: str) -> Rules:
    """Return the rules of one of our own presets, or of the site's own file.

    Args:
        preset: a preset's name; or the path of a file, which has a slash in it or ends in .toml.

    Raises:
        PresetInvalid: there is no such preset, or the file cannot be used.
    """
    if "/" in preset or preset.endswith(_SUFFIX):
        return _read(Path(preset), own=True)
    if preset not in preset_names():
        raise PresetInvalid(
            phrase(
                "there is no preset {preset!r}; there are {preset_names}, and files of your own: "
                "--preset ./our-rules.toml",
                preset=preset,
                preset_names=", ".join(preset_names()),
            )
        )
    return _packaged(preset)


@cache
def _packaged(name: str) -> Rules:
    with resources.as_file(resources.files("officers") / _FOLDER / f"{name}{_SUFFIX}") as path:
        return _read(path, own=False)


def _read(path: Path, *, own: bool) -> Rules:
    try:
        digest = hashlib.sha256(read_file(path, _MAX_BYTES)).hexdigest()
        preset = load(path, Preset, hint="see officers/presets/ for what a preset says")
    except OperationError as error:
        raise PresetInvalid(
            phrase(
                "the preset cannot be used: {error}",
                error=error,
            )
        ) from error
    return Rules(preset, digest, own)
