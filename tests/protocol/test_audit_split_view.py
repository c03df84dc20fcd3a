"""Two auditors who are shown two histories of one log cannot both find it cosigned."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import protocol_samples as s
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from split_views import LATE_MS, SplitLog, cosigned, judged, site_of

from protocol.audit import LogCopy
from protocol.auditlog import origin_of
from protocol.directory import AGGREGATOR
from protocol.findings import FindingKind, Severity
from protocol.names import SLOT_MS
from protocol.quorum import cosigning_quorum, distinct_reach, log_keepers, site_quorum

K = FindingKind

# Who signs whatever they are asked to; to whom else each of the two views is shown.
ATTACKS = {
    "a custodian with the aggregator, of three": (3, 2, "c1", ("aggregator",), ("c2",), ("c3",)),
    "the aggregator with a custodian, of three": (3, 2, "aggregator", ("c1",), ("c2",), ("c3",)),
    "honest witnesses alone, of five": (5, 2, "c1", (), ("c2", "c3"), ("c4", "c5")),
    "the aggregator too, of five": (5, 2, "c1", ("aggregator",), ("c2", "c3"), ("c4", "c5")),
    "three of five": (5, 3, "c1", ("aggregator", "c2"), ("c3",), ("c4", "c5")),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_of_two_views_at_most_one_is_covered(attack: str) -> None:
    custodians, threshold, keeper, liars, ones, others = ATTACKS[attack]
    directory, log = site_of(custodians, threshold), SplitLog(keeper)
    reports = [
        judged(directory, log.shown(view, (*liars, *honest)))
        for view, honest in enumerate((ones, others))
    ]
    uncovered = [report for report in reports if report.uncovered]
    assert uncovered
    for report in uncovered:
        (finding,) = (f for f in report.findings if f.origin == origin_of(s.SITE, keeper))
        assert finding.kind in {K.NOT_YET_COSIGNED, K.COSIGNATURES_MISSING}
        assert finding.severity in {Severity.WARNING, Severity.WRONG}
        assert "another history" in finding.message
    later = judged(directory, log.shown(0, (*liars, *ones)), now_ms=s.NOW_MS + 300 * SLOT_MS)
    assert {f.kind for f in later.wrong} == {K.COSIGNATURES_MISSING}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_witness_of_the_other_view_who_is_asked_gives_the_fork_away(attack: str) -> None:
    custodians, threshold, keeper, liars, ones, others = ATTACKS[attack]
    directory, log = site_of(custodians, threshold), SplitLog(keeper)
    told = {name: [log.says(0, name)] for name in (*ones, *liars)}
    told |= {name: [log.says(1, name)] for name in others}
    report = judged(directory, log.shown(0, (*liars, *ones)), witnessed=told)
    forked = [f for f in report.wrong if f.kind is K.LOG_FORKED]
    assert len(forked) == len(others)
    assert f"'{others[0]}' was shown another history of 2 entries" in forked[0].message


def test_what_witnesses_say_covers_what_the_log_kept_from_the_auditor() -> None:
    directory, log = site_of(3, 2), SplitLog("c1")
    everybody = ("aggregator", "c2", "c3")
    told = {name: [log.says(0, name)] for name in everybody}
    report = judged(directory, log.shown(0, ("c2",)), witnessed=told)
    assert not report.wrong
    assert not report.uncovered


def test_a_witness_that_has_seen_more_than_the_copy_is_named() -> None:
    directory, log = site_of(3, 2), SplitLog("c1")
    short = LogCopy(
        origin_of(s.SITE, "c1"),
        tuple(log.views[0][:1]),
        (cosigned("c1", log.views[0][:1], ("aggregator", "c2", "c3")),),
    )
    report = judged(directory, short, witnessed={"c3": [log.says(0, "c3")]})
    (finding,) = (f for f in report.findings if f.kind is K.COPY_BEHIND)
    assert "'c3' has cosigned 2 entries, the copy has 1" in finding.message


def test_who_was_asked_and_said_nothing_is_noted() -> None:
    directory, log = site_of(3, 2), SplitLog("c1")
    report = judged(directory, log.shown(0, ("aggregator", "c2", "c3")), witnessed={"c2": []})
    silent = {f.origin for f in report.findings if f.kind is K.WITNESS_SILENT}
    assert silent == {origin_of(s.SITE, name) for name in ("aggregator", "c1", "c3")}


@given(st.dictionaries(st.sampled_from(["c1", "c2", "mallory"]), st.lists(st.text(), max_size=3)))
@settings(max_examples=examples(80), deadline=None)
def test_whatever_a_role_says_that_it_saw_is_reported_and_never_raises(
    said: dict[str, list[str]],
) -> None:
    directory, log = site_of(3, 2), SplitLog("c1")
    shown = log.shown(0, ("aggregator", "c2", "c3"))
    report = judged(directory, shown, witnessed=said)
    assert {f.kind for f in report.wrong} <= {K.CHECKPOINT_INVALID}
    assert not report.uncovered


@pytest.mark.parametrize("said", ["", "x\n\n", "another's", "unsigned", "alone"])
def test_a_statement_that_does_not_verify_accuses_nobody_else(said: str) -> None:
    directory, log = site_of(3, 2), SplitLog("c1")
    text = {
        "another's": log.says(1, "c2"),
        "unsigned": cosigned("c2", log.views[1], ["c3"]).replace("/c2\n", "/c1\n", 1),
        "alone": cosigned("c1", log.views[1], []),
    }.get(said, said)
    report = judged(
        directory,
        log.shown(0, ("aggregator", "c2", "c3")),
        witnessed={"c3": [text], "c1": [], "c2": [], "aggregator": []},
    )
    assert {f.kind for f in report.wrong} <= {K.CHECKPOINT_INVALID}
    if said in {"another's", "unsigned", "alone"}:
        (finding,) = report.wrong
        assert "what 'c3' says that it saw does not verify" in finding.message


def test_two_names_with_one_key_are_one_witness() -> None:
    directory, log = site_of(3, 2), SplitLog("c1")
    twin = replace(directory.principals["c3"], verify_key=s.signing_key("aggregator").verify_key)
    doubled = replace(directory, principals={**directory.principals, "c3": twin})
    text = cosigned("c1", log.views[0], ("aggregator", "c2"))
    last = text.splitlines()[-2].replace("/aggregator ", "/c3 ")
    copy = replace(log.shown(0, ()), checkpoints=(f"{text}{last}\n",))
    report = judged(doubled, copy)
    assert report.uncovered
    assert K.KEY_SHARED in {f.kind for f in report.wrong}


@pytest.mark.parametrize(
    ("custodians", "threshold", "needed"),
    [(1, 1, 1), (3, 2, 3), (4, 2, 3), (5, 2, 4), (5, 3, 4), (7, 4, 6), (7, 7, 7)],
)
def test_the_quorum_is_half_of_n_and_m_rounded_up(
    custodians: int, threshold: int, needed: int
) -> None:
    directory = site_of(custodians, threshold)
    for keeper in log_keepers(directory).values():
        quorum = cosigning_quorum(directory, keeper)
        assert quorum.needed == needed <= len(quorum.witnesses)
        assert len(quorum.witnesses) == custodians
    assert site_quorum(custodians, threshold) == needed


def bad_sets(names: tuple[str, ...], keeper: str, threshold: int) -> list[frozenset[str]]:
    """Every set of colluders that may keep ``keeper``: fewer than m custodians, the aggregator."""
    others = [n for n in names if n not in {keeper, "aggregator"}]
    free = threshold - 1 - (keeper != "aggregator")
    aggregator = {"aggregator"} & set(names) - {keeper}
    return [frozenset(chosen) | aggregator for chosen in combinations(others, max(0, free))]


@pytest.mark.parametrize("custodians", range(1, 8))
def test_any_two_quorums_share_an_honest_witness(custodians: int) -> None:
    """Exhaustively, by the sets themselves and not by the formula."""
    for threshold in range(1, custodians + 1):
        directory = site_of(custodians, threshold)
        for keeper in ("c1", "aggregator"):
            if keeper == "c1" and threshold == 1:
                continue  # a custodian that colludes is as many as open everything
            quorum = cosigning_quorum(directory, keeper)
            sets = [frozenset(q) for q in combinations(quorum.witnesses, quorum.needed)]
            for liars in bad_sets((*quorum.witnesses, keeper), keeper, threshold):
                assert all((a & b) - liars for a in sets for b in sets)
            if quorum.needed > 1:  # and one fewer would not do
                fewer = [frozenset(q) for q in combinations(quorum.witnesses, quorum.needed - 1)]
                liars = bad_sets((*quorum.witnesses, keeper), keeper, threshold)[0]
                assert any(not (a & b) - liars for a in fewer for b in fewer)


def test_a_log_of_a_role_that_was_revoked_keeps_its_quorum_and_only_warns() -> None:
    directory, log = site_of(4, 2), SplitLog("c1")
    directory = directory.revoke("c1", at_ms=LATE_MS)
    assert cosigning_quorum(directory, "c1").needed == 3
    copy = log.shown(0, ("aggregator", "c2"))
    report = judged(directory, copy, now_ms=s.NOW_MS + 1000 * SLOT_MS)
    assert {f.kind for f in report.findings if f.origin == copy.origin} == {K.NOT_YET_COSIGNED}
    assert not report.wrong


def test_of_two_aggregators_both_may_lie() -> None:
    directory = site_of(3, 2)
    second = s.principal("aggregator-2", AGGREGATOR)
    both = replace(directory, principals={**directory.principals, "aggregator-2": second})
    assert cosigning_quorum(both, "c1").needed == 4
    assert cosigning_quorum(both, "aggregator").needed == 4


def test_a_log_of_somebody_unknown_has_everybody_for_witness() -> None:
    directory = site_of(3, 2)
    quorum = cosigning_quorum(directory, "mallory")
    assert quorum.witnesses == ("aggregator", "c1", "c2", "c3")
    assert quorum.needed == 4  # a custodian and the aggregator may lie besides
    reach = {"c1": 3, "c2": 0, "aggregator": 2}
    assert distinct_reach(reach, directory.principals, "mallory") == [3, 2, 0]


def test_the_keeper_is_no_witness_of_its_own_log() -> None:
    directory = site_of(3, 2)
    assert distinct_reach({"c1": 3, "c2": 2}, directory.principals, "c1") == [2]
