"""An earlier sighting stands in for a template: taken from its slot once granted, kept nowhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import protocol_samples as s
import protocol_samples_v2 as v2
import pytest
import query_samples_v2 as q2
from row_desk import RowDesk, name_of
from throwaway_ca import ThrowawayCa

from aggregator.ingest.messages import Incoming
from protocol.names import ENVELOPE, SightingName, slot_start_ms
from protocol.policy import STATUTORY_ORDER
from protocol.query import Subject
from protocol.sealing import SEGMENT
from protocol.sightings import quantise_template, template_bytes
from protocol.v2.blocks import Space
from protocol.v2.sightings import Sighting
from runtime.calibration import Calibration, Normal

CLOTHES = Space(f"clothes-{s.DIMENSION}@0123456789abcdef")
POLICY = q2.POLICY_TEXT.replace(
    b"[threshold_floor]", b'[threshold_floor]\n"%s" = 0.6' % CLOTHES.name.encode()
)
ASKED_MS = slot_start_ms(s.EPOCH, s.SLOT + 1) + 120_000
"""When the slot of the samples was over."""
Asking = Callable[..., RowDesk]


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> ThrowawayCa:
    return ThrowawayCa(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ca: ThrowawayCa) -> Iterator[Asking]:
    """Ask on an order, by clothes, for whoever the examples show."""
    made: list[RowDesk] = []

    def ask(*examples: SightingName, **changes: object) -> RowDesk:
        wanted = Subject("W-3", "order 12/31", (), examples=examples)
        asks = {
            "subjects": (wanted,), "legal_basis": STATUTORY_ORDER, "modalities": ("appearance",),
            "thresholds": {CLOTHES.name: 0.6}, "approvers": ("bo", "cy", "di"),
        }  # fmt: skip
        made.append(
            RowDesk(
                tmp_path, monkeypatch, ca, at_ms=ASKED_MS, policy=POLICY,
                requested_at_ms=ASKED_MS, **(asks | changes),  # type: ignore[arg-type]
            )
        )  # fmt: skip
        return made[-1]

    yield ask
    for desk in made:
        desk.close()


def dressed(who: str, clothes: str, *, face: bool = True) -> Sighting:
    """A sighting of somebody in some clothes."""
    plain = v2.sighting(who, face=face)
    worn = quantise_template(s.unit_vector(f"clothes {clothes}"))
    return replace(plain, templates={**plain.templates, "appearance": worn})


def see(desk: RowDesk, *seen: Sighting, sequence: int = 7) -> None:
    sealed = v2.envelope(
        SEGMENT, seen=seen, spaces={"face": v2.SPACE, "appearance": CLOTHES}, sequence=sequence
    )
    message = Incoming(s.ADDRESS.topic(ENVELOPE), sealed.to_bytes(), desk.time.ms)
    assert desk.intake.process([message]).stored == 1


def seen_ids(desk: RowDesk) -> set[bytes]:
    return {one.sighting_id for one in desk.candidates()}


def ids(*who: str) -> set[bytes]:
    return {name_of(one).sighting_id for one in who}


STREET: Sequence[Sighting] = (
    dressed("wanted", "red coat"),
    dressed("wanted later", "red coat", face=False),
    dressed("somebody", "grey suit"),
    v2.sighting("nobody's clothes"),
)


def test_whoever_looks_like_the_example_is_found_by_clothes_alone(asking: Asking) -> None:
    desk = asking(name_of("wanted"))
    see(desk, *STREET)
    desk.step()
    assert seen_ids(desk) == ids("wanted", "wanted later")
    assert {(one.subject, one.modality, one.model) for one in desk.candidates("bea")} == {
        ("W-3", "appearance", CLOTHES.name)
    }
    assert desk.record.state == "standing"


KNOWN = Calibration(Normal(0, 0.1), Normal(0.8, 0.1), Normal(0.5, 0.1), ())


def test_an_example_is_no_evidence_of_itself(asking: Asking) -> None:
    example = dressed("subject", "red coat")
    again = replace(
        example, sighting_id=s.fixed("id again", 8), episode=s.fixed("episode again", 8)
    )
    only_faces = {"modalities": ("face",), "thresholds": {s.MODEL: 0.6}}
    desk = asking(calibrations={s.MODEL: KNOWN}, **(consented(name_of("subject")) | only_faces))
    see(desk, example, again)
    desk.step()
    itself, other = sorted(desk.candidates(), key=lambda one: one.name != name_of("subject"))
    assert itself.score == pytest.approx(1.0, abs=0.01)
    assert itself.log10_lr is None
    assert other.log10_lr is not None


def test_clothes_are_no_evidence_of_who_somebody_is(asking: Asking) -> None:
    desk = asking(name_of("wanted"), calibrations={CLOTHES.name: KNOWN})
    see(desk, *STREET)
    desk.step()
    assert {one.log10_lr for one in desk.candidates()} == {None}


def test_nothing_is_compared_before_the_examples_slot_has_been_granted(asking: Asking) -> None:
    desk = asking(name_of("wanted"))
    see(desk, *STREET)
    desk.down = {"c1", "c2"}
    desk.step()
    assert desk.record.state == "blocked"
    assert desk.candidates() == []
    assert desk.logged("match") == []
    desk.down = set()
    desk.later()
    desk.step()
    assert seen_ids(desk) == ids("wanted", "wanted later")


def test_the_template_stands_in_no_file_of_the_aggregator(asking: Asking, tmp_path: Path) -> None:
    desk = asking(name_of("wanted"))
    see(desk, *STREET)
    desk.step()
    assert desk.candidates()
    plain = template_bytes(*STREET[0].templates["appearance"])
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not any(plain[: s.DIMENSION] in path.read_bytes() for path in files)


def test_an_example_that_comes_late_is_compared_with_what_came_before(asking: Asking) -> None:
    desk = asking(name_of("wanted"))
    see(desk, STREET[1])
    desk.step()
    assert desk.candidates() == []
    assert desk.record.reason.endswith(
        "nothing was compared with the example at cam-1: no such sighting is stored in its quarter "
        "hour"
    )
    see(desk, STREET[0], sequence=8)
    desk.step()
    assert seen_ids(desk) == ids("wanted", "wanted later")
    assert "example" not in desk.record.reason


@pytest.mark.parametrize(
    ("example", "why"),
    [
        (replace(name_of("wanted"), sighting_id=b"no such!"), "no such sighting is stored"),
        (replace(name_of("wanted"), generation=99), "its quarter hour has not been opened"),
        (replace(name_of("wanted"), box="box-9"), "its quarter hour has not been opened"),
        (name_of("nobody's clothes"), "it has no template of appearance"),
    ],
)
def test_an_example_that_shows_nobody_is_said_and_ends_no_query(
    asking: Asking, example: SightingName, why: str
) -> None:
    desk = asking(example)
    see(desk, *STREET)
    desk.step()
    assert desk.record.state == "standing"
    assert f"nothing was compared with the example at cam-1: {why}" in desk.record.reason
    assert desk.candidates() == []
    desk.time.ms = slot_start_ms(s.EPOCH, 45)
    desk.step()
    assert desk.record.state == "complete"
    assert why in desk.record.reason


def test_of_several_examples_those_that_show_somebody_are_compared(asking: Asking) -> None:
    desk = asking(replace(name_of("wanted"), sighting_id=b"no such!"), name_of("wanted"))
    see(desk, *STREET)
    desk.step()
    assert seen_ids(desk) == ids("wanted", "wanted later")
    assert "no such sighting is stored" in desk.record.reason


def test_a_space_for_which_the_query_has_no_threshold_is_not_compared(asking: Asking) -> None:
    desk = asking(name_of("wanted"), thresholds={s.MODEL: 0.6})
    see(desk, *STREET)
    desk.step()
    assert f"its appearance is of {CLOTHES.name}" in desk.record.reason
    assert desk.candidates() == []


def consented(*examples: SightingName) -> dict[str, object]:
    return {
        "subjects": (q2.subject(examples=examples),), "legal_basis": "consent",
        "modalities": ("face", "appearance"), "thresholds": {s.MODEL: 0.6, CLOTHES.name: 0.6},
    }  # fmt: skip


def test_beside_the_subjects_own_template_an_example_adds_what_that_one_lacks(
    asking: Asking,
) -> None:
    by_face, by_clothes = dressed("subject", "red coat"), STREET[1]
    desk = asking(**consented(name_of("subject")))
    see(desk, by_face, by_clothes, STREET[2])
    desk.step()
    assert seen_ids(desk) == ids("subject", "wanted later")


def test_an_example_of_somebody_else_than_the_subjects_template_opens_nothing(
    asking: Asking,
) -> None:
    desk = asking(**consented(name_of("wanted")))
    see(desk, *STREET)
    desk.step()
    assert desk.record.state == "failed"
    assert "do not seem to be of one person" in desk.record.reason
    assert desk.candidates() == []


def test_with_consent_an_example_that_resembles_nothing_of_the_subjects_is_not_compared(
    asking: Asking,
) -> None:
    desk = asking(**consented(name_of("wanted later")))
    see(desk, *STREET)
    desk.step()
    assert "has no template to hold it against" in desk.record.reason
    assert desk.candidates() == []
