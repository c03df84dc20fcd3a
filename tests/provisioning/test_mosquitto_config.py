"""What is written for Mosquitto says what it must, and nothing secret is open to read."""

from __future__ import annotations

import pytest

from protocol.names import day_keys_topic, directory_topic, notice_topic
from provisioning.authority import SitePaths
from provisioning.formats.plan_services import BrokerPlan
from provisioning.registrar.broker_rights import Rights

BOXES = {"box-1": ("cam-1",), "box-2": ("cam-2", "cam-3")}


def _listeners(text: str) -> list[dict[str, str]]:
    """The settings of each listener, what stands before the first one left out."""
    parts = text.split("\nlistener ")[1:]
    lines = [("listener " + part).splitlines() for part in parts]
    return [dict(s.split(" ", 1) for s in part if s and s[0] != "#") for part in lines]


def test_each_listener_asks_for_certificates_and_names_files_that_exist(
    made_site: SitePaths,
) -> None:
    boxes, headquarters = _listeners(made_site.broker_config.read_text())
    assert (boxes["listener"], headquarters["listener"]) == ("8883 127.0.0.1", "8884 127.0.0.1")
    for settings in (boxes, headquarters):
        assert settings["require_certificate"] == "true"
        assert settings["use_identity_as_username"] == "true"
        assert settings["use_username_as_clientid"] == "true"
        assert settings["allow_anonymous"] == "false"
        assert settings["tls_version"] == "tlsv1.3"
        assert settings["max_qos"] == "1"
        assert int(settings["max_connections"]) > 0
        for name in ("cafile", "certfile", "keyfile", "crlfile", "acl_file"):
            assert (made_site.broker / settings[name]).exists(), name
    assert boxes["acl_file"] != headquarters["acl_file"]
    assert boxes["crlfile"] != headquarters["crlfile"]


def test_everything_that_the_broker_keeps_for_others_has_a_limit(made_site: SitePaths) -> None:
    *_, last = _listeners(made_site.broker_config.read_text())
    limits = {
        name: int(last[name])
        for name in (
            "max_packet_size",
            "message_size_limit",
            "max_inflight_messages",
            "max_inflight_bytes",
            "max_queued_messages",
            "max_queued_bytes",
            "memory_limit",
        )
    }
    assert all(limits.values())  # zero is "no limit"
    assert limits["message_size_limit"] < limits["max_queued_bytes"] < limits["memory_limit"]


def test_the_key_and_the_rights_are_private(made_site: SitePaths) -> None:
    for name in ("certs/private-key.pem", "acl", "acl-boxes", "acl-headquarters"):
        assert (made_site.broker / name).stat().st_mode & 0o777 == 0o600
    assert made_site.broker.stat().st_mode & 0o777 == 0o700


def test_nobody_may_write_a_topic_of_which_they_choose_a_part() -> None:
    rights = Rights("demo", "aggregator", BOXES)
    written = [
        line for line in rights.boxes_acl().splitlines() if " write " in line and line[0] != "#"
    ]
    assert written
    assert not [line for line in written if set("%+#") & set(line)]
    assert rights.topics_of("box-2") == [
        "st/v1/demo/box-2/cam-2/envelope",
        "st/v1/demo/box-2/cam-2/epoch",
        "st/v1/demo/box-2/cam-3/envelope",
        "st/v1/demo/box-2/cam-3/epoch",
        "st/v1/demo/box-2/health",
        "st/v1/demo/box-2/stills",
    ]
    by_boxes, of_cameras, to_boxes, day_keys, lists, notice = 4 + 6, 2 * 3, 2, 2 * 3, 2 + 1, 1
    assert Rights("demo", "aggregator", BOXES, custodians=3).retained_topics == (
        by_boxes + of_cameras + to_boxes + day_keys + lists + notice
    )


@pytest.mark.parametrize(
    "topic",
    [
        directory_topic("demo", 1),
        directory_topic("demo", 2),
        day_keys_topic("demo", "+", 1),
        day_keys_topic("demo", "+", 2),
        notice_topic("demo"),
    ],
)
def test_what_the_aggregator_hands_to_boxes_is_written_by_it_alone(topic: str) -> None:
    rights = Rights("demo", "aggregator", BOXES)
    assert f"topic write {topic}\n" in rights.headquarters_acl()
    assert f"pattern read {topic}\n" in rights.boxes_acl()
    assert f"write {topic}\n" not in rights.boxes_acl()


def test_the_boxes_listener_knows_no_aggregator_and_the_other_no_box() -> None:
    rights = Rights("demo", "aggregator", BOXES)
    assert "user aggregator" not in rights.boxes_acl()
    assert "box" not in rights.headquarters_acl().replace("Rights at the broker", "")
    assert "pattern" not in rights.headquarters_acl()
    for text in (rights.boxes_acl(), rights.headquarters_acl()):
        assert {line for line in text.splitlines() if line[:5] in {"topic", "user "}} <= set(
            rights.acl().splitlines()
        )


def test_revoked_names_are_denied_before_anything_is_granted() -> None:
    rights = Rights("demo", "aggregator", {}, revoked=["box-2", "box-1"])
    for text in (rights.acl(), rights.boxes_acl(), rights.headquarters_acl()):
        lines = text.splitlines()
        denied = [lines.index(f"topic deny st/v1/demo/{n}/#") for n in ("box-1", "box-2")]
        assert [lines[i - 1] for i in denied] == ["user box-1", "user box-2"]
        granted = [i for i, line in enumerate(lines) if " read " in line or " write " in line]
        assert max(denied) < min(granted)


def test_a_revoked_aggregator_is_denied_everything() -> None:
    text = Rights("demo", "aggregator", {}, revoked=["aggregator"]).headquarters_acl()
    assert text.index("user aggregator\ntopic deny #\n") < text.index("topic read st/v1/demo/#")


@pytest.mark.parametrize("port", [{"headquarters_port": 8883}, {"port": 65535}])
def test_the_listeners_cannot_share_a_port(port: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="headquarters_port"):
        BrokerPlan.model_validate(port)
