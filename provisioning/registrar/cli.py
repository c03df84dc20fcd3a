"""`sealtrace registrar`: run the service that new boxes come to, and look at it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from provisioning.formats.layout import registrar_config
from provisioning.formats.options import PassphraseFile, reported
from provisioning.registrar.config import RegistrarConfig
from runtime.config import load
from runtime.keyfiles import get_passphrase
from runtime.role_cli import serve_as_told
from runtime.terminal import say

app = typer.Typer(
    name="registrar",
    no_args_is_help=True,
    add_completion=False,
    help="Run the service where claimed boxes get certificate and configuration.",
)
_Config = Annotated[
    Path,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="registrar.toml. Default: the one in this folder.",
        default_factory=lambda: registrar_config(Path()),
        show_default=False,
    ),
]


@app.command(
    epilog="Examples:  sealtrace registrar serve --config registrar.toml --passphrase-file FILE"
    "   |   sealtrace registrar serve --check"
)
def serve(
    config: _Config,
    passphrase_file: PassphraseFile = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print every key and its meaning; then stop.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Check configuration, keys and directory; then stop.")
    ] = False,
) -> None:
    """Serve until stopped (SIGTERM, Ctrl-C); SIGHUP reads the directory again.

    Admissions and revocations, also those made by `sealtrace box` commands beside it, are brought
    to the custodians, the aggregator and the broker until all of them have them.
    """
    with reported():
        serve_as_told(
            config,
            RegistrarConfig,
            role="registrar",
            unlock=lambda settings: get_passphrase(passphrase_file, what=str(settings.identity)),
            verify=_check,
            run=_run,
            print_config=print_config,
            check=check,
        )


# What is imported in these two takes longest to load (FastAPI), and `--help` does not need it.


def _check(settings: RegistrarConfig, passphrase: bytes) -> None:
    from provisioning.registrar.keys import open_keys  # noqa: PLC0415
    from provisioning.registrar.registrar import Registrar  # noqa: PLC0415
    from runtime.tls import server_context  # noqa: PLC0415

    server_context(settings.tls)
    Registrar(settings, open_keys(settings, passphrase)).close()


def _run(settings: RegistrarConfig, passphrase: bytes) -> int:
    from provisioning.registrar.service import run  # noqa: PLC0415

    return run(settings, passphrase)


@app.command(epilog="Example:  sealtrace registrar status --config registrar.toml")
def status(
    config: _Config,
    url: Annotated[str, typer.Option("--url", help="Where it serves. Default: as in FILE.")] = "",
) -> None:
    """Ask the running service how it is (JSON)."""
    from runtime.http import client, json_of  # noqa: PLC0415

    with reported():
        settings = load(config, RegistrarConfig)
        with client(url or settings.url, settings.tls) as http:
            say(json.dumps(json_of(http.get("/v1/status")), indent=2))
