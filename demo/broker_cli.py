"""`sealtrace broker`: run the embedded MQTT broker of the demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from demo.broker import BrokerPlace, EmbeddedBroker
from runtime import logs
from runtime.config import LogConfig
from runtime.lifecycle import Stop, Systemd, signals

app = typer.Typer(
    name="broker",
    no_args_is_help=True,
    help="Run the embedded MQTT broker: for the demo and tests, on this machine only.",
)
_ALIVE_CHECK_S = 0.5


@app.callback()
def group() -> None:
    """Run the embedded MQTT broker: for the demo and tests, on this machine only."""


@app.command()
def serve(
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for its generated configuration.")
    ] = Path(".sealtrace/broker"),
    port: Annotated[int, typer.Option(help="TCP port to listen on.")] = 1883,
    host: Annotated[str, typer.Option(help="Loopback address to listen on.")] = "127.0.0.1",
) -> None:
    """Serve MQTT 5 until interrupted; prints one line when it is ready.

    It keeps nothing over a restart and checks no certificates, so it listens on loopback only. A
    site runs Mosquitto.

    Example: sealtrace broker serve --port 18830 --data /tmp/broker
    """
    logs.configure(LogConfig(level="warning"), role="broker")
    stop = Stop()
    broker = EmbeddedBroker(BrokerPlace(port=port, data=data, host=host))
    with signals(stop), broker:
        typer.echo(f"ready: MQTT 5 on {host}:{port}")
        systemd = Systemd()
        systemd.ready()
        while not stop.wait(_ALIVE_CHECK_S):
            if not broker.running:
                typer.echo("error: the broker's process ended by itself; start it again", err=True)
                raise typer.Exit(1)
        systemd.stopping()
