"""Boxes and their cameras: sections of `site.toml`, and what claims and cards tell of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, field_validator, model_validator

from provisioning.formats.plan_services import Settings
from runtime.config import Name, Section

_SOURCE_KINDS = {"rtsp", "rtsps", "http", "https", "v4l2", "file", "folder"}


class CameraPlan(Section):
    """A camera of a box; keys not listed here are copied into `box.toml` as they are."""

    model_config = ConfigDict(extra="allow")

    name: Name
    """Name of the camera, unique in the site."""
    source: Annotated[str, Field(min_length=1)]
    """rtsp://..., http://..., v4l2:/dev/video0, a file, or folder:PATH?fps=5."""

    @field_validator("source")
    @classmethod
    def _known_kind(cls, source: str) -> str:
        kind, separator, _ = source.partition("://")
        if separator and kind.lower() not in _SOURCE_KINDS:
            raise ValueError(
                f"a camera's address cannot begin with {kind}://; use rtsp://HOST/PATH, "
                "http://HOST/PATH, v4l2:/dev/video0, a file or folder:PATH"
            )
        return source

    def table(self) -> dict[str, Any]:
        """Return the camera as its table in `box.toml`."""
        return {"name": self.name, "source": self.source, **(self.model_extra or {})}


class BoxPlan(Section):
    """An edge box and the cameras that are wired to it, or an import station without any."""

    name: Name
    """Name of the box."""
    cameras: Annotated[tuple[CameraPlan, ...], Field(max_length=64)] = ()
    """Its cameras."""
    recordings: Annotated[tuple[Name, ...], Field(max_length=64)] = ()
    """Cameras, of whichever box, whose films it may import."""
    settings: Settings = Field(default_factory=dict)
    """Keys and sections copied into `box.toml`, for example `{outbox = {max_mb = 500}}`."""

    @model_validator(mode="after")
    def _has_something_to_see(self) -> BoxPlan:
        if not self.cameras and not self.recordings:
            raise ValueError(f"box '{self.name}' has neither cameras nor recordings to import")
        if len(set(self.recordings)) != len(self.recordings):
            raise ValueError(f"box '{self.name}' names a camera twice among its recordings")
        return self


def anchored_camera(camera: CameraPlan, folder: Path) -> CameraPlan:
    """Return ``camera`` with a relative file source put under ``folder``."""
    kind, colon, rest = camera.source.partition(":")
    if not colon:
        return camera.model_copy(update={"source": str(folder / camera.source)})
    if kind.lower() in {"file", "folder"}:
        return camera.model_copy(update={"source": f"{kind}:{folder / rest}"})
    return camera
