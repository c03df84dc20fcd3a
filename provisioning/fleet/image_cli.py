"""`sealtrace image`: build a box's card image from a stock one; look into one."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from provisioning.fleet.image.base import Checksum
from provisioning.fleet.image.build import BuildRequest, BuiltImage, build_image, show_image
from provisioning.fleet.image.claim import read_claim
from provisioning.fleet.image.errors import ImageError
from provisioning.fleet.image.manifest import Manifest
from provisioning.fleet.image.progress import bars
from provisioning.fleet.image.settings import (
    Releases,
    SystemSettings,
    Wifi,
    read_models,
    read_releases,
    read_ssh_key,
)
from provisioning.fleet.image.sign_cli import named_software, sign
from provisioning.fleet.image.software import open_list
from provisioning.fleet.image.wheels_cli import wheels as fill_wheels
from provisioning.formats.options import cameras_of
from runtime.fsio import read_file, sha256_file
from runtime.redaction import redact
from runtime.terminal import reported, say, warn
from runtime.text import quoted

app = typer.Typer(
    name="image",
    no_args_is_help=True,
    add_completion=False,
    help="Build a box's card image from a stock one; look into one.",
)
_Base = Annotated[
    Path,
    typer.Option(
        metavar="IMG",
        help="Stock image: Raspberry Pi OS Lite (2025-11 or newer), or Debian's generic cloud "
        "image; raw, .xz, .zst or .gz.",
    ),
]
_Sha256 = Annotated[
    str | None, typer.Option("--sha256", metavar="HEX", help="The base image's SHA-256.")
]
_Checksums = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A list with the base image's SHA-256 or SHA-512."),
]
_Cameras = Annotated[
    list[str] | None,
    typer.Option(
        "--camera",
        metavar="NAME=URL",
        help="Where a camera of the claim is, known to the box alone; may be repeated.",
    ),
]
_SshKeys = Annotated[
    list[str] | None,
    typer.Option(
        "--ssh-key",
        metavar="FILE",
        help="Public SSH key that may log in as 'installer'; without one nobody can. Repeatable.",
    ),
]
_Wheels = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Copy these wheels to the card: the box then needs no package index."
    ),
]
_Requirements = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Without --wheels: the software as exact versions with hashes, one wheel each; the "
        "box installs from the site's own index (--index-url) only what has these hashes.",
    ),
]
_Models = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Copy this model bundle, signed by the site's authority, to the card."
    ),
]


@app.command(
    epilog="Example:  sealtrace image build --base raspios-lite.img.xz --checksums"
    " raspios-lite.img.xz.sha256 --box box-7 --claim box-7.claim --wheels wheels --out box-7.img"
)
def build(
    *,
    base: _Base,
    claim: Annotated[
        Path, typer.Option(metavar="FILE", help="The claim of the box, from `sealtrace box claim`.")
    ],
    out: Annotated[Path, typer.Option(metavar="IMG", help="Where the image goes.")],
    box: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The box that the card is for, as in its claim."),
    ] = None,
    sha256: _Sha256 = None,
    checksums: _Checksums = None,
    no_checksum: Annotated[
        bool, typer.Option("--no-checksum", help="Take the base image unchecked.")
    ] = False,
    camera: _Cameras = None,
    hostname: Annotated[
        str | None, typer.Option(metavar="NAME", help="Host name; the box's name by default.")
    ] = None,
    ssh_key: _SshKeys = None,
    timezone: Annotated[str, typer.Option(metavar="ZONE", help="Time zone.")] = "Etc/UTC",
    wifi: Annotated[
        str | None,
        typer.Option(metavar="SSID", help="Wireless network (Raspberry Pi); asks its passphrase."),
    ] = None,
    wifi_country: Annotated[
        str, typer.Option(metavar="CC", help="Country of the wireless network, such as DE.")
    ] = "",
    wifi_passphrase_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Read the wireless passphrase here.")
    ] = None,
    wifi_open: Annotated[
        bool, typer.Option("--wifi-open", help="The wireless network has no passphrase.")
    ] = False,
    ntp: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="Time server of the site; may be repeated."),
    ] = None,
    wheels: _Wheels = None,
    requirements: _Requirements = None,
    models: _Models = None,
    releases: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Release repository that the box updates itself from."),
    ] = None,
    releases_root: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its root.json, as the box is to trust it.")
    ] = None,
    releases_public_ca: Annotated[
        bool,
        typer.Option(
            "--releases-public-ca", help="Its server has a public certificate, not the site's."
        ),
    ] = False,
    group: Annotated[
        str, typer.Option(metavar="NAME", help="Group of boxes for staged releases.")
    ] = "all",
    index_url: Annotated[
        str,
        typer.Option(
            metavar="URL", help="Package index of the site's own; needed without --wheels."
        ),
    ] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Replace another image of that name.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, say what would be done.")
    ] = False,
) -> None:
    """Make the image of a box's card: boot it, and the box joins its site.

    The image holds a one-time claim, the site's root certificate and the authority's public key,
    and no private key: the box makes its own. IMG.sha256 and IMG.bmap are written beside it. The
    same inputs give the same bytes. Needs mtools, but neither root nor a loop device.
    """
    with reported("stopped; no image was written"):
        claimed = read_claim(claim, box=box)
        listed, on_card, text = named_software(wheels, requirements)
        software = open_list(text, listed, claimed.authority_key, claimed.site)
        authority = claimed.authority_key.raw
        request = BuildRequest(
            base=base,
            checksum=_checksum(base, sha256, checksums, unchecked=no_checksum),
            claim=claimed,
            settings=SystemSettings(
                hostname=hostname or claimed.box,
                timezone=timezone,
                ssh_keys=tuple(read_ssh_key(given) for given in ssh_key or ()),
                wifi=_wifi(wifi, wifi_country, wifi_passphrase_file, is_open=wifi_open),
                ntp=tuple(ntp or ()),
                cameras=cameras_of(camera),
                wheels=on_card,
                models=read_models(models, [authority]) if models else (),
                releases=_releases(releases, releases_root, group, public=releases_public_ca),
                index_url=index_url,
                software=software.text,
                software_signature=software.signature,
            ),
            out=out,
            epoch_s=_epoch(),
            force=force,
        )
        request.settings.require_possible()
        if dry_run:
            _announce(request)
            return
        with bars() as progress:
            built = build_image(request, progress)
        _report(built, request)


app.command(
    "wheels",
    epilog="Examples:  sealtrace image wheels wheels   |   sealtrace image wheels pi"
    " --machine arm64 --python 3.13",
)(fill_wheels)
app.command(
    epilog="Examples:  sealtrace image sign north --wheels wheels   |   sealtrace image sign north"
    " --requirements software.txt"
)(sign)


@app.command(epilog="Example:  sealtrace image show box-7.img")
def show(
    image: Annotated[Path, typer.Argument(metavar="IMG", help="An image that was built.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell which box an image is for and until when it can join; the claim itself is not shown."""
    with reported():
        about, doubts = show_image(image)
        if as_json:
            typer.echo(json.dumps(about.model_dump(mode="json") | {"problems": doubts}, indent=2))
        else:
            _describe(about)
        if doubts:
            raise ImageError(f"{image} contradicts itself: {'; '.join(doubts)}; build it again")


def _checksum(
    base: Path, digits: str | None, sums: Path | None, *, unchecked: bool
) -> Checksum | None:
    if sum(given is not None and given is not False for given in (digits, sums, unchecked)) > 1:
        raise typer.BadParameter("give one of --sha256, --checksums and --no-checksum")
    if not base.is_file():
        raise ImageError(f"there is no image {base}; check the name of --base")
    if digits is not None:
        return Checksum.parse(digits)
    if sums is not None:
        return Checksum.from_list(sums, base.name)
    if unchecked:
        warn(f"{base} is taken unchecked: a changed system would be on the card")
        return None
    found = Checksum.beside(base)
    if found is None:
        raise ImageError(
            f"nothing says what {base} must be: give --sha256 HEX or --checksums FILE from the "
            "page that it is offered on, or put the list beside it; --no-checksum does without"
        )
    return found


def _wifi(ssid: str | None, country: str, file: Path | None, *, is_open: bool) -> Wifi | None:
    if ssid is None:
        if country or file or is_open:
            raise typer.BadParameter("goes with --wifi SSID", param_hint="--wifi-...")
        return None
    if is_open:
        return Wifi.make(ssid, "", country)
    if file is not None:
        passphrase = read_file(file, 1024).decode("utf-8", "replace").rstrip("\r\n")
    else:
        passphrase = typer.prompt(f"Passphrase of the wireless network '{ssid}'", hide_input=True)
    if not passphrase:
        raise ImageError("the wireless passphrase is empty; --wifi-open is for open networks")
    return Wifi.make(ssid, passphrase, country)


def _releases(url: str | None, root: Path | None, group: str, *, public: bool) -> Releases | None:
    if url is None and root is None:
        return None
    if url is None or root is None:
        raise typer.BadParameter(
            "--releases URL and --releases-root FILE go together", param_hint="--releases"
        )
    return read_releases(url, root, group, site_ca=not public)


def _epoch() -> int | None:
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    if not text.isdecimal() or int(text) >= 1 << 32:
        raise ImageError(f"SOURCE_DATE_EPOCH is '{text}', not seconds since 1970; correct it")
    return int(text)


def _announce(request: BuildRequest) -> None:
    digest, _ = sha256_file(request.base)
    if request.checksum and request.checksum.algorithm == "sha256":
        if digest != request.checksum.digest:
            raise ImageError(
                f"{request.base} is not the file that the checksum is of; download it again"
            )
        say(f"{request.base}: checksum holds")
    if request.out.exists() and not request.force:
        say(f"{request.out} is there already and would be kept if it is the same image")
    settings = request.settings
    say(f"would write {request.out} (with .sha256 and .bmap) for {request.claim.box}:")
    say(f"  joins at  {request.claim.url} until {_time(request.claim.expires_at)}")
    say(f"  system     {settings.hostname}, {settings.timezone}, {_login(bool(settings.ssh_keys))}")
    for camera in settings.cameras:
        say(f"  camera     {camera.name} ({redact(camera.source)})")
    if settings.wheels:
        size = sum(wheel.path.stat().st_size for wheel in settings.wheels)
        say(f"  software   {len(settings.wheels)} wheels, {size / 1e6:.1f} MB, on the card")
    else:
        say("  software   over the network, by hash")
    say(f"  models     {_models(bool(settings.models), bool(settings.releases))}")


def _report(built: BuiltImage, request: BuildRequest) -> None:
    if built.was_there:
        say(f"{built.path} is there already, just so")
    else:
        say(
            f"{built.path}: {built.image_bytes / 1e6:,.0f} MB, of which "
            f"{built.mapped_bytes / 1e6:,.0f} MB hold data; sha256 {built.sha256[:16]}…"
        )
    say(f"{request.claim.box} must start from it before {_time(request.claim.expires_at)}.")
    say(f"Next:  sealtrace flash --image {quoted(built.path)} --list")


def _describe(about: Manifest) -> None:
    left = about.claim_expires_at - datetime.now(UTC)
    hours = left.total_seconds() / 3600
    state = f"{hours:.0f} h left" if hours > 0 else "run out: build it again with a new claim"
    rows = {
        "box": f"{about.box} of site {about.site}",
        "claim": f"until {_time(about.claim_expires_at)} ({state})",
        "joins at": about.registrar_url,
        "authority": about.authority[:16],
        "system": f"{about.hostname}, {about.timezone}, {_login(about.login)}",
        "network": f"cable{f', wireless {about.wifi}' if about.wifi else ''}",
        "cameras": ", ".join(about.cameras) or "as the site has them",
        "software": f"{about.sealtrace}, "
        + (
            f"{len(about.wheels)} wheels on the card"
            if about.wheels
            else "over the network, by hash"
        ),
        "models": _models(bool(about.models), bool(about.releases)),
        "updates": f"from {about.releases}" if about.releases else "by hand",
        "made from": f"{about.base} (sha256 {about.base_sha256[:16]}…)",
    }
    for name, text in rows.items():
        say(f"{name:<10} {text}")


def _models(on_card: bool, with_releases: bool) -> str:
    if on_card:
        return "on the card"
    return "with the releases" if with_releases else "none: to be carried to the box"


def _login(possible: bool) -> str:
    return "login as 'installer' by SSH key" if possible else "nobody can log in"


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
