"""A model bundle is believed only as far as a trusted key has signed it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.bundle import (
    BundleFileAltered,
    BundleManifestInvalid,
    BundleRoleMissing,
    BundleSignatureInvalid,
    Manifest,
    load_bundle,
    sign_manifest,
    write_manifest,
)

SEED = bytes(range(32))
TRUSTED = Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw()
STRANGER = bytes(32)


def model(folder: Path, role: str, name: str, dimension: int | None = None) -> dict[str, Any]:
    content = f"{role} {name}".encode()
    (folder / f"{name}.onnx").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    middle = f"-{dimension}" if dimension else ""
    return {
        "role": role,
        "name": name,
        "model_id": f"{name}{middle}@{digest[:8]}",
        "file": f"{name}.onnx",
        "sha256": digest,
        "size": len(content),
        "engine": "onnx",
        "inputs": [{"shape": [2, 112, 112, 3], "layout": "NHWC", "colour": "RGB"}],
        "preprocessing": {"alignment": "arcface-112", "mean": [127.5], "std": [128.0]},
        "threshold": 0.36,
        "licence": "MIT",
        "upstream": "made for this test",
    }


def write_raw(folder: Path, manifest: dict[str, Any], seed: bytes = SEED) -> None:
    data = json.dumps(manifest).encode()
    (folder / "manifest.json").write_bytes(data)
    (folder / "manifest.sig").write_bytes(sign_manifest(data, seed))


def plain(folder: Path) -> dict[str, Any]:
    return {
        "format": "sealtrace-bundle/1",
        "name": "test",
        "version": "1",
        "models": [
            model(folder, "face_detector", "yunet"),
            model(folder, "face_embedder", "mobile-face", 192),
            model(folder, "face_embedder", "second", 512),
            model(folder, "mask_status", "mask"),
        ],
    }


def test_a_signed_bundle_opens_and_names_its_models(tmp_path: Path) -> None:
    manifest = Manifest.model_validate(plain(tmp_path))
    write_manifest(tmp_path, manifest, SEED)
    bundle = load_bundle(tmp_path, [STRANGER, TRUSTED])
    assert bundle.manifest == manifest
    assert bundle.signer == TRUSTED
    first, second = bundle.entries("face_embedder")
    assert bundle.model_id("face") == f"{first.model_id}+{second.model_id}"
    assert first.model_id == f"mobile-face-192@{first.sha256[:8]}"
    assert bundle.dimension("face") == 192 + 512
    assert bundle.read(bundle.entry("mask_status")) == b"mask_status mask"
    assert first.preprocessing.std == (128.0,)


def space(folder: Path, dimension: int = 192) -> dict[str, Any]:
    """A manifest with a second network in the space of its one face embedder."""
    manifest = plain(folder)
    first = manifest["models"][1]
    second = model(folder, "face_embedder", "for-masks", dimension)
    manifest["models"][2] = {**second, "space": first["model_id"], "threshold": None}
    return manifest


def test_networks_of_one_space_make_templates_of_one_id(tmp_path: Path) -> None:
    write_raw(tmp_path, space(tmp_path))
    bundle = load_bundle(tmp_path, [TRUSTED])
    first, second = bundle.entries("face_embedder")
    assert second.space == first.model_id
    assert bundle.model_id("face") == first.model_id
    assert bundle.models() == {"face": first.model_id}
    assert bundle.dimension("face") == 192


def test_a_space_that_nobody_names_or_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    def refused(manifest: dict[str, Any], why: str) -> None:
        write_raw(tmp_path, manifest)
        with pytest.raises(BundleManifestInvalid, match=why):
            load_bundle(tmp_path, [TRUSTED])

    longer = space(tmp_path, 512)
    refused(longer, "of as many numbers")
    elsewhere = space(tmp_path)
    elsewhere["models"][2]["space"] = "other-192@00000000"
    refused(elsewhere, "lies in the space of other-192@00000000")
    ensemble = space(tmp_path)
    ensemble["models"].append(model(tmp_path, "face_embedder", "third", 192))
    refused(ensemble, "which must be the one")
    two = space(tmp_path)
    third = model(tmp_path, "face_embedder", "third", 192)
    two["models"].append({**third, "space": two["models"][1]["model_id"]})
    refused(two, "takes one more network")
    mask = plain(tmp_path)
    mask["models"][3]["space"] = mask["models"][1]["model_id"]
    refused(mask, "it has no space")


def test_a_role_that_is_not_there_is_named(tmp_path: Path) -> None:
    write_raw(tmp_path, plain(tmp_path))
    bundle = load_bundle(tmp_path, [TRUSTED])
    with pytest.raises(BundleRoleMissing, match="appearance_embedder"):
        bundle.model_id("appearance")
    with pytest.raises(BundleRoleMissing, match="person_detector"):
        load_bundle(tmp_path, [TRUSTED], roles=["person_detector"])


def test_unsigned_stranger_signed_and_changed_manifests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleSignatureInvalid, match="not a signed model bundle"):
        load_bundle(tmp_path, [TRUSTED])
    write_raw(tmp_path, plain(tmp_path), seed=b"\x07" * 32)
    with pytest.raises(BundleSignatureInvalid, match="no key trusted"):
        load_bundle(tmp_path, [TRUSTED])
    write_raw(tmp_path, plain(tmp_path))
    with pytest.raises(BundleSignatureInvalid):
        load_bundle(tmp_path, [])
    path = tmp_path / "manifest.json"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(BundleSignatureInvalid, match="as it stands"):
        load_bundle(tmp_path, [TRUSTED])


def test_the_signature_is_checked_before_the_manifest_is_parsed(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(b"\xff not json")
    (tmp_path / "manifest.sig").write_bytes(sign_manifest(b"something else", SEED))
    with pytest.raises(BundleSignatureInvalid):
        load_bundle(tmp_path, [TRUSTED])


def test_a_signature_over_the_bare_bytes_does_not_count(tmp_path: Path) -> None:
    data = json.dumps(plain(tmp_path)).encode()
    bare = Ed25519PrivateKey.from_private_bytes(SEED).sign(data)
    (tmp_path / "manifest.json").write_bytes(data)
    (tmp_path / "manifest.sig").write_text(f"ed25519 {TRUSTED.hex()} {bare.hex()}\n")
    with pytest.raises(BundleSignatureInvalid):
        load_bundle(tmp_path, [TRUSTED])


def test_one_of_several_signatures_is_enough(tmp_path: Path) -> None:
    write_raw(tmp_path, plain(tmp_path))
    signature = tmp_path / "manifest.sig"
    other = sign_manifest((tmp_path / "manifest.json").read_bytes(), b"\x07" * 32)
    signature.write_bytes(other + b"garbage line\n" + signature.read_bytes())
    assert load_bundle(tmp_path, [TRUSTED]).signer == TRUSTED


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)


def _relink(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@pytest.mark.parametrize(
    "alter",
    [
        _flip,
        _relink,
        Path.unlink,
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes() + b"x"),
    ],
    ids=["flipped bit", "symbolic link", "missing", "truncated", "longer"],
)
def test_an_altered_model_file_is_refused(tmp_path: Path, alter: Callable[[Path], Any]) -> None:
    write_raw(tmp_path, plain(tmp_path))
    bundle = load_bundle(tmp_path, [TRUSTED])
    alter(tmp_path / "yunet.onnx")
    with pytest.raises(BundleFileAltered, match=r"yunet\.onnx"):
        load_bundle(tmp_path, [TRUSTED])
    with pytest.raises(BundleFileAltered):
        bundle.read(bundle.entry("face_detector"))
    load_bundle(tmp_path, [TRUSTED], roles=["mask_status"])


@pytest.mark.parametrize(
    "name", ["../yunet.onnx", "/etc/passwd", "a/b.onnx", "..", ".hidden", "manifest.json", ""]
)
def test_file_names_that_leave_the_bundle_are_refused(tmp_path: Path, name: str) -> None:
    manifest = plain(tmp_path)
    manifest["models"][0]["file"] = name
    write_raw(tmp_path, manifest)
    with pytest.raises(BundleManifestInvalid, match=r"manifest\.json"):
        load_bundle(tmp_path, [TRUSTED])


@pytest.mark.parametrize(
    ("index", "key", "value", "complaint"),
    [
        (0, "model_id", "yunet@00000000", "sha256"),
        (1, "model_id", None, "dimension"),
        (0, "role", "oracle", "role"),
        (2, "role", "face_detector", "twice"),
        (0, "surprise", 1, "surprise"),
        (0, "size", 0, "size"),
        (0, "sha256", "xyz", "sha256"),
    ],
)
def test_a_signed_but_wrong_manifest_says_what_is_wrong(
    tmp_path: Path, index: int, key: str, value: object, complaint: str
) -> None:
    manifest = plain(tmp_path)
    entry = manifest["models"][index]
    entry[key] = f"mobile-face@{entry['sha256'][:8]}" if value is None else value
    write_raw(tmp_path, manifest)
    with pytest.raises(BundleManifestInvalid, match=complaint):
        load_bundle(tmp_path, [TRUSTED])


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(manifest=st.binary(max_size=200), signature=st.binary(max_size=300))
def test_garbage_is_never_a_bundle(tmp_path: Path, manifest: bytes, signature: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(manifest)
    (tmp_path / "manifest.sig").write_bytes(signature)
    with pytest.raises(BundleSignatureInvalid):
        load_bundle(tmp_path, [TRUSTED])


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    manifest=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["format", "name", "version", "models", "x"]), inner, max_size=4
            )
        ),
        max_leaves=8,
    )
)
def test_signed_garbage_is_a_clear_error(tmp_path: Path, manifest: object) -> None:
    data = json.dumps(manifest).encode()
    (tmp_path / "manifest.json").write_bytes(data)
    (tmp_path / "manifest.sig").write_bytes(sign_manifest(data, SEED))
    with pytest.raises(BundleManifestInvalid):
        load_bundle(tmp_path, [TRUSTED])
