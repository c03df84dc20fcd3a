"""What enrolling takes besides pictures: the models, whom it is sealed to, and the sealing.

For the command at a keyboard, and for the helper that looks at photographs for another program.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from protocol import hpke
from protocol.directory import INVESTIGATOR, open_directory
from protocol.sightings import quantise_template
from protocol.templates import SALT_BYTES, SubjectFile, Template
from runtime.bundle import Bundle, Role, load_bundle
from runtime.errors import OperationError
from runtime.fsio import read_file
from runtime.officer import OfficerConfig

if TYPE_CHECKING:
    from edge_agent.enrol import Enrolled
    from edge_agent.vision.models import VisionModels

_MAX_DIRECTORY_BYTES = 256 << 20


def load_enrolling_models(
    settings: OfficerConfig, folder: Path | None = None, trusted: Sequence[str] = ()
) -> VisionModels:
    """Load what looks at photographs of faces; as `enrolling_bundle`."""
    from edge_agent.vision.models import load_models  # noqa: PLC0415 - a second that --help saves

    roles: tuple[Role, ...] = ("face_detector", "face_embedder", "mask_status")
    verified = enrolling_bundle(settings, folder, trusted, roles=roles)
    with without_native_chatter():
        return load_models(verified)


def enrolling_bundle(
    settings: OfficerConfig, folder: Path | None, trusted: Sequence[str], *, roles: tuple[Role, ...]
) -> Bundle:
    """Return the bundle that enrolling goes by, verified.

    Args:
        folder: the bundle's; None: the configuration's.
        trusted: further public keys, hex, that may vouch for it.

    Raises:
        OperationError: none is named, or a key is no key.
        BundleError: it cannot be used.
    """
    folder = folder or settings.bundle
    if folder is None:
        raise OperationError(
            "the configuration names no model bundle; give one with --bundle "
            "(`sealtrace models build` makes one)"
        )
    try:
        keys = [bytes.fromhex(key) for key in trusted]
    except ValueError as error:
        raise OperationError("--trusted takes a public key of 64 hexadecimal digits") from error
    return load_bundle(folder, [*settings.bundle_signers, *keys], roles=roles)


def investigator_key(settings: OfficerConfig) -> hpke.PublicKey:
    """Return the sealing key that the verified directory lists for this investigator.

    Raises:
        OperationError: it lists none.
        FileProblem, ProtocolError: the directory cannot be used.
    """
    data = read_file(settings.directory, _MAX_DIRECTORY_BYTES)
    directory = open_directory(data, settings.authority_key, site=settings.site)
    key = directory.require(settings.name, INVESTIGATOR).seal_key
    if key is None:
        raise OperationError(
            f"the directory lists no sealing key for investigator '{settings.name}'; "
            "ask the site's administrator to issue one"
        )
    return key


def seal_subject(
    made: list[Enrolled],
    pseudonym: str,
    consent: str,
    document: bytes,
    recipient: hpke.PublicKey,
    *,
    investigator: str,
    words: str = "",
) -> SubjectFile:
    """Return the subject file of templates, sealed to the investigator.

    Args:
        made: which the caller wipes.
        document: SHA-256 of the document of consent; empty if none was given.
        recipient: the investigator's key.
    """
    templates = []
    for one in made:
        row, scale = quantise_template(one.vector)
        salt = secrets.token_bytes(SALT_BYTES)
        templates.append(Template(one.modality, one.model_id, salt, row, scale))
    try:
        return SubjectFile.enrol(
            pseudonym,
            consent,
            templates,
            recipient,
            enrolled_at_ms=time.time_ns() // 1_000_000,
            consent_document=document,
            investigator_name=investigator,
            words=words,
        )
    finally:
        for template in templates:
            template.row.fill(0)


@contextmanager
def without_native_chatter() -> Iterator[None]:
    """Keep what the model runtimes' C++ code prints off the terminal while they load."""
    try:
        kept = os.dup(2)
    except OSError:
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
