"""What a person wears, drawn at random: a description that `dressing` paints onto a figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .anatomy import Floats
from .colours import BAGS, HAIR, LOWER, SHOES, UPPER, Kind, Rng, colour, skin

PatternKind = Literal[
    "plain", "hoops", "pinstripes", "checks", "two-tone", "sleeves", "chest", "back", "mottled"
]
HeadWear = Literal["none", "cap", "beanie", "hood", "headscarf"]


@dataclass(frozen=True, slots=True)
class Pattern:
    """How a garment's second colour lies on it; `period` in dm, `place` in 0..1 of its height."""

    kind: PatternKind
    colour: Floats
    period: float
    place: float


@dataclass(frozen=True, slots=True)
class Upper:
    """A garment of the upper body.

    `sleeve`: share of the arm that it covers; `hem`: how far below the hip joint it ends, in leg
    lengths (negative: above it); `bulk`: how far it stands off the body, dm; `opening`: half width
    of an open front in dm (0: closed) that shows `inner`; `quilted`: a padded jacket's ridges.
    """

    colour: Floats
    pattern: Pattern
    sleeve: float
    hem: float
    bulk: float
    opening: float
    inner: Floats
    quilted: bool
    folds: float


@dataclass(frozen=True, slots=True)
class Lower:
    """Trousers or a skirt; `length` in leg lengths; `stripe`: down the sides, else None."""

    colour: Floats
    pattern: Pattern
    is_skirt: bool
    length: float
    bulk: float
    faded: bool
    stripe: Floats | None
    legs: Floats | None
    folds: float


@dataclass(frozen=True, slots=True)
class Bag:
    """Something carried: `place` says where, `size` half widths in dm, `strap` across the body."""

    place: Literal["back", "hip", "hand"]
    left: bool
    colour: Floats
    size: tuple[float, float, float]
    strap: bool


@dataclass(frozen=True, slots=True)
class Outfit:
    """All that can be seen of a person besides the body's shape; colours are (3,) BGR."""

    upper: Upper
    lower: Lower
    skin: Floats
    shoes: Floats
    sole: Floats
    boots: float
    hair: Floats
    long_hair: float
    bald: bool
    headwear: HeadWear
    headwear_colour: Floats
    mask: Floats | None
    scarf: Floats | None
    gloves: Floats | None
    bags: tuple[Bag, ...]


def draw_outfit(rng: Rng, *, woman: bool) -> Outfit:
    """Draw what somebody wears."""
    tone = skin(rng)
    upper = _upper(rng)
    lower = _lower(rng, upper, woman=woman)
    worn: tuple[HeadWear, ...] = ("none", "cap", "beanie", "hood", "headscarf")
    headwear = worn[int(rng.choice(len(worn), p=[0.74, 0.1, 0.05, 0.05, 0.06]))]
    if headwear == "headscarf" and not woman:
        headwear = "none"
    kinds = ((_backpack, 0.2), (_shoulder_bag, 0.17), (_carried, 0.17))
    bags = tuple(draw(rng) for draw, share in kinds if rng.random() < share)
    return Outfit(
        upper=upper,
        lower=lower,
        skin=tone,
        shoes=colour(rng, SHOES),
        sole=colour(rng, {"light": 0.6, "dark": 0.4}),
        boots=float(rng.uniform(0.7, 0.92)) if rng.random() < 0.12 else 1.0,
        hair=colour(rng, HAIR),
        long_hair=float(rng.uniform(0.3, 1.0)) if rng.random() < (0.62 if woman else 0.06) else 0.0,
        bald=(not woman) and rng.random() < 0.14,
        headwear=headwear,
        headwear_colour=upper.colour if headwear == "hood" else colour(rng, UPPER),
        mask=_mask(rng) if rng.random() < 0.35 else None,
        scarf=colour(rng, UPPER) if rng.random() < 0.09 else None,
        gloves=colour(rng, SHOES) if rng.random() < 0.05 else None,
        bags=bags,
    )


def _upper(rng: Rng) -> Upper:
    coat = rng.random() < 0.24
    jacket = not coat and rng.random() < 0.35
    sleeve = (
        1.0
        if coat or jacket
        else float(rng.choice([1.0, 0.35, 0.45, 0.0, 0.7], p=[0.5, 0.2, 0.16, 0.08, 0.06]))
    )
    hem = float(rng.uniform(0.2, 0.72) if coat else rng.uniform(-0.12, 0.16))
    main = colour(rng, UPPER)
    opening = float(rng.uniform(0.15, 0.8)) if (coat or jacket) and rng.random() < 0.5 else 0.0
    return Upper(
        colour=main,
        pattern=_pattern(rng, UPPER, plain=0.52),
        sleeve=sleeve,
        hem=hem,
        bulk=float(rng.uniform(0.25, 0.65) if coat or jacket else rng.uniform(0.04, 0.3)),
        opening=opening,
        inner=colour(rng, UPPER),
        quilted=(coat or jacket) and rng.random() < 0.3,
        folds=float(rng.uniform(0.05, 0.28)),
    )


def _lower(rng: Rng, upper: Upper, *, woman: bool) -> Lower:
    is_skirt = rng.random() < (0.26 if woman else 0.015)
    is_dress = is_skirt and rng.random() < 0.45
    short = rng.random() < 0.16
    if is_skirt:
        length = float(rng.uniform(0.3, 1.0))
    else:
        length = float(rng.uniform(0.28, 0.6)) if short else float(rng.uniform(0.88, 1.02))
    legs = colour(rng, {"dark": 0.7, "brown": 0.15, "light": 0.15})
    return Lower(
        colour=upper.colour if is_dress else colour(rng, UPPER if is_skirt else LOWER),
        pattern=upper.pattern if is_dress else _pattern(rng, LOWER, plain=0.86),
        is_skirt=is_skirt,
        length=length,
        bulk=float(rng.uniform(0.02, 0.35)),
        faded=rng.random() < 0.15,
        stripe=colour(rng, {"light": 0.7, "vivid": 0.3}) if rng.random() < 0.06 else None,
        legs=legs if is_skirt and rng.random() < 0.45 else None,
        folds=float(rng.uniform(0.05, 0.25)),
    )


def _pattern(rng: Rng, shares: dict[Kind, float], *, plain: float) -> Pattern:
    others: list[PatternKind] = [
        "hoops", "pinstripes", "checks", "two-tone", "sleeves", "chest", "back", "mottled",
    ]  # fmt: skip
    odds = [0.2, 0.06, 0.13, 0.2, 0.12, 0.14, 0.07, 0.08]
    kind: PatternKind = "plain"
    if rng.random() >= plain:
        kind = others[int(rng.choice(len(others), p=odds))]
    return Pattern(
        kind=kind,
        colour=colour(rng, shares),
        period=float(rng.uniform(0.5, 2.2)),
        place=float(rng.uniform(0.3, 0.8)),
    )


def _mask(rng: Rng) -> Floats:
    return colour(rng, {"light": 0.55, "blue": 0.15, "dark": 0.25, "vivid": 0.05})


def _backpack(rng: Rng) -> Bag:
    size = (rng.uniform(1.0, 1.5), rng.uniform(1.4, 2.2), rng.uniform(0.5, 1.0))
    return Bag("back", False, colour(rng, BAGS), size, strap=True)


def _shoulder_bag(rng: Rng) -> Bag:
    size = (rng.uniform(0.3, 0.6), rng.uniform(0.7, 1.3), rng.uniform(0.9, 1.5))
    return Bag("hip", rng.random() < 0.5, colour(rng, BAGS), size, strap=rng.random() < 0.7)


def _carried(rng: Rng) -> Bag:
    size = (rng.uniform(0.25, 0.6), rng.uniform(0.7, 1.7), rng.uniform(0.6, 1.3))
    kinds: dict[Kind, float] = {"light": 0.35, "vivid": 0.25, "dark": 0.25, "brown": 0.15}
    return Bag("hand", rng.random() < 0.5, colour(rng, kinds), size, strap=False)
