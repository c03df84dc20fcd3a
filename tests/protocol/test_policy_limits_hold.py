"""Each limit that a policy states holds against attacks; one that is missing permits nothing."""

from __future__ import annotations

from dataclasses import replace

import protocol_samples as s
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.authorization import check_policy
from protocol.errors import MalformedMessage, PolicyViolation, QueryExpired
from protocol.names import SLOT_MS
from protocol.policy import Policy, parse_policy
from protocol.query import Query, Subject, TemplateReference

HOUR = 4 * SLOT_MS
DAY = 24 * HOUR
OTHER = "other-16@00000001"
RUNNING_ENDS = (s.query().requested_at_ms // SLOT_MS + 1) * SLOT_MS
"""When the quarter hour ends that runs when the sample query is asked."""


def policy(**changes: object) -> Policy:
    return replace(s.POLICY, **changes)  # type: ignore[arg-type]


def check(query: Query, held: Policy = s.POLICY, *, now_ms: int = s.NOW_MS) -> None:
    """Take the query as it arrives: signed, parsed again, held against the policy."""
    arrived = Query.parse(query.sign(s.signing_key("ana")).payload)
    check_policy(replace(arrived, policy_digest=held.digest), held, now_ms=now_ms)


def of_model(model: str, modality: str = "face") -> tuple[Subject, ...]:
    reference = TemplateReference(modality, model, s.template().digest)
    return (Subject("P-17", "form 17", (reference,)),)


def test_a_model_without_a_floor_is_permitted_to_no_query() -> None:
    for held in (policy(threshold_floor={}), policy(threshold_floor={OTHER: 0.4})):
        for score in (-1.0, 0.5, 1.0):
            with pytest.raises(PolicyViolation, match="states no threshold_floor"):
                check(s.query(thresholds={s.MODEL: score}), held)
    check(s.query())


def test_a_model_without_a_floor_is_not_let_in_beside_one_that_has_it() -> None:
    both = (*s.query().subjects[0].templates, of_model(OTHER)[0].templates[0])
    subject = replace(s.query().subjects[0], templates=both)
    query = s.query(subjects=(subject,), thresholds={s.MODEL: 0.5, OTHER: -1.0})
    with pytest.raises(PolicyViolation, match=OTHER):
        check(query)


def test_a_threshold_for_a_model_of_which_nothing_is_brought_is_refused() -> None:
    held = policy(threshold_floor={s.MODEL: 0.4, OTHER: 0.4})
    with pytest.raises(PolicyViolation, match="no template"):
        check(s.query(thresholds={s.MODEL: 0.5, OTHER: 0.5}), held)


def test_a_kind_of_template_of_which_nothing_is_brought_is_not_opened() -> None:
    with pytest.raises(PolicyViolation, match="appearance"):
        check(s.query(modalities=("face", "appearance")))


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf"), -1.01, 1.01, True])
def test_a_threshold_that_is_no_score_is_no_query(score: float) -> None:
    with pytest.raises(MalformedMessage):
        check(s.query(thresholds={s.MODEL: score}))


@pytest.mark.parametrize("score", ["nan", "inf", "-inf", "-1.01", "true", '"0.5"'])
def test_a_floor_that_is_no_score_is_no_policy(score: str) -> None:
    text = s.POLICY_TEXT.replace(b"= 0.4", f"= {score}".encode())
    with pytest.raises(MalformedMessage, match="threshold_floor"):
        parse_policy(text)


@pytest.mark.parametrize(
    "line", [line for line in s.POLICY_TEXT.splitlines() if b" = " in line and b"@" not in line]
)
def test_a_policy_that_leaves_a_limit_unstated_is_no_policy(line: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse_policy(s.POLICY_TEXT.replace(line + b"\n", b"", 1))


@pytest.mark.parametrize("modalities", ['[["face"]]', "[{}]", "[1]", '"face"'])
def test_a_policy_of_odd_modalities_is_no_policy(modalities: str) -> None:
    text = s.POLICY_TEXT.replace(b'["face", "appearance"]', modalities.encode())
    with pytest.raises(MalformedMessage, match="modality"):
        parse_policy(text)


# -------------------------------------------------------------------------- windows that lie ahead


@pytest.mark.parametrize("live", [False, True])
def test_a_window_into_the_future_is_bounded_whatever_it_is_called(live: bool) -> None:
    held = policy(max_live_hours=2)
    check(s.query(live=live, window_to_ms=RUNNING_ENDS + 2 * HOUR), held)
    with pytest.raises(PolicyViolation, match="ahead"):
        check(s.query(live=live, window_to_ms=RUNNING_ENDS + 2 * HOUR + SLOT_MS), held)


def test_where_the_policy_forbids_watching_no_window_reaches_ahead() -> None:
    held = policy(max_live_hours=0)
    for ahead in (SLOT_MS, 40 * HOUR):
        with pytest.raises(PolicyViolation, match="ahead"):
            check(s.query(live=False, window_to_ms=RUNNING_ENDS + ahead), held)
    far = s.query(
        live=False,
        window_from_ms=RUNNING_ENDS + 40 * HOUR,
        window_to_ms=RUNNING_ENDS + 41 * HOUR,
    )
    with pytest.raises(PolicyViolation, match="ahead"):
        check(far, held)


def test_where_the_policy_forbids_watching_today_until_now_can_still_be_asked_for() -> None:
    held = policy(max_live_hours=0)
    check(s.query(live=False, window_to_ms=RUNNING_ENDS), held)
    with pytest.raises(PolicyViolation, match="live"):
        check(s.query(live=True, window_to_ms=RUNNING_ENDS), held)
    with pytest.raises(PolicyViolation, match="live"):
        check(s.query(live=True, window_to_ms=RUNNING_ENDS - SLOT_MS), held)


@given(
    dated=st.integers(-20 * DAY, 4 * 60_000),
    ahead=st.integers(1, 48 * 4),
    most=st.integers(0, 24),
    live=st.booleans(),
)
def test_no_date_of_asking_lets_a_query_follow_people_for_longer(
    dated: int, ahead: int, most: int, live: bool
) -> None:
    """From the moment a query can first be granted nothing beyond the limit lies ahead of it."""
    requested_ms = s.NOW_MS + dated
    query = s.query(
        live=live,
        requested_at_ms=requested_ms,
        not_after_ms=requested_ms + 14 * DAY,
        window_to_ms=s.NOW_MS // SLOT_MS * SLOT_MS + ahead * SLOT_MS,
    )
    try:
        check(query, policy(max_live_hours=most))
    except (PolicyViolation, QueryExpired, MalformedMessage):
        return
    followed_ms = query.window_to_ms - max(s.NOW_MS, query.window_from_ms)
    assert followed_ms <= most * HOUR + SLOT_MS + 5 * 60_000


# ---------------------------------------------------------------------------------- other limits


@pytest.mark.parametrize(
    ("held", "changes"),
    [
        ({"max_cameras": 1}, {"cameras": ("cam-1", "cam-2")}),
        ({"max_window_hours": 1}, {"window_to_ms": s.query().window_from_ms + HOUR + SLOT_MS}),
        ({"max_candidates": 49}, {}),
        ({"max_query_days": 1}, {"not_after_ms": s.query().requested_at_ms + DAY + 1}),
        ({"max_subjects": 1}, {"subjects": (*s.query().subjects, *of_model(s.MODEL))}),
        ({"bases": {}}, {}),
        (
            {"bases": {"consent": replace(s.POLICY.bases["consent"], modalities=frozenset())}},
            {},
        ),
    ],
    ids=["cameras", "window", "candidates", "validity", "subjects", "no basis", "no modality"],
)
def test_one_more_than_each_limit_is_refused(
    held: dict[str, object], changes: s.QueryChanges
) -> None:
    subjects = changes.get("subjects")
    if subjects is not None:
        changes = {**changes, "subjects": (subjects[0], replace(subjects[1], pseudonym="P-18"))}
    with pytest.raises(PolicyViolation):
        check(s.query(**changes), policy(**held))


def test_a_query_dated_back_gains_no_day_of_validity() -> None:
    held = policy(max_query_days=7)
    asked_ms = s.NOW_MS - 3 * DAY
    with pytest.raises(PolicyViolation, match="validity"):
        check(s.query(requested_at_ms=asked_ms, not_after_ms=s.NOW_MS + 5 * DAY), held)


def test_nobody_and_nothing_is_named_twice_to_be_counted_once() -> None:
    subject = s.query().subjects[0]
    for changes in (
        {"subjects": (subject, subject)},
        {"cameras": ("cam-1", "cam-1")},
        {"modalities": ("face", "face")},
    ):
        with pytest.raises(MalformedMessage):
            check(s.query(**changes))


def test_a_subject_has_no_more_templates_than_one_query_may_bring() -> None:
    one = s.query().subjects[0].templates[0]
    listed = tuple(replace(one, digest=s.fixed(f"digest {n}", 32)) for n in range(9))
    check(s.query(subjects=(replace(s.query().subjects[0], templates=listed[:8]),)))
    with pytest.raises(MalformedMessage):
        check(s.query(subjects=(replace(s.query().subjects[0], templates=listed),)))
