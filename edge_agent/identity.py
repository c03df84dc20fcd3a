"""Who this box is: its key, its place in the directory, its models; read and verified at start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import structlog

from edge_agent.config import BoxConfig
from protocol.directory import BOX, Directory, Principal
from protocol.encoding import MAX_MESSAGE_BYTES
from protocol.errors import PrincipalRevoked, ProtocolError, UnknownSigner
from protocol.signing import SEED_BYTES, SigningKey, VerifyKey
from runtime.bundle import Bundle, Role, load_bundle
from runtime.errors import OperationError
from runtime.fsio import FileProblem, private_folder, read_file
from runtime.keyfiles import open_secret
from runtime.trust import Trust

_log = structlog.get_logger()

IDENTITY_PURPOSE = "identity"
ADMISSIONS_FILE = "admissions.cbor"
_ROLES: tuple[Role, ...] = ("face_detector", "face_embedder", "mask_status")
"""Of the models without which no box runs."""


class NotOurBox(OperationError):
    """The directory does not list this box, or gives its name another key or other cameras."""


class BoxRevoked(OperationError):
    """The site's directory has revoked this box: it must not run, and must not be restarted."""


@dataclass(frozen=True, slots=True)
class Installed:
    """What a box needs from its disk, verified: its key, the models, the directory."""

    board: SigningKey
    bundle: Bundle
    trust: Trust


def load_installed(
    config: BoxConfig, *, keep_state: bool = True, read_models: bool = True
) -> Installed:
    """Read and verify identity, directory and model bundle, and that they fit one another.

    Args:
        config: of the box.
        keep_state: create the state folder and keep newer directories there; without, only look.
        read_models: hash the models' files, too. Without, whoever loads them does: `Bundle.read`
            hashes what it returns, and hashing 90 MB twice is seconds of a slow board's start.

    Raises:
        BoxRevoked: the directory has revoked this box.
        OperationError: something is missing, damaged, unsigned or not for this box.
    """
    board = load_board_key(config)
    trust = load_trust(config, keep_state=keep_state)
    require_box(trust.directory, config, board.verify_key)
    return Installed(board, load_models_bundle(config, read=read_models), trust)


def load_trust(config: BoxConfig, *, keep_state: bool = True) -> Trust:
    """Read the newest directory that this box has, with the admissions.

    Args:
        config: of the box.
        keep_state: as for `load_installed`.

    Raises:
        TrustError: what is installed cannot be believed.
    """
    trust = Trust(
        site=config.site,
        authority=config.authority_key,
        installed=config.directory,
        state_dir=private_folder(config.state_dir) if keep_state else None,
    )
    names = ("directory.cbor", "directory-1.cbor", ADMISSIONS_FILE)
    received = [config.state_dir / name for name in names]
    admitted = config.directory.with_name(ADMISSIONS_FILE)
    for path in [admitted] if keep_state else [*received, admitted]:
        _take(trust, path)
    return trust


def load_models_bundle(config: BoxConfig, *, read: bool = True) -> Bundle:
    """Read and verify the models that this box is to run; without ``read`` what is signed alone.

    Raises:
        BundleError: one is missing, damaged or unsigned.
    """
    return load_bundle(config.bundle, config.trusted_bundle_keys, roles=_ROLES if read else ())


def _take(trust: Trust, path: Path) -> None:
    """Take in what stands beside the installed directory, if it is there and good."""
    if not path.exists():
        return
    try:
        trust.accept(read_file(path, MAX_MESSAGE_BYTES))
    except (ProtocolError, FileProblem) as error:
        _log.info("not_taken", file=str(path), reason=str(error))


def load_board_key(config: BoxConfig) -> SigningKey:
    """Read the box's private key.

    Raises:
        KeyFileError, FileProblem: missing, damaged, or for another purpose.
    """
    seed = open_secret(config.identity, IDENTITY_PURPOSE)
    if len(seed) != SEED_BYTES:
        raise OperationError(
            f"{config.identity} does not hold an identity of {SEED_BYTES} bytes; admit the box anew"
        )
    return SigningKey(config.box, seed)


def require_box(
    directory: Directory, config: BoxConfig, key: VerifyKey, *, cameras: bool = True
) -> Principal:
    """Return this box's entry in the directory after comparing it with what the box is.

    Args:
        directory: the one in force.
        config: the box's name and cameras.
        key: the box's public key.
        cameras: compare the cameras, too.

    Raises:
        BoxRevoked: the box has been revoked.
        NotOurBox: not listed, or with another key, or not for all of its cameras.
    """
    try:
        principal = directory.require(config.box, BOX)
    except PrincipalRevoked as error:
        raise BoxRevoked(
            f"{error}; it may not run any more: wipe it, and admit its replacement"
        ) from error
    except UnknownSigner as error:
        raise NotOurBox(
            f"the directory of site '{config.site}' lists no box '{config.box}'; "
            "admit the box (`sealtrace box --help`) or correct `box` in box.toml"
        ) from error
    if principal.verify_key != key:
        raise NotOurBox(
            f"the directory knows '{config.box}' by the key {principal.verify_key.fingerprint}, "
            f"this box has {key.fingerprint}; install the identity made for it, or admit it anew"
        )
    may = {*principal.cameras, *principal.recordings}
    missing = sorted({camera.name for camera in config.cameras} - may)
    if cameras and missing:
        raise NotOurBox(
            f"the directory does not let '{config.box}' speak for {', '.join(missing)}; "
            "correct the cameras in box.toml, or admit the box with them"
        )
    return principal
