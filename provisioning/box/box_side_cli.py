"""The part of `sealtrace box` that runs on a box: join, ask by USB stick, install, renew."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Annotated

import typer

from provisioning.box.firstboot import registrar_clock, steps, units
from provisioning.box.firstboot.install import Folder
from provisioning.box.firstboot.keys import (
    RUNTIME_FOLDER,
    Backend,
    BoxKeys,
    give_to_owner,
    open_keys,
)
from provisioning.formats.claimfile import load_claim
from provisioning.formats.options import reported
from runtime.errors import OperationError
from runtime.fsio import atomic_write, private_folder
from runtime.terminal import DryRun, say, warn
from runtime.text import quoted

app = typer.Typer()
_BoxFolder = Annotated[Path, typer.Option("--folder", metavar="DIR", help="The box's folder.")]
_ClaimFile = Annotated[
    Path | None, typer.Option("--claim-file", metavar="FILE", help="The claim, from headquarters.")
]
_Keys = Annotated[
    str,
    typer.Option(
        "--keys", help="Where new keys are kept: file, tpm, or auto (the TPM if there is one)."
    ),
]
_Runtime = Annotated[
    Path,
    typer.Option(hidden=True, help="Where keys from a TPM are put: a folder in memory."),
]
_CamerasFile = Annotated[
    Path | None,
    typer.Option(
        "--cameras-file",
        metavar="FILE",
        help="Sources of cameras, instead of those that headquarters knows (JSON or TOML).",
    ),
]
_DEFAULT = Path(units.BOX_FOLDER)


@app.command(epilog="Example:  sealtrace box join --claim-file /etc/sealtrace/claim.toml")
# Its former name, which cards of version 1 call.
@app.command("enrol", hidden=True, epilog="Example:  sealtrace box enrol --claim-file claim.toml")
def join(
    claim_file: _ClaimFile = None,
    folder: _BoxFolder = _DEFAULT,
    *,
    keys: _Keys = "auto",
    cameras_file: _CamerasFile = None,
    runtime: _Runtime = RUNTIME_FOLDER,
    dry_run: DryRun = False,
) -> None:
    """Make this box's keys, join with its claim over HTTPS, install certificate and configuration.

    Run it again after an interruption: what is done stays. The private keys never leave the box.
    """
    with reported():
        sources = steps.read_sources(cameras_file) if cameras_file else None
        if dry_run:
            _say_plan(claim_file, folder)
            return
        place, claim = steps.begin(folder, claim_file)
        found = _keys(place.path, keys, runtime)
        done = steps.join(place, claim, found, sources=sources)
        say(f"{done.box} is admitted; key {done.fingerprint}, in {_where(found)}")
        say(f"certificate until {done.until:%Y-%m-%d %H:%M} UTC; it renews itself")
        say(f"Next: sealtrace edge run --config {quoted(place.box_toml)}")


@app.command(epilog="Example:  sealtrace box clock --claim-file claim.toml")
def clock(
    claim_file: _ClaimFile = None, folder: _BoxFolder = _DEFAULT, *, dry_run: DryRun = False
) -> None:
    """Set this machine's clock by the registrar's, where no time server answers.

    The answer must be signed by the registrar whom the claim names, and lie between the moment at
    which the claim was made and that at which it, or the box's certificate, runs out.
    """
    with reported():
        place = Folder(private_folder(folder).absolute())
        given = claim_file is not None and claim_file.exists()
        claim = load_claim(claim_file) if claim_file and given else place.read_claim()
        if dry_run:
            say(f"would ask {claim.url} for the time, and set the clock by it")
            return
        done = registrar_clock.set_by_registrar(place, claim)
        if done.was_set:
            way = "behind" if done.moved_ms > 0 else "ahead"
            say(
                f"the clock was {abs(done.moved_ms) / 1000:,.0f} s {way}; it is set by the time"
                f" that the registrar of site {claim.site} signed"
            )
        else:
            say("the clock agrees with the registrar's")


@app.command(epilog="Example:  sealtrace box request --claim-file claim.toml --out /media/usb")
def request(
    claim_file: _ClaimFile = None,
    folder: _BoxFolder = _DEFAULT,
    *,
    out: Annotated[Path, typer.Option("--out", help="Folder or file, on the USB stick.")],
    keys: _Keys = "auto",
    runtime: _Runtime = RUNTIME_FOLDER,
    dry_run: DryRun = False,
) -> None:
    """Without a network: make this box's keys, write a request for headquarters to a USB stick."""
    with reported():
        if dry_run:
            _say_plan(claim_file, folder)
            return
        place, claim = steps.begin(folder, claim_file)
        asked = steps.request(place, claim, _keys(place.path, keys, runtime))
        target = out / f"{claim.box}.request" if out.is_dir() else out
        steps.write_exchange(target, asked.to_bytes())
        give_to_owner(place.path, owner_of=place.path)
        say(f"{target} is written. It holds the claim: give it to nobody else.")
        say(f"Next, at headquarters: sealtrace box admit DIR {quoted(target.name)} --out USB")


@app.command(epilog="Example:  sealtrace box install /media/usb/box-7.admission")
def install(
    admission: Annotated[Path, typer.Argument(help="The file of `sealtrace box admit`.")],
    folder: _BoxFolder = _DEFAULT,
    *,
    cameras_file: _CamerasFile = None,
    runtime: _Runtime = RUNTIME_FOLDER,
    dry_run: DryRun = False,
) -> None:
    """Install headquarters' answer to `box request`, after checking all its signatures."""
    with reported():
        answer = steps.read_admission(admission)
        sources = steps.read_sources(cameras_file) if cameras_file else None
        place = Folder(folder.absolute())
        if dry_run:
            say(f"would install {admission} for {answer.box} in {folder}")
            return
        done = steps.accept(place, answer, _keys(place.path, "auto", runtime), sources=sources)
        say(f"{done.box} is admitted; certificate until {done.until:%Y-%m-%d %H:%M} UTC")
        say(f"Next: sealtrace edge run --config {quoted(place.box_toml)}")


@app.command(epilog="Example:  sealtrace box renew --if-due --restart sealtrace-edge.service")
def renew(
    folder: _BoxFolder = _DEFAULT,
    *,
    if_due: Annotated[
        bool, typer.Option("--if-due", help="Only if less than a third of its life is left.")
    ] = False,
    restart: Annotated[
        str, typer.Option(metavar="UNIT", help="Unit to restart if the configuration changed.")
    ] = "",
    runtime: _Runtime = RUNTIME_FOLDER,
    dry_run: DryRun = False,
) -> None:
    """Renew this box's certificate and fetch its configuration; a timer runs this by itself.

    The running agent takes the new certificate at its next connection.
    """
    with reported():
        place = Folder(folder.absolute())
        if dry_run:
            held = place.read_certificate()
            if held is None:
                raise OperationError(f"{folder} holds no certificate; run `sealtrace box join`")
            due = "is due" if steps.renewal_due(held) else "is not due yet"
            say(f"the certificate holds until {held.not_valid_after_utc:%Y-%m-%d}; renewal {due}")
            return
        done, renewed = steps.renew(place, _keys(place.path, "auto", runtime), if_due=if_due)
        what = "renewed" if renewed else "not due yet"
        say(f"{done.box}: certificate {what}, until {done.until:%Y-%m-%d %H:%M} UTC")
        if done.changed:
            say("the configuration changed")
            _restart(restart)


@app.command(epilog="Example:  sealtrace box unseal")
def unseal(folder: _BoxFolder = _DEFAULT, *, runtime: _Runtime = RUNTIME_FOLDER) -> None:
    """Put keys that the TPM holds where the agent reads them, in memory; else do nothing."""
    with reported():
        place = Folder(folder.absolute())
        found = _keys(place.path, "auto", runtime)
        if not found.exist():
            raise OperationError(f"{folder} holds no keys; run `sealtrace box join`")
        found.load(place.read_claim().box)
        if found.kind == "tpm":
            give_to_owner(runtime, owner_of=place.path)
        say(f"keys are in {_where(found)}")


@app.command("units", epilog="Example:  sealtrace box units --out /etc/systemd/system")
def write_units(
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write to. Default: print them.")
    ] = None,
    command: Annotated[str, typer.Option(help="Path of the command.")] = units.SEALTRACE,
    folder: _BoxFolder = _DEFAULT,
) -> None:
    """Write the systemd units that unseal keys at start and renew the certificate in time."""
    with reported():
        for name, text in units.units(command, str(folder)).items():
            if out is None:
                say(f"# {name}\n{text}")
                continue
            atomic_write(private_folder(out) / name, text.encode())
        if out is not None:
            say(f"written; then: systemctl enable {units.UNSEAL_UNIT} {units.RENEW_TIMER}")


def _keys(folder: Path, backend: str, runtime: Path) -> BoxKeys:
    names: dict[str, Backend] = {"auto": "auto", "file": "file", "tpm": "tpm"}
    if backend not in names:
        raise typer.BadParameter("must be file, tpm or auto", param_hint="--keys")
    return open_keys(folder, names[backend], runtime=runtime)


def _where(keys: BoxKeys) -> str:
    if keys.kind == "tpm":
        return f"the TPM (and, while it runs, {keys.identity_file.parent})"
    return f"{keys.identity_file} (readable by its owner only)"


def _say_plan(claim_file: Path | None, folder: Path) -> None:
    place = Folder(folder.absolute())
    claim = load_claim(claim_file) if claim_file else place.read_claim()
    done = "is admitted already" if place.box_toml.exists() else "would join"
    say(f"{claim.box} {done} with {claim.url}, site {claim.site}, in {folder}")


def _restart(unit: str) -> None:
    if not unit:
        say("Restart the agent, so that it takes effect.")
        return
    try:
        ended = subprocess.run(["systemctl", "try-restart", unit], check=False).returncode
    except OSError as error:
        raise OperationError(f"systemctl cannot be run: {error.strerror}") from error
    if ended:
        warn(f"`systemctl try-restart {unit}` failed ({ended}); restart the agent by hand")
    else:
        say(f"{unit} was restarted")
