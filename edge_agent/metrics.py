"""What a board tells monitoring on the board itself: the figures of its health report, no more.

These are what whoever keeps the broker reads as well (`edge_agent.health`), so nothing in them
rises because somebody passed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edge_agent.config import BoxConfig
from runtime.metrics import Family, Figures, Metrics, Subject

FAMILIES = (
    Family(
        "sealtrace_edge_outbox_messages", "Messages on their way, by where they are.", ("state",)
    ),
    Family("sealtrace_edge_outbox_bytes", "Bytes of messages that are kept."),
    Family("sealtrace_edge_outbox_disk_full", "1: sealed sightings are kept in memory."),
    Family("sealtrace_edge_counted", "Totals since the box was set up.", ("what",)),
    Family(
        "sealtrace_edge_camera_state",
        "0 failed, 1 no frames now, 2 working, 3 ended.",
        ("camera",),
    ),
    Family("sealtrace_edge_camera_fps", "Frames looked at a second.", ("camera",)),
    Family("sealtrace_edge_camera_frames_total", "Frames read.", ("camera",)),
    Family("sealtrace_edge_camera_dropped_total", "Frames dropped, being behind.", ("camera",)),
    Family("sealtrace_edge_camera_waiting_for_keys", "1: sightings wait for keys.", ("camera",)),
    Family(
        "sealtrace_edge_camera_generation_timestamp_seconds",
        "When its present keys were drawn, in seconds since 1970.",
        ("camera",),
    ),
    Family(
        "sealtrace_edge_trouble",
        "What is wrong, by kind and whose it is; codes as in health reports.",
        ("kind", "of"),
    ),
    Family("sealtrace_edge_figure", "Other figures of the health report, by name.", ("name",)),
)
_MOST = 512
_OUTBOX = ("queued", "sent", "acknowledged", "in_memory")
_OF_CAMERA = {
    "state": "sealtrace_edge_camera_state",
    "fps": "sealtrace_edge_camera_fps",
    "read": "sealtrace_edge_camera_frames_total",
    "dropped": "sealtrace_edge_camera_dropped_total",
    "waiting_for_keys": "sealtrace_edge_camera_waiting_for_keys",
    "generation": "sealtrace_edge_camera_generation_timestamp_seconds",
}
_LEFT_OUT = ("model.", "group.")
"""Always 1: the name is the news, and would be another series with each release."""


def metrics_of(config: BoxConfig, figures: Callable[[], Mapping[str, float]]) -> Metrics:
    """Return the metrics of a board whose health reports have these figures."""

    def put(into: Figures) -> None:
        for name, value in list(figures().items())[:_MOST]:
            _put(into, name, value)

    return Metrics(
        config.metrics,
        Subject(
            "edge",
            config.state_dir,
            certificates={"mqtt": config.mqtt.tls},
            costs=False,
        ),
        families=FAMILIES,
        sources={"health": put},
    )


def _put(into: Figures, name: str, value: float) -> None:
    head, _, rest = name.partition(".")
    if name.startswith(_LEFT_OUT):
        return
    if head == "outbox" and rest in _OUTBOX:
        into.put("sealtrace_edge_outbox_messages", value, rest)
    elif name == "outbox.bytes":
        into.put("sealtrace_edge_outbox_bytes", value)
    elif name == "outbox.disk_full":
        into.put("sealtrace_edge_outbox_disk_full", value)
    elif head == "count":
        into.put("sealtrace_edge_counted", value, rest)
    elif head == "camera" and (what := rest.rpartition("."))[2] in _OF_CAMERA:
        into.put(_OF_CAMERA[what[2]], value, what[0])
    elif head == "trouble":
        kind, _, of = rest.partition(".")
        into.put("sealtrace_edge_trouble", value, kind, of)
    else:
        into.put("sealtrace_edge_figure", value, name)
