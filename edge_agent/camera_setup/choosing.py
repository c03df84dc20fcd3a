"""Which camera a command is about, with whose password, and what to look for faces with."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import typer

from edge_agent.camera_setup.faces import FaceFinder, load_finder
from edge_agent.camera_setup.probe import Probe, probe
from edge_agent.config import BoxConfig, CameraConfig, load_box
from edge_agent.sources import parse_source_url
from edge_agent.vision.config import VisionConfig
from runtime.errors import OperationError
from runtime.redaction import redact
from runtime.terminal import err, note

DEFAULT_CONFIG = Path("box.toml")
_NO_BUNDLE = "no model bundle here: faces are not looked for"


def choose(
    url: str | None, config: Path | None, camera: str | None
) -> tuple[BoxConfig | None, CameraConfig | None]:
    """The box's settings and its camera that is meant, None and None for an address alone.

    Raises:
        BadParameter: neither or both are given.
        OperationError: no such camera, or settings that cannot be read.
    """
    if url is not None:
        if camera is not None:
            raise typer.BadParameter("give an address, or --camera, not both")
        return (load_box(config) if config is not None else None), None
    if config is None and not DEFAULT_CONFIG.exists():
        raise typer.BadParameter("give a camera's address, or --config FILE and --camera NAME")
    settings = load_box(config or DEFAULT_CONFIG)
    return settings, camera_of(settings, camera, config or DEFAULT_CONFIG)


def camera_of(settings: BoxConfig, name: str | None, config: Path) -> CameraConfig:
    """The camera of that name; without a name the only one.

    Raises:
        OperationError: there is none, or there are several.
    """
    names = [each.name for each in settings.cameras]
    if name is None and len(names) == 1:
        return settings.cameras[0]
    if name not in names:
        asked = "give --camera" if name is None else f"{config} has no camera '{name}'"
        raise OperationError(f"{asked}; there are: {', '.join(names)}")
    return settings.cameras[names.index(name)]


def vision_of(settings: BoxConfig | None, chosen: CameraConfig | None) -> VisionConfig:
    """How the agent would look at the camera; the defaults where nothing is known."""
    common = settings.vision if settings is not None else VisionConfig()
    return chosen.vision(common) if chosen is not None else common


def finder_for(
    settings: BoxConfig | None, bundle: Path | None, trusted: list[str], vision: VisionConfig
) -> FaceFinder | None:
    """What to look for faces with; None without a bundle, which is said.

    Raises:
        OperationError: a bundle that is not one, or that nobody trusted vouches for.
    """
    folder = bundle or (settings.bundle if settings is not None else None)
    try:
        keys = [bytes.fromhex(key) for key in trusted]
    except ValueError as error:
        raise OperationError("--trusted takes a public key of 64 hexadecimal digits") from error
    if settings is not None:
        keys += settings.trusted_bundle_keys
    if folder is not None and not keys:
        raise OperationError(
            "whose bundle is to be believed? Give --trusted KEY, or --config with the box's "
            "configuration"
        )
    finder = None if folder is None else load_finder(folder, keys, vision)
    if finder is None and bundle is not None:
        raise OperationError(f"{bundle} is not a model bundle; `sealtrace models build` makes one")
    if finder is None:
        note(_NO_BUNDLE)
    return finder


def refuse_still() -> None:
    """Refuse to keep a picture in which nothing would hide faces.

    Raises:
        OperationError: always.
    """
    raise OperationError(
        "without a model bundle faces cannot be found and hidden; give --bundle and --trusted, or "
        "--show-faces if nobody is in view"
    )


def password_of(user: str | None) -> str:
    """The user's password: asked for, or read from a pipe; it is never printed."""
    if user is None:
        return ""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    answer: str = typer.prompt(f"Password of {user}", hide_input=True, err=True)
    return answer


def with_login(source: str, user: str | None) -> str:
    """The source with a user and the password asked for; it is never printed."""
    if user is None:
        return source
    if not parse_source_url(source).networked:
        raise typer.BadParameter("--user is for rtsp:// and http:// cameras")
    parts = urlsplit(source)
    login = f"{quote(user, safe='')}:{quote(password_of(user), safe='')}"
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, f"{login}@{host}", parts.path, parts.query, ""))


def look_at(source: str, seconds: float, finder: FaceFinder | None) -> Probe:
    """Look at a source for a while, saying so meanwhile; its login is not shown."""
    shown = redact(source)
    with err.status(f"opening {shown}") as status:
        return probe(
            source,
            seconds=seconds,
            finder=finder,
            on_progress=lambda s: status.update(f"looking at {shown}: {s:.0f} of {seconds:g} s"),
        )
