"""An S3 on loopback (moto's), one for all tests of a process; a bucket of its own for each."""

from __future__ import annotations

import atexit
import logging
from functools import cache
from itertools import count
from pathlib import Path

from moto.server import ThreadedMotoServer

from aggregator.store import ObjectsPlace

ACCESS_KEY, SECRET_KEY = "AKIDOFATEST", "a-secret-that-no-log-may-show"
_numbers = count(1)


class S3Server:
    """A server that can be stopped, and started again at the same address with what it had."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        self._port = self._server.get_host_and_port()[1]

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._port}"

    def stop(self) -> None:
        """End it: connections are refused from now on."""
        self._server.stop()

    def start(self) -> None:
        """Start it again."""
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self._port, verbose=False)
        self._server.start()

    def place(self, folder: Path, *, bucket: bool = True) -> ObjectsPlace:
        """Return a place in a bucket that is new, unless it is not to be there."""
        import boto3

        name = f"bucket-{next(_numbers)}"
        credentials = folder / "s3.toml"
        credentials.write_text(
            f'access_key_id = "{ACCESS_KEY}"\nsecret_access_key = "{SECRET_KEY}"\n'
        )
        credentials.chmod(0o600)
        if bucket:
            client = boto3.client(
                "s3",
                endpoint_url=self.endpoint,
                region_name="us-east-1",
                aws_access_key_id=ACCESS_KEY,
                aws_secret_access_key=SECRET_KEY,
            )
            client.create_bucket(Bucket=name)
        return ObjectsPlace(f"s3://{name}/of/a-city", self.endpoint, credentials=credentials)


@cache
def s3_server() -> S3Server:
    """Return the server, started when it is first asked for."""
    server = S3Server()
    atexit.register(server.stop)
    return server
