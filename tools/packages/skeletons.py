"""Skeletons of configurations, from the classes that read them: every key, its meaning, default."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from aggregator.config import AggregatorConfig
from custodian.config import CustodianConfig
from edge_agent.config import BoxConfig, CameraConfig, render_box
from provisioning.registrar.config import RegistrarConfig
from runtime.config import TlsConfig, render

_HEAD = """\
# An example, which no service reads: `sealtrace site` makes the real file, and `sealtrace-place`
# puts it here. Every key with its meaning; paths count from the file's folder.

"""
_SITE, _AUTHORITY = "north", "58" + "66" * 31


def skeleton(role: str) -> str:
    """Return the example of a role's configuration file."""
    tls = TlsConfig(
        ca=Path("tls/ca.pem"),
        certificate=Path("tls/certificate.pem"),
        private_key=Path("tls/private-key.pem"),
    )
    camera = CameraConfig(name="cam-1", source="rtsp://camera.example/stream")
    models: dict[str, BaseModel] = {
        "aggregator": AggregatorConfig(site=_SITE, authority=_AUTHORITY, tls=tls),
        "custodian": CustodianConfig(site=_SITE, name="c1", authority=_AUTHORITY, tls=tls),
        "registrar": RegistrarConfig(
            site=_SITE, authority=_AUTHORITY, url="https://registrar.example:8445", tls=tls
        ),
    }
    if role == "edge":
        box = BoxConfig(site=_SITE, box="box-1", authority=_AUTHORITY, cameras=(camera,))
        return _HEAD + render_box(box)
    return _HEAD + render(models[role])
