"""Clothes said in words, from pixels to a ranked list, on a site whose policy comes to permit it.

A real board watches people in clothes of several colours who show no face. Words are asked for by
command in English, at the desk in Korean.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from desk_pages import PageDesk, file_for, words_of
from dressed_people import Passer, film_of_dressed
from film_set import FilmSet
from plain_bytes import announcements_of, plain_bytes, spelled
from query_desk import Case, QueryDesk
from waiting import wait_for

from demo.intruder import Answer, Intruder
from demo.local_site import CUSTODIANS, PASSPHRASE
from demo.wiretap import find_in_files, find_in_messages
from officers.desk.by_clothes import WORDS
from officers.desk.patients import patients
from protocol.keytree import FOLLOWED
from protocol.policy import BY_WORDS
from protocol.query import Subject, TemplateReference
from protocol.templates import SubjectFile, Template
from runtime.bundle import load_bundle

pytestmark = [pytest.mark.models, pytest.mark.processes]
ENGLISH, KOREAN = "red jacket, dark trousers", "빨간 재킷, 어두운 바지"
FLOOR = 0.15
RED, BROWN = Passer("red", "black", 1.5, 5.0), Passer("brown", "blue", 5.5, 8.5)
"""Who wears what was said, and who comes next and is a stranger that reaches the threshold."""
PASSERS = (Passer("blue", "grey", 0.0, 4.0), RED, Passer("green", "white", 3.0, 7.0), BROWN)
SLACK_S = 0.9
"""Bodies are looked for five times in two seconds, and a film's pictures are not all looked at."""


@dataclass
class Asked:
    """A site and its films, and what came of asking for a red jacket there.

    Args:
        films: that the site's box has watched.
        model: of the appearance network.
        subject: enrolled by words in English, its template open.
        refused: what the command said under the policy that permits no words.
        answers: of the custodians, under the same policy, to an aggregator that asks all the same.
        query: that was filed by command under the policy that permits them; its state after two
            approvals, and what it found after three, as the command shows it and as values.
    """

    films: FilmSet
    model: str
    subject: Path
    template: Template
    refused: str = ""
    answers: Sequence[Answer] = ()
    query: str = ""
    after_two: dict[str, Any] = field(default_factory=dict)
    shown: str = ""
    trace: dict[str, Any] = field(default_factory=dict)

    def file(self, *, expect: int = 0) -> str:
        """File a query for the subject with the investigator's command."""
        options = ("--legal-basis", "statutory-order")
        if expect == 0:
            return self.films.file(self.subject, *options)
        return self.films.site.local.run(
            "ana", "query", "file", "--subject", str(self.subject), "--camera=cam-1",
            "--from", "-2h", "--to", "now", "--purpose", "missing person", "--yes", *options,
            expect=expect,
        )  # fmt: skip

    def case(self) -> Case:
        """Sign such a query whatever the policy in force says of it; nothing is sent."""
        reference = TemplateReference(FOLLOWED, self.model, self.template.digest)
        described = Subject("wanderer-3", "order 12/31", (reference,), words=ENGLISH)
        return QueryDesk(self.films.site).draft(
            [self.template], ["cam-1"], *self.films.window, threshold=FLOOR,
            subjects=(described,), modalities=(FOLLOWED,), legal_basis="statutory-order",
        )  # fmt: skip


def opened(films: FilmSet, subject: SubjectFile) -> Template:
    (template,) = subject.open(films.site.sealing("ana"))
    return template


@pytest.fixture(scope="module")
def films(
    tmp_path_factory: pytest.TempPathFactory, photos_path: Path, model_bundle_path: Path
) -> Iterator[FilmSet]:
    folder = tmp_path_factory.mktemp("words")
    clip = film_of_dressed(tmp_path_factory.mktemp("film") / "dressed.mp4", "cam-1", PASSERS)
    (folder / "tmp").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder / "tmp"))  # searched like everything else
        made = FilmSet.make(folder, [clip], photos_path, model_bundle_path, broker="embedded")
        try:
            made.shoot()
            yield made
        finally:
            made.stop()


@pytest.fixture(scope="module")
def forbidden(films: FilmSet, model_bundle_path: Path, model_bundle_key: bytes) -> Asked:
    """Ana has enrolled a subject by words, and asks under the policy that a new site has."""
    site = films.site
    subject = site.local.folder / "wanderer-3.subject"
    site.local.run(
        "ana", "subject", "enrol", "--pseudonym", "wanderer-3", "--consent", "order 12/31",
        "--words", ENGLISH, "--out", str(subject),
    )  # fmt: skip
    bundle = load_bundle(model_bundle_path, [model_bundle_key], roles=())
    template = opened(films, SubjectFile.parse(subject.read_bytes()))
    asked = Asked(films, bundle.entry("appearance_embedder").model_id, subject, template)
    asked.refused = asked.file(expect=1)
    case, desk = asked.case(), QueryDesk(site)
    approvals = [desk.approval(case, name) for name in ("bo", "cy", "di")]
    asked.answers = Intruder(site.local).ask(case.signed, approvals, announcements_of(films))
    return asked


@pytest.fixture(scope="module")
def found(forbidden: Asked) -> Asked:
    """The authority has added a floor, custodians have put it in force, three have approved."""
    asked, films = forbidden, forbidden.films
    permit_words(films, asked.model)
    asked.query = asked.file()
    films.approve(asked.query, "bo", "cy")
    local = films.site.local
    asked.after_two = local.run_json("ana", "query", "show", asked.query)["status"]
    films.approve(asked.query, "di")
    local.run("ana", "query", "wait", asked.query, "--timeout", "90")
    asked.shown = " ".join(local.run("ana", "trace", "show", asked.query).split())
    asked.trace = local.run_json("ana", "trace", "show", asked.query)
    return asked


def permit_words(films: FilmSet, model: str) -> None:
    """Have the site's authority add the floor, and every role put the new policy in force."""
    site = films.site
    text = site.local.paths.policy.read_text()
    changed = text.replace("\nversion = 1\n", "\nversion = 2\n").replace(
        "[threshold_floor]\n", f'[threshold_floor]\n"{BY_WORDS}{model}" = {FLOOR}\n'
    )
    new = site.local.folder / "policy-2.toml"
    new.write_text(changed)
    site.command("site", "policy", "sign", str(site.local.paths.root), str(new), "--yes")
    for custodian in CUSTODIANS:
        site.signal(custodian, signal.SIGHUP)
    site.restart("aggregator")

    def in_force() -> bool:
        told = (site.call("eve", name, "GET", "/v1/status").json() for name in CUSTODIANS)
        return {one["policy_digest"] for one in told} == {site.policy.digest.hex()}

    wait_for(in_force, "the custodians to put the policy in force")


def test_without_a_floor_for_words_the_command_says_who_may_add_one(forbidden: Asked) -> None:
    said = " ".join(forbidden.refused.split())
    missing = f'states no "{BY_WORDS}{forbidden.model}"'
    assert "error: the policy permits no queries by words of clothes" in said
    assert missing in said and "Have the site's authority weigh that and add one" in said


def test_without_it_no_custodian_opens_anything_for_an_aggregator_that_asks(
    forbidden: Asked,
) -> None:
    assert [one.custodian for one in forbidden.answers] == list(CUSTODIANS)
    for answer in forbidden.answers:
        assert (answer.grant, answer.problem) == (None, "policy-violation")
        assert "permits no queries by words of clothes" in answer.detail


def test_words_take_an_order_and_one_approval_more(found: Asked) -> None:
    assert found.after_two["state"] == "awaiting-approvals"
    assert (found.after_two["approvals_needed"], found.after_two["candidates"]) == (3, 0)


def test_who_wears_what_was_said_is_ranked_first_and_a_stranger_below(found: Asked) -> None:
    """Colours painted flat on one man: a street is not so kind (docs/models.md)."""
    (subject,) = found.trace["subjects"]
    ranked = sorted(subject["candidates"], key=lambda one: -one["score"])
    assert [who(found.films, one) for one in ranked] == [RED.who, BROWN.who]
    assert ranked[0]["score"] > 0.4 > ranked[1]["score"] >= FLOOR
    for stay in ranked:
        assert len(stay["candidate_numbers"]) == 1, "two people are two, though one follows another"
    lines = [found.shown.index(f"{one['score']:.3f}") for one in ranked]
    assert lines == sorted(lines), "the command lists them in that order"


def who(films: FilmSet, stay: dict[str, Any]) -> str:
    """Who was truly in view from when to when a candidate was."""
    start_s = films.starts_ms["cam-1"] / 1000
    times = [datetime.fromisoformat(stay[edge]).timestamp() - start_s for edge in ("from", "to")]
    (one,) = [
        seen.who
        for clip in films.truth
        for seen in clip.sightings
        if abs(seen.from_s - times[0]) < SLACK_S and abs(seen.to_s - times[1]) < SLACK_S
    ]
    return one


def test_it_is_a_ranked_list_and_never_an_identification(found: Asked) -> None:
    note = f"by words: {ENGLISH}; a ranking aid, identifies nobody"
    assert note in found.shown
    assert "most alike first: a ranked list, which identifies nobody" in found.shown
    (subject,) = found.trace["subjects"]
    assert (subject["by_words"], subject["hits"]) == (note, [])
    for one in subject["candidates"]:
        assert (one["by_appearance"], one["log10_likelihood_ratio"]) == (True, None)
        assert "this identifies nobody" in one["note"]


@pytest.fixture(scope="module")
def at_the_desk(found: Asked) -> Iterator[PageDesk]:
    """Ana at her desk, in Korean, over the running site."""
    with closing(PageDesk(found.films.site.local, "ana", unlocked=False, language="ko")) as made:
        made.house.unlock(PASSPHRASE.encode())
        yield made


def test_at_the_desk_the_same_said_in_korean_is_the_same_template_and_finds_the_same(
    found: Asked, at_the_desk: PageDesk
) -> None:
    desk, films = at_the_desk, found.films
    order = {"document": ("order.pdf", b"%PDF-1.7 order 13/31", "application/pdf")}
    entered = {"pseudonym": "wanderer-4", "consent": "order 13/31", "way": WORDS, "words": KOREAN}
    kept = desk.post("/patients/clothes", entered, files=order)
    assert kept.status_code == 303, words_of(kept)
    sealing = films.site.sealing("ana")
    (patient,) = [
        one for one in patients(desk.house.officer, sealing) if one.pseudonym == "wanderer-4"
    ]
    template = opened(films, patient.file)
    assert template.row.tolist() == found.template.row.tolist()
    assert (template.scale, template.model) == (found.template.scale, found.template.model)

    kind = min(films.site.policy.purposes or [""])
    query, _ = file_for(desk, "wanderer-4", purpose_kind=kind, passphrase=PASSPHRASE)
    assert query.subjects[0].words == KOREAN
    films.approve(query.query_id.hex(), "bo", "cy", "di")
    films.site.local.run("ana", "query", "wait", query.query_id.hex(), "--timeout", "90")
    page = desk.get(f"/queries/{query.query_id.hex()}/candidates", follow=True)
    said = words_of(page)
    (subject,) = found.trace["subjects"]
    scores = sorted((one["score"] for one in subject["candidates"]), reverse=True)
    assert f"{scores[0]:.2f}" in said, "the one who is most alike, though neither was decided"
    assert "비슷하게 입은 후보 2건, 비슷한 순" in said
    assert KOREAN in said and "순위 목록" in said and "누구인지 식별하지 않습니다" in said


def test_no_disk_and_no_message_holds_a_template_or_a_sighting_in_the_plain(
    found: Asked, at_the_desk: PageDesk
) -> None:
    films = found.films
    case, desk = found.case(), QueryDesk(films.site)
    approvals = [desk.approval(case, name) for name in ("bo", "cy", "di")]
    needles = [found.template.row.tobytes()[:24], *plain_bytes(films, case.signed, approvals)]
    assert len(set(needles)) == len(needles) >= 1 + 3 * len(PASSERS)  # template, id and episode
    assert films.tap is not None
    files = list(films.site.local.files())
    assert {"aggregator.db", "outbox.sqlite", "box-1.log"} <= {path.name for path in files}
    assert find_in_files(spelled(needles), files) == []
    assert find_in_messages(spelled(needles), films.tap.messages()) == []


def test_words_of_a_query_over_the_past_reach_no_box_broker_or_log(found: Asked) -> None:
    """They stand in the signed query, which approvers read: at headquarters and with officers.

    Of a live query, or one for stills, a notice brings all to boxes (docs/threat-model.md).
    """
    films = found.films
    words = [ENGLISH.encode(), KOREAN.encode()]
    root = films.site.local.folder
    places = {path.relative_to(root) for path, _ in find_in_files(words, films.site.local.files())}
    assert {place.parts[:2] for place in places if len(place.parts) > 1} == {
        ("site", "aggregator"), ("site", "officers"),
    }  # fmt: skip
    assert {place for place in places if len(place.parts) == 1} == {Path(found.subject.name)}
    assert films.tap is not None
    assert find_in_messages(words, films.tap.messages()) == []
