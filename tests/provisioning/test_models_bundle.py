"""The model bundle is built whole or not at all, signed, and checkable by anyone with the key."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from models import build as models
from models.cli import app
from models.sources import EmbedderName, sources_of
from runtime.bundle import BundleFileAltered, load_bundle
from runtime.fsio import FileProblem
from runtime.model_keys import SignerKeyInvalid, local_signer, read_public_key, read_seed
from runtime.registries import FetchError

_SEED = bytes(range(32))
_PUBLIC = Ed25519PrivateKey.from_private_bytes(_SEED).public_key().public_bytes_raw()
_RUN = CliRunner()
SFACE = "sface-128@15ee125a"


@pytest.fixture
def folder(model_bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the bundle, on a machine whose pip and npm reach nothing."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    copy = tmp_path / "models"
    shutil.copytree(model_bundle_path, copy)
    return copy


def _build(folder: Path, *, mask_model: Path | None = None) -> bool:
    _, built = models.build_bundle(
        folder,
        _SEED,
        mask_model=mask_model or models.default_mask_model(),
        cache_dir=folder.parent / "cache",
    )
    return built


def _state(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.iterdir()
        if path.is_file()
    }


@pytest.mark.models
def test_the_bundle_that_setup_made_holds_all_roles(
    model_bundle_path: Path, model_bundle_key: bytes
) -> None:
    bundle = load_bundle(model_bundle_path, [model_bundle_key])
    roles = [entry.role for entry in bundle.manifest.models]
    assert roles == [
        "face_detector",
        "face_embedder",
        "face_embedder",
        "mask_status",
        "person_detector",
        "appearance_embedder",
    ]
    assert bundle.model_id("face") == SFACE
    assert all(entry.licence and entry.upstream for entry in bundle.manifest.models)


@pytest.mark.models
def test_another_key_signs_anew_without_fetching_and_a_second_run_changes_nothing(
    folder: Path,
) -> None:
    assert _build(folder) is True
    assert load_bundle(folder, [_PUBLIC]).signer == _PUBLIC
    before = _state(folder)
    assert _build(folder) is False
    assert _state(folder) == before


@pytest.mark.models
@pytest.mark.parametrize(
    "file",
    [
        "sface.onnx",
        "sface_masked.onnx",
        "face_detection_yunet_2023mar.onnx",
        "nanodet_g_person.onnx",
    ],
)
def test_a_build_that_fails_leaves_the_old_folder_alone(folder: Path, file: str) -> None:
    (folder / file).write_bytes(b"altered")
    before = _state(folder)
    with pytest.raises(FetchError, match="could not fetch"):
        _build(folder)
    assert _state(folder) == before
    assert {path.name for path in folder.parent.iterdir()} <= {"models", "cache"}


@pytest.mark.models
def test_an_altered_file_fails_verification_and_is_named(folder: Path) -> None:
    _build(folder)
    with (folder / "mask_status.onnx").open("r+b") as stream:
        stream.seek(1000)
        stream.write(b"\xff\x00\xff")
    with pytest.raises(BundleFileAltered, match="mask_status"):
        load_bundle(folder, [_PUBLIC])
    result = _RUN.invoke(app, ["verify", str(folder), "--trusted", _PUBLIC.hex()])
    assert result.exit_code == 1
    assert "mask_status.onnx" in result.output
    assert _build(folder) is True
    load_bundle(folder, [_PUBLIC])


@pytest.mark.models
def test_a_folder_with_other_files_is_not_touched(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "documents"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(models.ModelBuildError, match="other files"):
        _build(other)
    assert (other / "thesis.txt").read_text() == "mine"


@pytest.mark.models
def test_a_missing_or_foreign_mask_classifier_is_a_clear_error(
    folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(models.ModelBuildError, match="not there"):
        _build(folder, mask_model=tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(models.ModelBuildError, match="not a mask classifier"):
        _build(folder, mask_model=tmp_path / "text.onnx")
    with pytest.raises(models.ModelBuildError, match="not a mask classifier"):
        _build(folder, mask_model=folder / "face_detection_yunet_2023mar.onnx")


@pytest.mark.models
def test_the_commands_build_verify_and_show(folder: Path, tmp_path: Path) -> None:
    key = tmp_path / "site.pem"
    key.write_bytes(
        Ed25519PrivateKey.from_private_bytes(_SEED).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"open sesame"),
        )
    )
    arguments = ["build", "--out", str(folder), "--sign-key", str(key)]
    arguments += ["--cache", str(tmp_path / "cache")]
    result = _RUN.invoke(app, arguments, input="open sesame\n")
    assert result.exit_code == 0, result.output
    assert _PUBLIC.hex() in result.output
    assert _RUN.invoke(app, arguments, input="wrong\n").exit_code == 1
    public = tmp_path / "site.pub"
    public.write_text(_PUBLIC.hex() + "\n")
    for command in ("verify", "show"):
        result = _RUN.invoke(app, [command, str(folder), "--trusted", str(public)])
        assert result.exit_code == 0, result.output
    for shown in (SFACE, "MIT", "232,589", "mask_status"):
        assert shown in result.output
    result = _RUN.invoke(app, ["verify", str(folder), "--trusted", "00" * 32])
    assert result.exit_code == 1
    assert "no key trusted here" in result.output


def test_the_local_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    seed = local_signer(tmp_path / "keys")
    assert local_signer(tmp_path / "keys") == seed
    assert (tmp_path / "keys" / "model-signer.key").stat().st_mode & 0o777 == 0o600
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    assert read_public_key(str(tmp_path / "keys" / "model-signer.pub")) == public


@given(st.binary(max_size=200) | st.just(b"-----BEGIN PRIVATE KEY-----\nAAAA\n"))
def test_garbage_for_a_key_is_refused(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes
) -> None:
    path = tmp_path_factory.mktemp("key") / "key"
    path.write_bytes(noise)
    with pytest.raises(SignerKeyInvalid):
        read_seed(path)
    with pytest.raises(SignerKeyInvalid):
        read_public_key(str(path))


@given(st.text(alphabet="0123456789abcdefg/.", min_size=1, max_size=70))
def test_a_key_argument_is_hexadecimal_or_a_file(text: str) -> None:
    try:
        key = read_public_key(text)
    except (SignerKeyInvalid, FileProblem):
        return
    assert key.hex() == text


@pytest.mark.parametrize("embedder", ["sface", "mobilefacenet"])
def test_the_calibration_is_consistent(embedder: EmbedderName) -> None:
    (source,) = (one for one in sources_of(embedder) if one.name == embedder)
    measured = models.calibration(embedder)
    parameters = models.manifest_parameters(measured)
    thresholds = parameters["calibration.fmr.thresholds"]
    rates = parameters["calibration.fmr.rates"]
    assert isinstance(thresholds, tuple)
    assert isinstance(rates, tuple)
    assert measured["model_id"] == source.model_id
    assert list(thresholds) == sorted(thresholds)
    assert list(rates) == sorted(rates, reverse=True)
    assert measured["default_threshold_fmr"] <= 1e-5
    at_default = dict(zip(thresholds, rates, strict=True))[measured["default_threshold"]]
    assert float(str(at_default)) <= 2e-5, "bounds may lie a little above what was counted"


def test_a_bundle_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = _RUN.invoke(app, ["verify", str(tmp_path / "none")])
    assert done.exit_code == 1
    assert "is not a bundle's folder" in done.output
