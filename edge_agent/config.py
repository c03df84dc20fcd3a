"""The one file that configures a box: ``box.toml``, its keys, their meaning and their defaults."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, Field, model_validator

from edge_agent.sources import SourceError, SourceKind, parse_source_url
from edge_agent.vision.config import Area, GroundConfig, VisionConfig
from protocol.directory import MAX_CAMERAS_PER_BOX
from protocol.names import CameraAddress
from protocol.sightings import MAX_BATCH
from protocol.signing import VerifyKey
from runtime.config import (
    ConfigError,
    HexKey,
    MqttConfig,
    Name,
    RoleConfig,
    SecretGiven,
    Section,
    load,
    render,
)
from runtime.metrics_config import MetricsConfig
from runtime.redaction import redact
from runtime.zones import ZoneName

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def _source(value: str) -> str:
    try:
        parse_source_url(value)
    except SourceError as error:
        raise SecretGiven(str(error)) from error
    return value


class CameraConfig(Section):
    """One camera that this box watches."""

    name: Name
    """The camera's name, as the site's directory lists it under this box."""
    source: Annotated[str, AfterValidator(_source)]
    """Where frames come from: rtsp://..., http://..., v4l2:/dev/video0, file:PATH or
    folder:PATH?fps=5."""
    pace: Literal["realtime", "fast"] = "realtime"
    """Recorded sources only: play at their own rate, or as fast as they can be processed."""
    loop: bool = False
    """Recorded sources only: begin again when they end."""
    moves: bool = False
    """The camera turns or zooms by itself (a patrol): that it shows another place than before is
    not reported."""
    recorded_at: AwareDatetime | None = None
    """Recorded sources with pace "fast" only: when the first frame was taken."""
    homography: GroundConfig | None = None
    """This camera's ground plane; instead of [vision.encounters.ground]."""
    detect_fps: Annotated[float, Field(gt=0, le=60)] | None = None
    """Detections a second on this camera; instead of the value in [vision]."""
    ignored: tuple[Area, ...] | None = None
    """Areas of this camera's picture in which nobody counts; instead of those in [vision]."""

    @model_validator(mode="after")
    def _recorded_options(self) -> CameraConfig:
        live = parse_source_url(self.source).live
        if live and (self.loop or self.recorded_at is not None or self.pace == "fast"):
            raise ValueError("pace, loop and recorded_at are for recorded sources, not live ones")
        if self.recorded_at is not None and (self.pace != "fast" or self.loop):
            raise ValueError('recorded_at needs pace = "fast" and no loop')
        if self.moves and self.homography is not None:
            raise ValueError(
                "homography says where the ground lies in the picture, which changes where "
                "moves = true; leave one of them out"
            )
        return self

    def vision(self, common: VisionConfig) -> VisionConfig:
        """Return the vision settings of this camera: the common ones with its own put in."""
        return _with_own(common, self)


class RecordingConfig(Section):
    """How films of a camera that this box does not watch itself are looked at, when imported."""

    name: Name
    """The camera's name, as the site's directory lists it among this box's recordings."""
    homography: GroundConfig | None = None
    """That camera's ground plane; instead of [vision.encounters.ground]."""
    detect_fps: Annotated[float, Field(gt=0, le=60)] | None = None
    """Detections a second; instead of the value in [vision]."""
    ignored: tuple[Area, ...] | None = None
    """Areas of that camera's picture in which nobody counts; instead of those in [vision]."""

    def vision(self, common: VisionConfig) -> VisionConfig:
        """Return the vision settings for its films: the common ones with its own put in."""
        return _with_own(common, self)


class OutboxConfig(Section):
    """What is kept while headquarters cannot be reached."""

    max_mb: Annotated[float, Field(ge=0.05, le=1_000_000)] = 4096.0
    """Most megabytes of sealed envelopes on the disk; what is dropped beyond is counted."""
    memory_mb: Annotated[float, Field(ge=0.05, le=1024)] = 32.0
    """Most megabytes of sealed envelopes kept in memory while the disk is full."""
    window: Annotated[int, Field(ge=1, le=1000)] = 32
    """Most messages on their way to the broker at once."""
    resend_after_s: Annotated[float, Field(ge=1, le=86_400)] = 60.0
    """What the broker took but no receipt covers after so long is sent again, ever more rarely."""


class SealingConfig(Section):
    """When sightings are sealed."""

    batch: Annotated[int, Field(ge=1, le=1024)] = 64
    """A live envelope is sealed when so many sightings wait."""
    live_after_s: Annotated[float, Field(ge=0.1, le=60)] = 2.0
    """A live envelope is sealed when the oldest sighting has waited so long."""
    grace_s: Annotated[float, Field(ge=0, le=60)] = 5.0
    """How long after a slot's end its segment waits for sightings that ended in it."""
    late_s: Annotated[float, Field(ge=0, le=600)] = 60.0
    """Later ones go into the current slot if they ended less than so long ago."""
    max_held: Annotated[int, Field(ge=64, le=MAX_BATCH)] = MAX_BATCH
    """Most sightings of one camera held in memory."""
    day_keys_wait_s: Annotated[float, Field(ge=0, le=600)] = 3.0
    """How long to wait for every custodian's day key before going on with enough of them."""


class StillsConfig(Section):
    """The small pictures of people that stay on this box, where the site's policy permits them."""

    max_mb: Annotated[float, Field(ge=1, le=100_000)] = 256.0
    """Most megabytes of them on the disk; the oldest make room."""
    hours: Annotated[float, Field(ge=0, le=24 * 60)] = 72.0
    """How long one is kept, never longer than the policy keeps sightings; 0: none are made."""


class BoxConfig(RoleConfig):
    """The configuration of a box (edge agent)."""

    site: Name
    """The site's name."""
    box: Name
    """This box's name."""
    authority: HexKey
    """The site authority's Ed25519 public key, in hexadecimal: the root of all trust here."""
    identity: Path = Path("identity.key")
    """This box's private key file."""
    directory: Path = Path("directory.cbor")
    """The site's signed directory as installed; a newer one received later is kept beside state."""
    bundle: Path = Path("../../models")
    """The folder of the signed model bundle."""
    bundle_keys: tuple[HexKey, ...] = ()
    """Ed25519 public keys, beside the site authority's, that may sign the model bundle."""
    state_dir: Path = Path("state")
    """Where the outbox and what was received from the site are kept."""
    time_zone: ZoneName | None = None
    """The site's time zone, such as Asia/Seoul, that recorders write times in. Left out: this
    machine's."""
    shutdown_s: Annotated[float, Field(ge=0, le=120)] = 5.0
    """On a stop: how long to try to deliver what is sealed."""
    exit_when_done: bool = False
    """End when every source has ended and everything has been delivered."""
    deliver_s: Annotated[float, Field(ge=1, le=86_400)] = 120.0
    """With exit_when_done: how long to wait, after the last source ended, for receipts."""
    health_s: Annotated[float, Field(ge=1, le=3600)] = 30.0
    """Seconds between two health reports."""
    opencv_threads: Annotated[int, Field(ge=1, le=64)] = 1
    """Threads that OpenCV may use (detection, decoding of images)."""
    model_threads: Annotated[int, Field(ge=1, le=64)] = 1
    """Threads that one run of the embedder or the mask classifier may use."""
    release_group: Name | None = None
    """The group of boxes with which this one takes its versions (`group` in updates.toml): health
    reports name it, and the site's page of boxes shows it."""
    mqtt: MqttConfig = MqttConfig()
    """The broker."""
    cameras: tuple[CameraConfig, ...] = ()
    """A camera. A box without any is an import station: it takes in films alone."""
    recordings: tuple[RecordingConfig, ...] = ()
    """A camera of which films are imported (`sealtrace footage import`), and which is not above."""
    vision: VisionConfig = VisionConfig()
    """How faces are found, followed and chosen."""
    sealing: SealingConfig = SealingConfig()
    """When sightings are sealed."""
    outbox: OutboxConfig = OutboxConfig()
    """What is kept while headquarters cannot be reached."""
    stills: StillsConfig = StillsConfig()
    """Pictures of people, each sealed; none unless the site's policy permits queries for them."""
    metrics: MetricsConfig = MetricsConfig()
    """Monitoring."""

    @model_validator(mode="after")
    def _distinct_cameras(self) -> BoxConfig:
        names = [camera.name for camera in self.cameras]
        if len(set(names)) != len(names):
            raise ValueError("two cameras have the same name")
        films = [camera.name for camera in self.recordings]
        if not films and "cameras" not in self.model_fields_set:
            raise ValueError(
                "cameras: is required and missing; an import station has `cameras = []`, or"
                " [[recordings]]"
            )
        if len({*names, *films}) != len(names) + len(films):
            raise ValueError("a camera stands twice, in [[cameras]] or [[recordings]]")
        if len(names) > MAX_CAMERAS_PER_BOX:
            raise ValueError(f"a box has at most {MAX_CAMERAS_PER_BOX} cameras")
        return self

    @model_validator(mode="after")
    def _encrypted_unless_local(self) -> BoxConfig:
        if self.mqtt.tls is None and self.mqtt.host not in _LOOPBACK:
            raise ValueError(
                f"the connection to {self.mqtt.host} would not be encrypted; give [mqtt.tls] the "
                "site's certificates"
            )
        return self

    def film_vision(self) -> dict[str, VisionConfig]:
        """Return the vision settings for films, by camera; others are looked at by [vision]."""
        own: list[CameraConfig | RecordingConfig] = [*self.cameras, *self.recordings]
        return {one.name: one.vision(self.vision) for one in own}

    @property
    def authority_key(self) -> VerifyKey:
        """The site authority's key."""
        return VerifyKey(bytes.fromhex(self.authority))

    @property
    def trusted_bundle_keys(self) -> list[bytes]:
        """Raw public keys that may vouch for models."""
        return [bytes.fromhex(key) for key in (self.authority, *self.bundle_keys)]

    def address(self, camera: str) -> CameraAddress:
        """Return the address of one of this box's cameras."""
        return CameraAddress(self.site, self.box, camera)


def _with_own(common: VisionConfig, own: CameraConfig | RecordingConfig) -> VisionConfig:
    """Return the common vision settings with a camera's own put in."""
    changes: dict[str, object] = {}
    if own.detect_fps is not None:
        changes["detect_fps"] = own.detect_fps
    if own.ignored is not None:
        changes["ignored"] = own.ignored
    if own.homography is not None:
        changes["encounters"] = common.encounters.model_copy(update={"ground": own.homography})
    return common.model_copy(update=changes)


def start_ms(recorded_at: datetime | None) -> int | None:
    """Return ``recorded_at`` in milliseconds since 1970."""
    return None if recorded_at is None else round(recorded_at.timestamp() * 1000)


def load_box(path: Path) -> BoxConfig:
    """Read ``box.toml``; relative paths, also those in sources, count from the file's folder.

    Raises:
        ConfigError: see `runtime.config.load`.
    """
    config = load(path, BoxConfig)
    folder = path.parent.absolute()
    cameras = tuple(
        camera.model_copy(update={"source": _anchored(camera.source, folder)})
        for camera in config.cameras
    )
    return config.model_copy(update={"cameras": cameras})


def render_box(config: BoxConfig) -> str:
    """Return the configuration as TOML with its meanings, cameras' passwords taken out."""
    cameras = tuple(
        camera.model_copy(update={"source": redact(camera.source)}) for camera in config.cameras
    )
    return render(config.model_copy(update={"cameras": cameras}))


def _anchored(source: str, folder: Path) -> str:
    """Return a file or folder source with its path made absolute."""
    url = parse_source_url(source)
    if url.kind not in {SourceKind.FILE, SourceKind.FOLDER}:
        return source
    path = Path(url.target).expanduser()
    absolute = path if path.is_absolute() else folder / path
    explicit = source.lower().startswith(("file:", "folder:"))
    kind = url.kind if explicit or not absolute.is_dir() else SourceKind.FOLDER
    query = f"?fps={url.fps:g}" if url.fps is not None else ""
    return f"{kind}:{absolute}{query}"


__all__ = [
    "BoxConfig",
    "CameraConfig",
    "ConfigError",
    "OutboxConfig",
    "RecordingConfig",
    "SealingConfig",
    "StillsConfig",
    "load_box",
    "render_box",
    "start_ms",
]
