"""Clothes in words: named colours of upper and lower body, out of Korean or English.

Words rank, they never filter: a camera's light makes brown of red and black of blue. What they
compare with is a signature of the same names that a board makes of a body
(`edge_agent.vision.colours`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

Colour = Literal[
    "black", "white", "grey", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown"
]
COLOURS: Final[tuple[Colour, ...]] = (
    "black", "white", "grey", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown",
)  # fmt: skip
"""The named colours, in the order of a signature's numbers."""
SIGNATURE_SIZE: Final = 2 * len(COLOURS)
"""Numbers of a signature: the colours of the upper body, then those of the lower."""
MAX_WORDS = 200
"""Most characters of a description."""

Shares = dict[Colour, float]

_COLOUR_WORDS: dict[Colour, str] = {
    "black": "black 검정 검은 검은색 까만 까망 블랙",
    "white": "white cream ivory 흰 흰색 하얀 하양 하얀색 화이트 아이보리 크림색",
    "grey": "grey gray silver charcoal 회색 그레이 은색 쥐색",
    "red": "red maroon burgundy crimson scarlet 빨간 빨강 빨간색 빨강색 붉은 레드 자주색",
    "orange": "orange 주황 주황색 오렌지색 오렌지",
    "yellow": "yellow gold golden mustard 노란 노랑 노란색 노랑색 옐로 금색",
    "green": "green olive khaki teal 초록 초록색 녹색 그린 카키 카키색 연두 연두색",
    "blue": "blue navy denim turquoise 파란 파랑 파란색 파랑색 푸른 남색 하늘색 블루 네이비 청색",
    "purple": "purple violet lilac lavender 보라 보라색 퍼플",
    "pink": "pink rose magenta 분홍 분홍색 핑크 핑크색",
    "brown": "brown beige tan camel 갈색 브라운 베이지 베이지색 밤색 고동색",
}
_DARK_WORDS = "dark deep 어두운 짙은 진한 진"
_LIGHT_WORDS = "light bright pale 밝은 연한 옅은"
_DARK: Shares = {"black": 0.5, "blue": 0.2, "grey": 0.2, "brown": 0.1}
_LIGHT: Shares = {"white": 0.5, "grey": 0.3, "brown": 0.1, "pink": 0.1}
_UPPER_WORDS = (
    "jacket coat shirt t-shirt tshirt tee sweater sweatshirt hoodie blouse top vest pullover "
    "cardigan jumper parka blazer anorak "
    "재킷 자켓 코트 셔츠 티셔츠 티 스웨터 후드 후드티 블라우스 상의 윗옷 조끼 가디건 "
    "점퍼 잠바 패딩 외투 니트"
)
_LOWER_WORDS = (
    "trousers pants jeans shorts skirt leggings slacks chinos "
    "바지 청바지 반바지 치마 스커트 레깅스 하의 슬랙스 면바지 운동복바지"
)
_WHOLE_WORDS = "dress suit overall overalls tracksuit 원피스 정장 운동복 드레스"
_BLUE_UNLESS_SAID = ("jeans", "청바지", "denim")
_FILLERS = "a an the with and in wearing of on coloured colored 입은 와 과 에 의 그리고 색"
_PARTICLES = (
    "을",
    "를",
    "에",
    "와",
    "과",
    "의",
    "이",
    "가",
    "은",
    "는",
    "랑",
    "하고",
    "색",
    "색의",
)


class ClothesNotUnderstood(ValueError):
    """A description of clothes names no colour of a garment."""


@dataclass(frozen=True, slots=True)
class Clothes:
    """What somebody wears, in named colours.

    `upper`, `lower`: shares of colours that sum to 1, empty where nothing was said; `ignored`:
    words that mean nothing here, to be shown to who wrote them.
    """

    upper: Shares
    lower: Shares
    ignored: tuple[str, ...] = ()

    def signature(self) -> tuple[float, ...]:
        """`SIGNATURE_SIZE` numbers whose squares sum to 1: roots of the shares of what was said."""
        parts = (self.upper, self.lower)
        said = sum(bool(part) for part in parts)
        return tuple(
            (part.get(colour, 0.0) / said) ** 0.5 if said else 0.0
            for part in parts
            for colour in COLOURS
        )


def parse_clothes(words: str) -> Clothes:
    """Read a description such as "red jacket, dark trousers" or "빨간 재킷, 어두운 바지".

    Colours stand before their garment; several share it. Jeans are blue unless it is said.

    Raises:
        ClothesNotUnderstood: it is too long, or no garment has a colour.
    """
    if len(words) > MAX_WORDS:
        raise ClothesNotUnderstood(
            f"the description has {len(words)} characters; say it in at most {MAX_WORDS}"
        )
    found: dict[str, Shares] = {"upper": {}, "lower": {}}
    ignored: list[str] = []
    pending: list[Shares] = []
    shade: Shares = {}
    for word in re.findall(r"[\w-]+", words.lower()):
        colour, garment = _colour(word), _garment(word)
        if colour:
            pending.append(_shaded(colour, shade))
            shade = {}
        elif garment:
            shares = _mean(pending or ([shade] if shade else []))
            if not shares and word.startswith(_BLUE_UNLESS_SAID):
                shares = {"blue": 1.0}
            for place in garment if shares else ():
                found[place] = _mean([found[place], shares]) if found[place] else shares
            pending, shade = [], {}
        elif _means(word, _DARK_WORDS):
            shade = _DARK
        elif _means(word, _LIGHT_WORDS):
            shade = _LIGHT
        elif word not in _FILLERS.split():
            ignored.append(word)
    if not found["upper"] and not found["lower"]:
        raise ClothesNotUnderstood(
            f"no garment with a colour was found in {words!r}; write for example "
            '"red jacket, dark trousers" or "빨간 재킷, 어두운 바지". Colours: '
            + ", ".join(COLOURS)
        )
    return Clothes(found["upper"], found["lower"], tuple(ignored))


def known_words() -> str:
    """Return what a description may be made of, for whoever wrote another."""
    colours = ", ".join(f"{name} ({_first_korean(said)})" for name, said in _COLOUR_WORDS.items())
    return (
        f"colours: {colours}; with dark (어두운) or light (밝은) before them. Upper body: "
        f"{_listed(_UPPER_WORDS)}. Lower body: {_listed(_LOWER_WORDS)}. Both: "
        f"{_listed(_WHOLE_WORDS)}"
    )


def _first_korean(words: str) -> str:
    return next(word for word in words.split() if not word.isascii())


def _listed(words: str) -> str:
    return ", ".join(words.split())


def _colour(word: str) -> Colour | None:
    return next((name for name, words in _COLOUR_WORDS.items() if _means(word, words)), None)


def _garment(word: str) -> tuple[str, ...]:
    """Which parts of the body a garment covers."""
    for words, places in (
        (_LOWER_WORDS, ("lower",)),
        (_WHOLE_WORDS, ("upper", "lower")),
        (_UPPER_WORDS, ("upper",)),
    ):
        if _means(word, words):
            return places
    return ()


def _means(word: str, words: str) -> bool:
    """Whether a word is one of these, with or without a Korean particle or an English plural."""
    bare = {word, word.removesuffix("s")}
    bare |= {word.removesuffix(particle) for particle in _PARTICLES}
    return bool(bare & set(words.split()))


def _shaded(colour: Colour, shade: Shares) -> Shares:
    """A colour called dark or light: mostly itself, also what a camera may make of it."""
    if not shade:
        return {colour: 1.0}
    towards: Colour = "black" if shade is _DARK else "white"
    return {colour: 1.0} if colour == towards else {colour: 0.7, towards: 0.3}


def _mean(parts: list[Shares]) -> Shares:
    mean: Shares = {}
    for part in parts:
        for colour, share in part.items():
            mean[colour] = mean.get(colour, 0.0) + share / len(parts)
    return mean
