"""Results are for whom the query names, and a hit takes as many of them as the policy says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import protocol_samples as s
import pytest
import query_samples_v2 as q2
from candidates import opened_candidate
from officer_site import PASSPHRASE, OfficerSite
from opened_rows import row_name

from officers import desk
from officers.desk.api_client import StoredResult
from officers.desk.case import open_case
from officers.desk.facts import query_facts
from officers.desk.officer import OfficerError
from officers.desk.options import check_confirmers
from officers.desk.results import open_candidates
from officers.desk.subjects import DraftInvalid
from officers.desk.traces import UNDECIDED, Numbered, stays_of
from officers.desk.verdicts import needed_confirmations, read_words
from officers.query_cli import app
from officers.trace_text import decision_text
from protocol.directory import INVESTIGATOR, Directory
from protocol.policy import parse_policy
from protocol.query import Query
from protocol.results import CONFIRMED, REJECTED, Candidate, Decision
from protocol.sightings import MaskStatus
from protocol.signing import SigningKey
from protocol.v2.sightings import Row

KEYS = b"""policy_schema = 2
contacts = "near"
purposes = ["exercise"]
enrolment_without_witness = true
"""
TWO = KEYS + b"confirmations = 2\n" + s.POLICY_TEXT
ONE = KEYS + b"confirmations = 1\n" + s.POLICY_TEXT


def with_investigators(*names: str) -> Directory:
    base = s.directory()
    more = {
        name: s.principal(name, INVESTIGATOR, seal_key=s.sealing_key(name).public) for name in names
    }
    return replace(base, principals={**base.principals, **more})


DIRECTORY = with_investigators("dan", "bea", "gil")
POLICY = parse_policy(TWO)
SIGNED = q2.query(confirmers=("dan", "bea"), policy_digest=POLICY.digest).sign(s.signing_key("ana"))
CASE = open_case(SIGNED.to_bytes(), s.query().query_id.hex(), DIRECTORY)
START_MS = s.query().window_from_ms


def candidate(number: int, *, score: float | None = 0.8, through: int | None = None) -> Candidate:
    row = Row(START_MS + number * 60_000, START_MS + number * 60_000 + 10, MaskStatus.MASKED, 1, 1)
    return opened_candidate(
        row_name(number, at_ms=START_MS),
        row,
        site=s.SITE,
        score=score,
        through=None if through is None else through.to_bytes(8, "big"),
    )


def stored(one: Candidate, decision: bytes | None = None) -> StoredResult:
    sealed = one.seal(s.sealing_key("dan").public, query_digest=CASE.digest)
    return StoredResult(one.candidate_id(CASE.digest), sealed, decision)


def word(
    officer: str,
    one: Candidate,
    verdict: str = CONFIRMED,
    *,
    at_ms: int = s.NOW_MS,
    digest: bytes = CASE.digest,
    key: SigningKey | None = None,
) -> bytes:
    decision = Decision(digest, one.candidate_id(CASE.digest), verdict, at_ms)
    return decision.sign(key or s.signing_key(officer)).to_bytes()


def opened(
    candidates: Sequence[Candidate],
    *said: bytes,
    needed: int = 2,
    directory: Directory = DIRECTORY,
) -> tuple[Numbered, ...]:
    words, problems = read_words(said, CASE, directory)
    assert problems == ()
    items, problems = open_candidates(
        [stored(one) for one in candidates],
        CASE,
        s.sealing_key("dan"),
        directory,
        words=words,
        needed=needed,
    )
    assert problems == ()
    return items


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ((), UNDECIDED),
        ((("ana", CONFIRMED, 1),), UNDECIDED),
        ((("ana", CONFIRMED, 1), ("ana", CONFIRMED, 2)), UNDECIDED),
        ((("ana", CONFIRMED, 1), ("dan", CONFIRMED, 1)), CONFIRMED),
        ((("dan", CONFIRMED, 1), ("bea", CONFIRMED, 1)), CONFIRMED),
        ((("ana", CONFIRMED, 1), ("dan", CONFIRMED, 1), ("bea", REJECTED, 1)), REJECTED),
        ((("ana", REJECTED, 1),), REJECTED),
        ((("ana", REJECTED, 1), ("ana", CONFIRMED, 2), ("dan", CONFIRMED, 1)), CONFIRMED),
        ((("ana", REJECTED, 2), ("ana", CONFIRMED, 1), ("dan", CONFIRMED, 1)), REJECTED),
        ((("ana", REJECTED, 1), ("ana", CONFIRMED, 1), ("dan", CONFIRMED, 1)), REJECTED),
    ],
)
def test_a_hit_takes_two_different_officers_and_one_rejection_rejects(
    said: Sequence[tuple[str, str, int]], verdict: str
) -> None:
    one = candidate(1)
    for order in (said, said[::-1]):
        words = [word(name, one, what, at_ms=s.NOW_MS + at) for name, what, at in order]
        (item,) = opened([one], *words)
        assert item.verdict == verdict


def test_one_officer_under_two_names_confirms_once() -> None:
    one = candidate(1)
    twin = replace(DIRECTORY.principals["dan"], verify_key=s.signing_key("ana").verify_key)
    directory = replace(DIRECTORY, principals={**DIRECTORY.principals, "dan": twin})
    second = word("dan", one, key=SigningKey("dan", s.signing_key("ana").seed))
    (item,) = opened([one], word("ana", one), second, directory=directory)
    assert item.verdict == UNDECIDED


@pytest.mark.parametrize(
    ("decision", "said"),
    [
        (word("gil", candidate(1)), "whom the query does not name"),
        (word("bo", candidate(1)), "no investigator 'bo'"),
        (word("ana", candidate(1), digest=bytes(32)), "another query"),
        (word("ana", candidate(1), key=SigningKey("ana", bytes(32))), "signature"),
        (b"rubbish", ""),
    ],
)
def test_nobody_elses_word_counts(decision: bytes, said: str) -> None:
    words, problems = read_words([decision, word("dan", candidate(1))], CASE, DIRECTORY)
    assert [one.officer for one in words] == ["dan"]
    (problem,) = problems
    assert "decision 1 counts for nothing" in problem
    assert said in problem


def test_a_result_with_somebody_elses_decision_for_the_readers_own_is_not_used() -> None:
    for decision in (word("gil", candidate(1)), word("dan", candidate(2))):
        items, problems = open_candidates(
            [stored(candidate(1), decision)], CASE, s.sealing_key("dan"), DIRECTORY, needed=2
        )
        assert items == ()
        assert "result 1 cannot be used" in problems[0]


def test_the_readers_own_decision_counts_though_it_comes_with_the_result_alone() -> None:
    one = candidate(1)
    items, problems = open_candidates(
        [stored(one, word("dan", one))], CASE, s.sealing_key("dan"), DIRECTORY, needed=1
    )
    assert problems == ()
    assert (items[0].verdict, dict(items[0].said)) == (CONFIRMED, {"dan": CONFIRMED})


def test_what_was_opened_with_a_hit_goes_with_it_unless_somebody_says_otherwise() -> None:
    hit, more, lost = (
        candidate(1),
        candidate(2, score=None, through=1),
        candidate(3, score=None, through=9),
    )
    both = (word("ana", hit), word("dan", hit))
    assert [one.verdict for one in opened([more, hit, lost], *both)] == [
        CONFIRMED,
        CONFIRMED,
        UNDECIDED,
    ]
    (stay,) = (one for one in stays_of(opened([hit, more], *both)) if one.verdict == CONFIRMED)
    assert stay.numbers == (1, 2)
    apart = opened([hit, more], *both, word("bea", more, REJECTED))
    assert [one.verdict for one in apart] == [CONFIRMED, REJECTED]
    own = opened([hit, more], *both, word("dan", more, REJECTED))
    assert [one.verdict for one in own] == [CONFIRMED, REJECTED]


def test_who_has_confirmed_so_far_is_shown_until_enough_have() -> None:
    one = candidate(1)
    (stay,) = stays_of(opened([one], word("ana", one)))
    assert decision_text(stay) == "undecided, 1 of 2 confirm it: ana"
    (stay,) = stays_of(opened([one], word("ana", one), word("dan", one)))
    assert decision_text(stay) == CONFIRMED
    (stay,) = stays_of(opened([one], needed=1))
    assert decision_text(stay) == UNDECIDED


def test_under_another_policy_than_the_querys_all_whom_it_names_must_confirm() -> None:
    assert needed_confirmations(CASE, POLICY) == 2
    assert needed_confirmations(CASE, parse_policy(ONE)) == 3
    old = open_case(
        s.query().sign(s.signing_key("ana")).to_bytes(), s.query().query_id.hex(), DIRECTORY
    )
    assert needed_confirmations(old, POLICY) == 1


# ---------------------------------------------------------------------- drafting


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("officers"), policy=TWO)
    yield made
    made.close()


def drafted(site: OfficerSite, *confirmers: str) -> tuple[Query, dict[str, str]]:
    officer = desk.Officer.load(site.officer("ana"))
    with desk.connect(officer) as session:
        now = datetime.now(UTC)
        scope = desk.scope(session, ["cam-1"], now - timedelta(hours=2), now)
        subject = site.subject_file("P-17")
        asked = desk.Request(scope, (subject,), purpose="tracing", confirmers=confirmers)
        sealing = desk.unlock(officer, PASSPHRASE.encode()).sealing
        with closing(desk.draft(session, asked, sealing)) as draft:
            return draft.query, {fact.about: fact.words for fact in draft.facts}


def test_a_query_names_who_confirms_and_approvers_read_it(site: OfficerSite) -> None:
    query, told = drafted(site, "dan")
    assert query.confirmers == ("dan",)
    assert "readable for ana and dan alone" in told["candidates"]
    assert "a hit is what each of them confirms and none rejects" in told["candidates"]


def test_too_few_confirmers_are_refused_with_whom_to_name(site: OfficerSite) -> None:
    with pytest.raises(DraftInvalid, match=r"2 officers confirm each hit.*--confirmer.*dan"):
        drafted(site)
    before = len(site.aggregator.desk.everything())
    result = site.run(
        app, "ana", "file", "--subject", str(site.subject_file("P-17")), "--camera", "cam-1",
        "--from", "-2h", "--to", "now", "--purpose", "tracing", "--yes",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "--confirmer" in " ".join(result.output.split())
    assert len(site.aggregator.desk.everything()) == before


def test_a_query_with_a_confirmer_is_filed_from_the_keyboard(site: OfficerSite) -> None:
    result = site.run(
        app, "ana", "file", "--subject", str(site.subject_file("P-17")), "--camera", "cam-1",
        "--from", "-2h", "--to", "now", "--purpose", "tracing", "--confirmer", "dan", "--yes",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "ana and dan alone" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("confirmers", "said"),
    [
        (("ana",), "'ana' asks: name other officers"),
        (("bo",), "'bo' is no investigator of the site"),
        (("nobody",), "'nobody' is no investigator of the site"),
        (("dan", "dan"), "'dan' is named twice"),
    ],
)
def test_who_cannot_confirm_is_refused_with_whom_to_name(
    site: OfficerSite, confirmers: tuple[str, ...], said: str
) -> None:
    with pytest.raises(DraftInvalid, match=said):
        drafted(site, *confirmers)


def test_queries_of_the_first_form_name_nobody_to_confirm() -> None:
    with pytest.raises(DraftInvalid, match="first schema"):
        check_confirmers(("dan",), s.POLICY, requester="ana", directory=DIRECTORY)


@pytest.mark.slow
def test_the_words_on_who_confirms_follow_the_policy() -> None:
    query = q2.query(confirmers=("dan", "bea"), policy_digest=POLICY.digest)

    def told(policy: bytes) -> str:
        facts = query_facts(query, "ana", DIRECTORY, parse_policy(policy), now_ms=s.NOW_MS)
        return next(fact.words for fact in facts if fact.about == "candidates")

    assert "a hit is what 2 of them confirm and none rejects" in told(TWO)
    assert "a hit is what one of them confirms and none rejects" in told(ONE)


@pytest.mark.slow
def test_a_confirmers_query_is_theirs_to_read_and_nobody_elses(site: OfficerSite) -> None:
    ana, dan = (desk.Officer.load(site.officer(name)) for name in ("ana", "dan"))
    with desk.connect(ana) as session:
        now = datetime.now(UTC)
        scope = desk.scope(session, ["cam-1"], now - timedelta(hours=2), now)
        asked = desk.Request(
            scope, (site.subject_file("P-17"),), purpose="tracing", confirmers=("dan",)
        )
        keys = desk.unlock(ana, PASSPHRASE.encode())
        with closing(desk.draft(session, asked, keys.sealing)) as draft:
            signed = desk.to_file(session, draft).by_key(keys.identity)
            query_id = desk.file(session, draft, signed).id
        assert desk.sealed_to_me(session, query_id).officers == ("ana", "dan")
    with desk.connect(dan) as session:
        assert desk.sealed_to_me(session, query_id).requester == "ana"
    bo = desk.Officer.load(site.officer("bo"))
    with desk.connect(bo) as session, pytest.raises(OfficerError, match="takes an investigator"):
        desk.sealed_to_me(session, query_id)
