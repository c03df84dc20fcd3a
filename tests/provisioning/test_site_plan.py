"""A site that cannot work is refused before any key is made, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import provisioning.authority.policy_text
from protocol.policy import Permissions, parse_policy
from provisioning.authority import SiteError, SitePlan, create_site, load_plan
from provisioning.authority.example import example_toml
from provisioning.authority.policy_text import policy_text
from provisioning.formats.plan import site_toml
from provisioning.formats.plan_policy import PolicyPlan
from runtime.config import ConfigError

Values = Callable[..., dict[str, Any]]
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str) -> Path:
        path = tmp_path / "site.toml"
        path.write_text(text)
        return path

    return written


def test_the_example_is_a_site_and_shows_every_section(write: Write) -> None:
    text = example_toml(datetime(2027, 1, 1, tzinfo=UTC))
    plan = load_plan(write(text))
    assert plan.warnings() == []
    assert plan.policy.programme_ends == datetime(2027, 6, 30, tzinfo=UTC)
    for field in SitePlan.model_fields:
        assert field in text
    for field in PolicyPlan.model_fields:
        assert field in text


def test_the_examples_values_are_the_defaults(write: Write) -> None:
    plan = load_plan(write(example_toml()))
    assert plan.policy.model_dump(exclude={"programme_ends"}) == PolicyPlan().model_dump(
        exclude={"programme_ends"}
    )
    fields = SitePlan.model_fields
    assert plan.certificates == fields["certificates"].default
    assert plan.security == fields["security"].get_default(call_default_factory=True)


def test_what_a_site_was_made_from_reads_back(values: Values, write: Write) -> None:
    boxes = [
        {
            "name": "box-1",
            "cameras": [{"name": "cam-1", "source": "/a", "homography": [[1, 0.5], [0, 2]]}],
            "settings": {"outbox": {"max_mb": 5}, "note": 'a "quoted" \x7f word\n'},
        }
    ]
    plan = SitePlan.model_validate(values(boxes=boxes))
    assert load_plan(write(site_toml(plan))) == plan


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"threshold": 4}, "cannot be met by 3 custodians"),
        ({"officers": [{"name": "ana", "duties": ["investigator", "auditor"]}]}, "approvers"),
        ({"officers": [{"name": "bo", "duties": ["approver"]}]}, "must be investigator"),
        (
            {"officers": [{"name": n, "duties": ["investigator", "approver"]} for n in "abc"]},
            "must be auditor",
        ),
        ({"custodians": [{"name": "ana", "port": 1}] * 2}, "threshold|given twice"),
        ({"custodians": [{"name": "ana", "port": 1}], "threshold": 1}, "'ana' is given twice"),
        ({"custodians": [{"name": "broker", "port": 1}], "threshold": 1}, "reserved"),
        (
            {"custodians": [{"name": "c1", "port": 8440}], "threshold": 1},
            "address 'https://localhost:8440' is given twice",
        ),
        ({"broker": {"kind": "embedded", "host": "hq.example"}}, "stays on loopback"),
        ({"policy": {"approvals": 3}}, "needs 3 approvals but only 2"),
        (
            {"policy": {"legal_basis": {"statutory-order": {"modalities": ["face"]}}}},
            "recorded consent",
        ),
        ({"policy": {"programme_ends": "2027-01-01T00:00:00"}}, "time zone"),
        ({"policy": {"contacts": "everybody"}}, "contacts"),
        ({"policy": {"purposes": ["exercise", "exercise"]}}, "one twice"),
        ({"policy": {"purposes": ["a\x1bb"]}}, "U\\+001B"),
        ({"policy": {"purposes": ["trac\u0456ng"]}}, "mixes Cyrillic and Latin"),
        ({"policy": {"purposes": ["ward 1", "ward I"]}}, "look alike"),
        ({"time_zone": "Asia/Soeul"}, "did you mean 'Asia/Seoul'"),
        ({"policy": {"option_approvals": {"gait": 1}}}, "knows no gait"),
        ({"policy": {"cover": "steady"}}, "cover_interval_s goes with"),
        ({"policy": {"cover_interval_s": 30}}, "cover_interval_s goes with"),
        (
            {
                "boxes": [
                    {"name": f"box-{n}", "cameras": [{"name": "cam", "source": "x"}]} for n in "ab"
                ]
            },
            "camera 'cam' is given twice",
        ),
        ({"boxes": [{"name": "Box 1", "cameras": [{"name": "c", "source": "x"}]}]}, "not a name"),
        ({"aggregator": {"host": "https://hq"}}, "without scheme"),
    ],
)
def test_contradictions_are_refused(values: Values, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SitePlan.model_validate(values(**changed))


def test_a_misspelt_key_is_named(write: Write) -> None:
    with pytest.raises(ConfigError, match="did you mean 'threshold'"):
        load_plan(write(example_toml().replace("threshold = 2", "treshold = 2", 1)))


def test_risky_choices_are_warned_of(values: Values) -> None:
    assert any("any single custodian" in w for w in _warnings(values(threshold=1)))
    assert any("losing one" in w for w in _warnings(values(threshold=3)))
    assert any("statutory order need 3" in w for w in _warnings(values()))


def test_relative_clips_count_from_the_plans_folder(write: Write) -> None:
    text = example_toml().replace("rtsp://user:password@10.0.0.11/stream1", "clips/a.mp4")
    path = write(text)
    assert load_plan(path).boxes[0].cameras[0].source == str(path.parent / "clips/a.mp4")
    path = write(example_toml())
    assert load_plan(path).boxes[0].cameras[0].source.startswith("rtsp://user")


def test_the_policy_file_says_what_the_plan_says() -> None:
    plan = PolicyPlan.model_validate(
        {
            "programme_ends": "2027-03-01T12:00:00+02:00",
            "approvals": 3,
            "max_live_hours": 0,
            "threshold_floor": {"face-192@0123abcd": 0.45},
        }
    )
    policy = parse_policy(policy_text("demo", plan, version=4))
    assert (policy.site, policy.version, policy.approvals) == ("demo", 4, 3)
    assert policy.programme_ends_ms == 1_772_359_200_000 + 365 * 86_400_000
    assert policy.threshold_floor == {"face-192@0123abcd": 0.45}
    assert policy.approvals_for("statutory-order") == 4
    assert policy.max_live_hours == 0


def test_a_new_sites_policy_of_the_second_schema_permits_what_the_plan_says_and_no_more() -> None:
    new = parse_policy(policy_text("demo", PolicyPlan(), schema=2))
    assert (new.schema, new.purposes) == (2, frozenset({"contact tracing"}))
    assert new.permits == Permissions(
        live=True, contacts="near", continuation_minutes=120, continuation_cameras=30
    )
    assert (new.confirmations, new.witnessed_enrolment, new.outside_witnesses) == (2, False, 0)
    assert (new.cover, new.option_approvals) == ("slots", {})
    other = PolicyPlan(
        purposes=("exercise", 'a "quoted" one'),
        live=False,
        contacts="linked",
        continuation=True,
        continuation_minutes=45,
        continuation_cameras=12,
        same_place_counts=True,
        evidence_stills=7,
        confirmations=3,
        enrolment_without_witness=False,
        cover="steady",
        cover_interval_s=30,
        outside_witnesses=2,
        option_approvals={"linked": 1, "evidence": 2},
    )
    said = parse_policy(policy_text("demo", other))
    assert said.purposes == frozenset({"exercise", 'a "quoted" one'})
    assert said.permits == Permissions(
        contacts="linked",
        continuation=True,
        continuation_minutes=45,
        continuation_cameras=12,
        same_place_counts=True,
        evidence_stills=7,
    )
    assert (said.confirmations, said.witnessed_enrolment) == (3, True)
    assert (said.cover, said.cover_interval_s, said.outside_witnesses) == ("steady", 30, 2)
    assert said.option_approvals == {"linked": 1, "evidence": 2}


def test_every_key_of_a_policy_has_a_comment_above_it() -> None:
    """And each stands there, so that whoever reads the file sees what could be said otherwise."""
    plan = PolicyPlan(cover="steady", cover_interval_s=30)
    lines = policy_text("demo", plan, schema=2).decode().splitlines()
    for key in ("policy_schema", *PolicyPlan.model_fields):
        (at,) = [
            number
            for number, line in enumerate(lines)
            if line.startswith((f"{key} =", f"[{key}]", f"[{key}.consent]"))
        ]
        assert lines[at - 1].startswith("#"), key


@pytest.mark.parametrize("schema", [1, 2])
def test_new_sites_have_the_schema_that_is_set_unless_the_first_could_not_say_it(
    monkeypatch: pytest.MonkeyPatch, schema: int
) -> None:
    monkeypatch.setattr(provisioning.authority.policy_text, "POLICY_SCHEMA_OF_NEW_SITES", schema)
    assert parse_policy(policy_text("demo", PolicyPlan())).schema == schema
    assert parse_policy(policy_text("demo", PolicyPlan(approvals=3))).schema == schema
    closed = parse_policy(policy_text("demo", PolicyPlan(contacts="none")))
    assert (closed.schema, closed.permits.contacts) == (2, "none")


def test_the_end_of_the_programme_is_not_moved_by_a_fraction_of_a_second() -> None:
    ends = datetime(2027, 3, 1, 12, 0, 0, 250_000, UTC)
    policy = parse_policy(policy_text("demo", PolicyPlan(programme_ends=ends)))
    assert policy.programme_ends_ms % 1000 == 250


def _warnings(values: dict[str, Any]) -> list[str]:
    return SitePlan.model_validate(values).warnings()


def test_a_new_site_with_one_investigator_has_to_say_that_they_decide_alone(
    values: Values, tmp_path: Path
) -> None:
    for policy in ({}, {"confirmations": 3}):
        plan = SitePlan.model_validate({**values(), "policy": policy})
        with pytest.raises(SiteError, match="officers must confirm a hit and 1 are investigator"):
            create_site(plan, tmp_path / "site", b"long enough to be one")
    assert not (tmp_path / "site").exists()


def test_a_site_that_was_made_before_two_were_the_default_still_opens(
    values: Values, write: Write
) -> None:
    """Its ``site.toml`` says nothing of confirmations; its signed policy does."""
    text = site_toml(SitePlan.model_validate(values()))
    assert "confirmations = 1\n" in text
    opened = load_plan(write(text.replace("confirmations = 1\n", "")))
    assert [one.name for one in opened.officers if "investigator" in one.duties] == ["ana"]


def test_a_floor_that_is_none_and_one_who_decides_alone_are_warned_of(values: Values) -> None:
    low = {"threshold_floor": {"face-192@0123abcd": -1.0}, "confirmations": 1}
    warned = " ".join(SitePlan.model_validate(values(policy=low)).warnings())
    assert "threshold_floor -1 for face-192@0123abcd" in warned
    assert "who asks decides alone" in warned
