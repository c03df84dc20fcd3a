"""Put a model bundle into the site: checked, vouched for by the authority, in each folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from protocol.signing import SigningKey, VerifyKey
from protocol.textformats import parse_toml
from provisioning.formats import layout
from provisioning.formats.layout import SitePaths
from runtime.bundle import (
    MANIFEST_NAME,
    SIGNATURE_NAME,
    Bundle,
    BundleError,
    load_bundle,
    sign_manifest,
)
from runtime.fsio import FileProblem, atomic_write, read_file
from runtime.model_keys import SIGNER_PUBLIC_NAME, read_public_key

_MAX_MANIFEST = 1 << 20


def check_bundle(bundle: Path, authority: VerifyKey, *, signer: Path | None = None) -> Bundle:
    """Open ``bundle`` and check all of it, as :func:`install_bundle` does first.

    Raises:
        BundleError: it is not whole, or not signed by ``signer``.
    """
    if not bundle.is_dir():
        raise BundleError(f"{bundle} is not there; `sealtrace models build` makes a model bundle")
    if signer is None:
        signer = bundle.absolute().parent / "keys" / SIGNER_PUBLIC_NAME
        if not signer.exists():
            raise BundleError(
                f"who signed {bundle} is not known: {signer}, which `sealtrace models build` "
                "writes, is not there. Name the public key of who signed it with --signer FILE "
                "(in site.toml: bundle_signer)"
            )
    return load_bundle(bundle, [read_public_key(str(signer)), authority.raw])


def install_bundle(
    paths: SitePaths, bundle: Path, authority: SigningKey, *, signer: Path | None = None
) -> Bundle:
    """Copy ``bundle`` into the site, add the authority's signature, give it to those who need it.

    Returns the bundle as it was given.

    Boxes, investigators and the aggregator get it as hard links where the disk allows: each folder
    is whole by itself, and the models lie on the disk once.

    Args:
        signer: public key file of who signed it; by default the key beside the bundle's folder.

    Raises:
        BundleError: it is not whole, or not signed by ``signer``.
    """
    loaded = check_bundle(bundle, authority.verify_key, signer=signer)
    staging = paths.models.with_name(".models.new")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    for entry in loaded.manifest.models:
        atomic_write(staging / entry.file, loaded.read(entry))
    manifest = read_file(bundle / MANIFEST_NAME, _MAX_MANIFEST)
    signatures = read_file(bundle / SIGNATURE_NAME, _MAX_MANIFEST)
    ours = sign_manifest(manifest, authority.seed)
    if ours not in signatures:
        signatures = signatures.rstrip(b"\n") + b"\n" + ours
    atomic_write(staging / MANIFEST_NAME, manifest)
    atomic_write(staging / SIGNATURE_NAME, signatures)
    load_bundle(staging, [authority.verify_key.raw])
    _replace_folder(staging, paths.models)
    for folder in paths.role_folders():
        if folder.parent == paths.root / "boxes" or _names_a_bundle(folder):
            link_bundle(paths, folder)
    return loaded


def link_bundle(paths: SitePaths, folder: Path) -> None:
    """Give the site's bundle to one role folder; does nothing when the site has none."""
    if not paths.models.is_dir():
        return
    staging = folder / ".models.new"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        shutil.copytree(paths.models, staging, copy_function=_link_or_copy)
    except OSError as error:
        raise FileProblem(
            f"cannot copy the models to {folder}: {error}; is the disk full?"
        ) from error
    _replace_folder(staging, folder / layout.MODELS_FOLDER)


def _names_a_bundle(folder: Path) -> bool:
    """Tell whether the role's configuration points to the bundle in its folder."""
    for path in folder.glob("*.toml"):
        if path.name != layout.POLICY_FILE:
            values = parse_toml(read_file(path, _MAX_MANIFEST).decode())
            return values.get("bundle") == layout.MODELS_FOLDER
    return False


def _replace_folder(staging: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    staging.rename(target)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
