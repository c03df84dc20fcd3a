"""The image's own description, on its boot partition: what went in, and never the claim itself."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from provisioning.fleet.image.errors import ImageError
from provisioning.fleet.image.settings import SystemSettings
from provisioning.formats.claimfile import ClaimFile

FOLDER = "sealtrace"
"""The folder on the boot partition that is ours."""
NAME = f"{FOLDER}/image.json"
WHEELS, MODELS = "wheels", "models"
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Manifest(BaseModel):
    """What an image is for and what it was made of."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True)

    kind: Literal["sealtrace-image"] = "sealtrace-image"
    version: Literal[1, 2] = 2
    """1: the claim is in user-data, wheels and models on the boot partition."""
    site: str
    box: str
    registrar_url: str = Field(
        validation_alias="enrolment_url", serialization_alias="enrolment_url"
    )
    """Where the registrar is. The file has its former name, as cards that are out have it."""
    claim_expires_at: AwareDatetime
    authority: _Sha256
    hostname: str
    timezone: str
    cameras: tuple[str, ...]
    login: bool
    wifi: str
    sealtrace: str
    releases: str
    wheels: dict[str, _Sha256]
    models: dict[str, _Sha256]
    place: Literal["boot", "root"] = "boot"
    """Where they are: on the boot partition, or, where it is too small, the root file system."""
    base: str
    base_sha256: _Sha256
    inputs: _Sha256
    """Digest of all that the image was made of: the same inputs give the same image."""

    def to_bytes(self) -> bytes:
        """Return the file's bytes; the same manifest gives the same."""
        return (json.dumps(self.model_dump(mode="json", by_alias=True), indent=2) + "\n").encode()

    @property
    def card_folders(self) -> dict[str, dict[str, str]]:
        """What is copied onto the card: folder to name to SHA-256."""
        folders = {WHEELS: self.wheels, MODELS: self.models}
        return {folder: files for folder, files in folders.items() if files}

    @classmethod
    def parse(cls, data: bytes) -> Manifest:
        """Read a manifest.

        Raises:
            ImageError: it is not one.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError:
            raise ImageError(
                f"{NAME} on the boot partition is not a Sealtrace image's description; build the "
                "image again"
            ) from None


def describe(
    claim: ClaimFile,
    settings: SystemSettings,
    *,
    base: str,
    base_sha256: str,
    version: str,
    epoch_s: int | None,
) -> Manifest:
    """Return the manifest of an image.

    Args:
        epoch_s: the time for files' dates, if one was given.
    """
    wheels = {file.path.name: file.sha256 for file in settings.wheels}
    models = {file.path.name: file.sha256 for file in settings.models}
    values: dict[str, Any] = {
        "claim": claim.to_toml(),
        "settings": repr({**_plain(settings), "wheels": wheels, "models": models}),
        "base": [base, base_sha256],
        "version": version,
        "epoch_s": epoch_s,
    }
    inputs = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    return Manifest(
        site=claim.site,
        box=claim.box,
        registrar_url=claim.url,
        claim_expires_at=claim.expires_at,
        authority=claim.authority,
        hostname=settings.hostname,
        timezone=settings.timezone,
        cameras=tuple(camera.name for camera in settings.cameras),
        login=bool(settings.ssh_keys),
        wifi=settings.wifi.ssid if settings.wifi else "",
        sealtrace=version,
        releases=settings.releases.url if settings.releases else "",
        wheels=wheels,
        models=models,
        base=base,
        base_sha256=base_sha256,
        inputs=inputs,
    )


def _plain(settings: SystemSettings) -> dict[str, Any]:
    """Return the settings with secrets (an object's repr leaves those out) and without paths."""
    return {
        "hostname": settings.hostname,
        "timezone": settings.timezone,
        "ssh_keys": settings.ssh_keys,
        "login": settings.login,
        "wifi": settings.wifi and (settings.wifi.ssid, settings.wifi.key, settings.wifi.country),
        "ntp": settings.ntp,
        "cameras": [camera.table() for camera in settings.cameras],
        "index_url": settings.index_url,
        "software": [settings.software, settings.software_signature.hex()],
        "releases": settings.releases and dataclasses.astuple(settings.releases),
    }
