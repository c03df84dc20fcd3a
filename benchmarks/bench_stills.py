"""What is left of other people in a still, and what stills cost a camera.

Run: `python -m benchmarks stills [--quick]` after `make setup`; one core. Faces of the project's
photographs and footage are covered as another's head in a still is, and the system's own detector
and embedder look at them where they are known to be. Against clear pictures of the same people is
what whoever has a photograph could do; covered against covered is what is left of the light, the
wall and the hair of one scene. An area of 0.5 is chance.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from benchmarks.bench_edge import STATE, load
from benchmarks.bench_people import COUNTED, _images
from benchmarks.figures import Figure
from benchmarks.printing import quiet_logs
from benchmarks.still_faces import (
    SIZES_PX,
    Face,
    covered,
    faces_of,
    is_found,
    people_of,
    separation,
    vectors_of,
)
from benchmarks.still_scenes import shown
from edge_agent.capture import Frame
from edge_agent.stills.finishing import ENLARGED
from edge_agent.stills.portrait import CELL
from edge_agent.vision.config import VisionConfig
from edge_agent.vision.models import VisionModels
from edge_agent.vision.pipeline import CameraPipeline

CELLS = (1 / 4, 1 / 3, 1 / 2, 1.0)
"""Sides of a cell that were tried, in face heights."""
_COMPARED_PX = 80


def run(state: Path = STATE, *, quick: bool = False) -> list[Figure]:
    """Measure and return the figures.

    Raises:
        BenchError: `make setup` has not been run.
    """
    quiet_logs()
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        models = load(state)
        faces = faces_of(models, state / "photos")
        people = len({one.person for one in faces})
        return [
            Figure("faces, clear", len(faces), ""),
            Figure("people", people, ""),
            *_found(models, faces[::4] if quick else faces[::2]),
            *_compared(models, faces),
            *_scenes(models, faces, quick=quick),
            *_cost(models),
        ]
    finally:
        cv2.setNumThreads(threads)


def _found(models: VisionModels, faces: list[Face]) -> list[Figure]:
    """How many faces the detector finds at each size, clear and covered."""
    detector, figures = models.detector(960, 960, VisionConfig().continue_score), []
    for size in SIZES_PX:
        clear = sum(is_found(*one.at(size)[:2], detector, ENLARGED) for one in faces)
        left = sum(is_found(*covered(one, size, CELL)[:2], detector, ENLARGED) for one in faces)
        figures += [
            Figure(f"faces of {size} px found: clear", 100 * clear / len(faces), "%"),
            Figure(f"faces of {size} px found: covered", 100 * left / len(faces), "%"),
        ]
    return figures


def _compared(models: VisionModels, faces: list[Face]) -> list[Figure]:
    """How much better mated pairs score than strangers, by the cells' size."""
    clear = np.array([one.vector for one in faces])
    other = ~np.eye(len(faces), dtype=np.bool_)
    people = people_of(faces), people_of(faces)
    whole = separation(clear @ clear.T, people, other)
    figures = [Figure("clear to clear: area", whole.area, "")]
    for cell in CELLS:

        def show(face: Face, cell: float = cell) -> tuple[np.ndarray, np.ndarray]:
            patch, _, points = covered(face, _COMPARED_PX, cell)
            return patch, points

        hidden = vectors_of(faces, models, show)
        for name, scores in (
            ("covered to clear", hidden @ clear.T),
            ("covered to covered", hidden @ hidden.T),
        ):
            found = separation(scores, people, other)
            label = f"cells of {cell:.2f} faces, {name}"
            figures += [
                Figure(f"{label}: area", found.area, ""),
                Figure(f"{label}: area, low (95 %)", found.low, ""),
                Figure(f"{label}: area, high (95 %)", found.high, ""),
            ]
    return figures


def _scenes(models: VisionModels, faces: list[Face], *, quick: bool) -> list[Figure]:
    """Stills of people beside whom a stranger's head was put."""
    found = shown(models, faces, quick=quick)
    stills = max(1, found.scenes - found.refused)
    photos = [one for one in faces if one.source.endswith((".jpg", ".png"))]
    gallery = np.array([one.vector for one in photos])
    scores = np.array(found.vectors) @ gallery.T
    people = np.array(found.people), people_of(photos)
    apart = separation(scores, people, np.ones(scores.shape, np.bool_))
    return [
        Figure("scenes with a stranger's head beside", found.scenes, ""),
        Figure("scenes without a still", found.refused, ""),
        Figure("stills with the own face found", 100 * found.own_found / stills, "%"),
        Figure("stills with the stranger's place in them", found.inside, ""),
        Figure("of these, a face found there", found.found, ""),
        Figure("stranger to clear: area", apart.area, ""),
        Figure("stranger to clear: area, low (95 %)", apart.low, ""),
        Figure("stranger to clear: area, high (95 %)", apart.high, ""),
    ]


def _cost(models: VisionModels) -> list[Figure]:
    """What stills add to a frame of a camera that people pass all the time."""
    frames, spent = 0, {False: 0.0, True: 0.0}
    stage_ms, sizes = 0.0, []
    for wanted in (False, True):
        for clip in COUNTED:
            pipeline = CameraPipeline(VisionConfig(), models, stills=partial(bool, wanted))
            images = [cv2.resize(image, (1280, 720)) for _, image in _images(clip)]
            begin = time.process_time()
            for index, image in enumerate(images):
                pipeline.process(Frame(np.asarray(image, np.uint8), 200 * index, index))
            pipeline.flush()
            spent[wanted] += time.process_time() - begin
            frames += len(images) * wanted
            stage_ms += pipeline.stats.stages["stills"].total_ms * wanted
            sizes += [len(one.jpeg) for one in pipeline.take_stills().values() if one.jpeg]
    before, after = 1000 * spent[False] / frames, 1000 * spent[True] / frames
    return [
        Figure("a frame without stills", before, "ms"),
        Figure("a frame with stills", after, "ms", "without", after / before),
        Figure("stills made", len(sizes), ""),
        Figure("a still, with all looks at its person", stage_ms / len(sizes), "ms"),
        Figure("a still's size", float(np.mean(sizes)) / 1000, "kB"),
        Figure("the largest still", max(sizes) / 1000, "kB"),
    ]
