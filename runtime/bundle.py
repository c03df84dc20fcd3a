"""Read a signed model bundle: nothing in it is believed before signature and hashes are checked.

A bundle is a folder: ``manifest.json`` (what each model file is and how to feed it),
``manifest.sig`` (who vouches for the manifest) and the model files (docs/models.md). Each line of
``manifest.sig`` reads ``ed25519 <public key, hex> <signature, hex>``; the signature covers
``MANIFEST_DOMAIN`` followed by the bytes of ``manifest.json``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from protocol.keytree import APPEARANCE, FACE, Modality
from runtime.errors import OperationError
from runtime.fsio import FileProblem, atomic_write, read_file

MANIFEST_NAME = "manifest.json"
SIGNATURE_NAME = "manifest.sig"
MANIFEST_FORMAT: Literal["sealtrace-bundle/1"] = "sealtrace-bundle/1"
MANIFEST_DOMAIN = b"sealtrace model bundle manifest v1\x00"
MAX_MANIFEST_BYTES = 1 << 20
MAX_MODEL_BYTES = 1 << 30

Role = Literal[
    "face_detector", "face_embedder", "mask_status", "person_detector", "appearance_embedder"
]
MODALITY_OF: dict[Role, Modality] = {"face_embedder": FACE, "appearance_embedder": APPEARANCE}
"""What the templates of each role that makes any are made of; such a role may be an ensemble."""
_EMBEDDERS: dict[Modality, Role] = {modality: role for role, modality in MODALITY_OF.items()}
_MODEL_ID = re.compile(
    r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}?(?:-(?P<dim>[1-9][0-9]{0,4}))?@[0-9a-f]{8}$"
)


class BundleError(OperationError):
    """The model bundle cannot be used."""


class BundleSignatureInvalid(BundleError):
    """No key trusted on this machine has signed the manifest as it stands."""


class BundleFileAltered(BundleError):
    """A model file is missing, or is not the one the manifest names (size or SHA-256)."""


class BundleManifestInvalid(BundleError):
    """The manifest is signed but does not follow the format."""


class BundleRoleMissing(BundleError):
    """The bundle has no model for a role that is needed here."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class TensorSpec(_Part):
    """One input or output of a model; -1 in ``shape`` stands for a free dimension."""

    name: str = ""
    shape: tuple[int, ...]
    dtype: Literal["float32", "float16", "int8", "uint8", "int32", "int64"] = "float32"
    layout: Literal["NCHW", "NHWC", ""] = ""
    colour: Literal["RGB", "BGR", "GRAY", ""] = ""


class Preprocessing(_Part):
    """How a crop becomes an input: aligned, then ``(x - mean) / std`` of pixels 0..255."""

    alignment: Literal["none", "arcface-112", "resize"] = "none"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)


class ModelEntry(_Part):
    """One model file of a bundle: what it is for, what it must hash to, how to run it."""

    role: Role
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    model_id: Annotated[str, Field(max_length=96)]
    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=1, le=MAX_MODEL_BYTES)]
    engine: Literal["yunet", "onnx", "litert"]
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    preprocessing: Preprocessing = Preprocessing()
    space: Annotated[str, Field(max_length=96)] = ""
    """Model id of the embedder with whose templates this one's compare: it makes those of crops
    that show a mask, and was taught to agree with it. Empty: its own id names its space."""
    threshold: float | None = None
    false_match_rate: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Chance that two strangers score above ``threshold`` (embedders): shown before approval."""
    parameters: dict[str, float | int | str | bool | tuple[float, ...] | tuple[str, ...]] = {}
    """What else this model's code needs (calibration, class names, two-sided thresholds)."""
    licence: Annotated[str, Field(min_length=1)]
    upstream: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def _id_names_the_file(self) -> ModelEntry:
        match = _MODEL_ID.match(self.model_id)
        if match is None or not self.model_id.endswith("@" + self.sha256[:8]):
            raise ValueError(
                f"model_id {self.model_id!r} must be <name>-<dim>@{self.sha256[:8]} "
                "(the last part is the start of the file's sha256)"
            )
        if self.role in MODALITY_OF and match["dim"] is None:
            raise ValueError(f"model_id {self.model_id!r} of an embedder must name its dimension")
        if self.space and self.role not in MODALITY_OF:
            raise ValueError(f"{self.model_id!r} makes no templates: it has no space")
        return self

    @property
    def dimension(self) -> int:
        """Length of the template this embedder makes; 0 for a model that is not an embedder."""
        match = _MODEL_ID.match(self.model_id)
        return int(match["dim"]) if match and match["dim"] and self.role in MODALITY_OF else 0


class Manifest(_Part):
    """The content of ``manifest.json``."""

    format: Literal["sealtrace-bundle/1"] = MANIFEST_FORMAT
    name: Annotated[str, Field(min_length=1, max_length=64)]
    version: Annotated[str, Field(min_length=1, max_length=64)]
    models: Annotated[tuple[ModelEntry, ...], Field(min_length=1, max_length=32)]

    @model_validator(mode="after")
    def _one_model_a_role(self) -> Manifest:
        files = [entry.file for entry in self.models]
        if len(set(files)) != len(files):
            raise ValueError("two models name the same file")
        if {MANIFEST_NAME, SIGNATURE_NAME} & set(files):
            raise ValueError("a model may not be called like the manifest or its signature")
        roles = [entry.role for entry in self.models if entry.role not in MODALITY_OF]
        for role in set(roles):
            if roles.count(role) > 1:
                raise ValueError(f"role {role} is given twice; only embedders may be an ensemble")
        for entry in self.models:
            if entry.space:
                self._check_space(entry)
        return self

    def _check_space(self, entry: ModelEntry) -> None:
        alike = [other for other in self.models if other.role == entry.role]
        if [other.model_id for other in alike if not other.space] != [entry.space]:
            raise ValueError(
                f"{entry.model_id} lies in the space of {entry.space}, which must be the one "
                f"{entry.role} with a space of its own"
            )
        if len(alike) != 2 or len({other.dimension for other in alike}) != 1:
            raise ValueError(
                f"the space of {entry.space} takes one more network, of as many numbers"
            )

    def to_bytes(self) -> bytes:
        """Return the bytes to write to ``manifest.json`` and to sign."""
        return self.model_dump_json(indent=2).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose signature and file hashes held when it was loaded."""

    folder: Path
    manifest: Manifest
    signer: bytes
    """Raw Ed25519 public key (32 bytes) under which the manifest verified."""

    def entries(self, role: Role) -> tuple[ModelEntry, ...]:
        """Return the models of ``role`` in the manifest's order; empty when there is none."""
        return tuple(entry for entry in self.manifest.models if entry.role == role)

    def entry(self, role: Role) -> ModelEntry:
        """Return the first model of ``role``.

        Raises:
            BundleRoleMissing: the bundle has none.
        """
        found = self.entries(role)
        if not found:
            raise BundleRoleMissing(
                f"the model bundle {self.folder} has no {role}; "
                "build or install a bundle that has one (`sealtrace models build`)"
            )
        return found[0]

    def path(self, entry: ModelEntry) -> Path:
        """Return where the file of ``entry`` lies; prefer `read`, which checks what it returns."""
        return self.folder / entry.file

    def read(self, entry: ModelEntry) -> bytes:
        """Return the file's content, hashed again, so that what runs is what was signed.

        Raises:
            BundleFileAltered: size or SHA-256 differ from the manifest's, or it is gone.
        """
        path = self.path(entry)
        try:
            if path.is_symlink():
                raise BundleFileAltered(
                    f"the model file {path} is a symbolic link; copy the file into the bundle"
                )
            data = read_file(path, entry.size)
        except FileProblem as error:
            raise BundleFileAltered(
                f"the model file {path} is not the one that was signed: {error}"
            ) from error
        if len(data) != entry.size or hashlib.sha256(data).hexdigest() != entry.sha256:
            raise BundleFileAltered(
                f"the model file {path} is not the one that was signed (size or sha256 differs); "
                "install the bundle again"
            )
        return data

    def model_id(self, modality: Modality) -> str:
        """Return the id that templates of ``modality`` carry; ensembles are joined with ``+``.

        It names the space in which they compare, whichever of its networks made them.

        Raises:
            BundleRoleMissing: the bundle has no embedder for that modality.
        """
        return "+".join(entry.model_id for entry in self._spaces(modality))

    def models(self) -> dict[str, str]:
        """Return modality to the id that its templates carry, of those that it has networks for."""
        return {
            modality: self.model_id(modality)
            for modality, role in _EMBEDDERS.items()
            if self.entries(role)
        }

    def embedders(self) -> tuple[ModelEntry, ...]:
        """Return the networks that make templates, in the manifest's order."""
        return tuple(entry for entry in self.manifest.models if entry.role in MODALITY_OF)

    def dimension(self, modality: Modality) -> int:
        """Return the length of a template of ``modality`` (all models of an ensemble together).

        Raises:
            BundleRoleMissing: the bundle has no embedder for that modality.
        """
        return sum(entry.dimension for entry in self._spaces(modality))

    def _spaces(self, modality: Modality) -> list[ModelEntry]:
        self.entry(_EMBEDDERS[modality])
        return [entry for entry in self.entries(_EMBEDDERS[modality]) if not entry.space]


def load_bundle(
    path: Path, trusted_keys: Sequence[bytes], *, roles: Collection[Role] | None = None
) -> Bundle:
    """Open the bundle in folder ``path`` and check all of it: signature, format, every file.

    Args:
        path: the bundle's folder.
        trusted_keys: raw Ed25519 public keys (32 bytes each) that may vouch for models here.
        roles: check (and require) only the files of these roles; all files when None.

    Raises:
        BundleSignatureInvalid: unsigned, signed by nobody trusted, or the manifest was changed.
        BundleManifestInvalid: signed, but not a manifest this version understands.
        BundleFileAltered: a model file is missing or differs from what was signed.
        BundleRoleMissing: one of ``roles`` has no model.
    """
    try:
        manifest_bytes = read_file(path / MANIFEST_NAME, MAX_MANIFEST_BYTES)
        signatures = read_file(path / SIGNATURE_NAME, MAX_MANIFEST_BYTES)
    except FileProblem as error:
        raise BundleSignatureInvalid(
            f"{path} is not a signed model bundle: {error}; put the site's there, or build one "
            "with `sealtrace models build`"
        ) from error
    signer = _verified_signer(path, manifest_bytes, signatures, trusted_keys)
    try:
        manifest = Manifest.model_validate_json(manifest_bytes)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "top level"
        raise BundleManifestInvalid(
            f"{path / MANIFEST_NAME}, {where}: {first['msg']}; it was made for another version, "
            "or by hand: build the bundle again"
        ) from error
    bundle = Bundle(folder=path, manifest=manifest, signer=signer)
    for role in roles or ():
        bundle.entry(role)
    for entry in manifest.models:
        if roles is None or entry.role in roles:
            bundle.read(entry)
    return bundle


def sign_manifest(manifest: bytes, seed: bytes) -> bytes:
    """Return the content of ``manifest.sig`` for these manifest bytes.

    Args:
        manifest: the exact bytes of ``manifest.json``.
        seed: the signer's raw Ed25519 private key, 32 bytes.
    """
    key = Ed25519PrivateKey.from_private_bytes(seed)
    signature = key.sign(MANIFEST_DOMAIN + manifest)
    return f"ed25519 {key.public_key().public_bytes_raw().hex()} {signature.hex()}\n".encode()


def write_manifest(folder: Path, manifest: Manifest, seed: bytes) -> None:
    """Sign ``manifest`` and write both its files into ``folder``, beside the model files.

    Raises:
        FileProblem: they cannot be written.
    """
    data = manifest.to_bytes()
    atomic_write(folder / MANIFEST_NAME, data)
    atomic_write(folder / SIGNATURE_NAME, sign_manifest(data, seed))


def _verified_signer(
    path: Path, manifest: bytes, signatures: bytes, trusted_keys: Sequence[bytes]
) -> bytes:
    trusted = {bytes(key) for key in trusted_keys}
    seen: list[str] = []
    for line in signatures.decode("ascii", errors="replace").splitlines():
        try:
            algorithm, key_hex, signature_hex = line.split()
            key, signature = bytes.fromhex(key_hex), bytes.fromhex(signature_hex)
        except ValueError:
            continue
        seen.append(key_hex[:16])
        if algorithm != "ed25519" or key not in trusted:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(signature, MANIFEST_DOMAIN + manifest)
        except (InvalidSignature, ValueError):
            continue
        return key
    by = f"signed by {', '.join(seen)}" if seen else "not signed"
    raise BundleSignatureInvalid(
        f"the model bundle {path} is {by}, and no key trusted here vouches for its manifest as it "
        "stands; install a bundle signed by your site, or add the signer's key to the trusted keys"
    )
