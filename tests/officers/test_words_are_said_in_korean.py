"""What officers read before signing is said in their language, whole sentences and all."""

from __future__ import annotations

import ast
import gettext
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from string import Formatter
from zoneinfo import ZoneInfo

import protocol_samples as s
import pytest
import query_samples_v2 as v2

from officers.desk.api_client import Estimate
from officers.desk.facts import Fact, approval_facts, estimate_facts, policy_facts, query_facts
from officers.desk.known_sentences import SENTENCES
from officers.desk.languages import catalogue
from officers.desk.phrases import DOMAIN, translate
from officers.desk.recognising import known
from officers.desk.report.words import Words
from officers.desk.subject_words import looks_for_words
from protocol.authorization import check_policy
from protocol.errors import NotAuthorized
from protocol.query import Asked
from runtime.errors import OperationError
from runtime.phrases import words_of

ROOT = Path(__file__).resolve().parents[2]
SEOUL = Words("ko", ZoneInfo("Asia/Seoul"))
HANGUL = re.compile("[가-힣]")
ENGLISH = re.compile(r"[A-Za-z]{3,} [a-z]{2,} [a-z]{2,}")
"""Three words in a row."""


def korean(text: str) -> str:
    return translate(text, catalogue("ko", DOMAIN), SEOUL)


def facts() -> Iterator[Fact]:
    query = v2.everything()
    for one in (
        query,
        replace(query, confirmers=("di",), live=False),
        replace(query, asks=Asked(same_place_counts=True, afterwards_min=90)),
        v2.by_words(),
    ):
        yield from query_facts(one, "ana", s.directory(), v2.POLICY, now_ms=s.NOW_MS)
        yield from policy_facts(one, v2.POLICY, "the query is live; the policy permits none")
    for version_1 in (None, 0, 3):
        counted = Estimate(
            sightings=7, expected_false=0.5, told_twice=2, version_1_generations=version_1
        )
        yield from estimate_facts(query, counted, now_ms=s.NOW_MS)
    yield from approval_facts(["bo"], ["the approval of 'cy' is for another query"], 2)


def test_no_sentence_of_what_is_signed_stays_english() -> None:
    for fact in facts():
        assert HANGUL.search(korean(fact.about)), fact.about
        said = korean(fact.words).replace(v2.everything().purpose, "")
        assert not ENGLISH.search(said), said


def test_names_numbers_and_digests_are_those_that_are_signed() -> None:
    for fact in facts():
        said = korean(fact.words)
        for name in re.findall(r"\bcam-\d+|\b[0-9a-f]{16,}", fact.words):
            assert name in said


def test_times_are_by_the_site_s_clocks() -> None:
    until = next(one.words for one in facts() if one.about == "valid until")
    assert SEOUL.moment(v2.everything().not_after_ms) in korean(until)


def test_english_on_a_page_is_that_of_the_commands_but_for_fields_and_clocks() -> None:
    for fact in facts():
        if not re.search(r"\d{4}-\d\d-\d\d", fact.words):
            page = translate(fact.words, gettext.NullTranslations())
            assert page.replace("\u2068", "").replace("\u2069", "") == fact.words


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"not_after_ms": s.NOW_MS}, "만료"),
        ({"policy_digest": bytes(32)}, "다른 정책"),
        ({"thresholds": {s.MODEL: 0.1}}, "기준 점수 0.100"),
        ({"cameras": tuple(f"cam-{n}" for n in range(101))}, "카메라 101대"),
    ],
)
def test_a_refusal_that_comes_as_english_text_is_said_in_korean(
    changes: s.QueryChanges, said: str
) -> None:
    with pytest.raises(NotAuthorized) as refused:
        check_policy(s.query(**changes), s.POLICY, now_ms=s.NOW_MS)

    assert said in korean(words_of(refused.value))


def test_sentences_in_a_row_and_in_one_another_are_known() -> None:
    text = (
        "1 of 3 custodians granted, 2 are needed, so nothing was opened (c1: "
        "https://c1:1 cannot be reached: timed out; c2: the query has expired (its not-after time "
        "has passed)); trying again"
    )
    assert "3곳 중 1곳" in korean(text)
    assert "다시 시도" in korean(text)
    assert korean("the window has not ended; live").endswith("; live")


def test_what_is_not_known_stays_as_it_came_and_is_no_template() -> None:
    for text in ("{0} no such sentence {x}", "", "a" * 5000, "candidate 3 of {n}"):
        assert korean(text) == text


def test_hostile_text_takes_no_long_time_to_be_unknown() -> None:
    assert known("the keys of " + "a; " * 190) is not None


def test_an_error_raised_with_plain_words_is_said_as_they_are() -> None:
    assert korean(words_of(OperationError("nothing like it"))) == "nothing like it"


@pytest.mark.slow
@pytest.mark.parametrize("sentence", SENTENCES)
def test_every_known_sentence_is_one_that_the_code_writes(sentence: str) -> None:
    for piece, *_ in Formatter().parse(sentence):
        for part in re.split(r"[;()]", piece):
            for first, second in pairwise(part.strip("' :").split()):
                assert f"{first} {second}" in _written() or first in _ends() or second in _begins()


@cache
def _texts() -> tuple[str, ...]:
    found = []
    for folder in ("protocol", "aggregator", "custodian", "runtime", "officers/desk"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.name != "known_sentences.py":
                tree = ast.parse(path.read_text("utf-8"))
                found += [
                    node.value
                    for node in ast.walk(tree)
                    if isinstance(node, ast.Constant) and isinstance(node.value, str)
                ]
    return tuple(found)


@cache
def _written() -> str:
    return "\n".join(_texts())


@cache
def _ends() -> frozenset[str]:
    return frozenset(text.split()[-1].strip("';():") for text in _texts() if text.split())


@cache
def _begins() -> frozenset[str]:
    return frozenset(text.split()[0].strip("';():") for text in _texts() if text.split())


def test_one_template_is_not_said_to_be_several_of_one_person() -> None:
    one = s.query().subjects[0]
    several = replace(one, templates=(*one.templates, replace(one.templates[0], digest=bytes(32))))

    assert "한 사람의 것" not in korean(looks_for_words(one))
    assert "템플릿 2개" in korean(looks_for_words(several))
    assert "한 사람의 것" in korean(looks_for_words(several))
