"""Each refusal of the protocol is told over HTTP under a name and status of its own."""

from __future__ import annotations

import httpx
import pytest

from protocol import errors
from runtime.problems import PROBLEM, ProblemError, problem_of, problem_type, raise_for_problem


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (errors.ApprovalsMissing("1 of 2 approvals"), 403, "approvals-missing"),
        (errors.RetentionEnded("the day is over"), 410, "retention-ended"),
        (errors.MessageTooLarge("9 MB"), 413, "message-too-large"),
        (errors.MalformedMessage("no field"), 400, "malformed-message"),
        (errors.PrincipalRevoked("box-1"), 403, "principal-revoked"),
        (errors.LogForked("two roots"), 409, "log-forked"),
        (errors.ClockSkew("an hour"), 422, "clock-skew"),
    ],
)
def test_refusals_have_names_and_statuses(
    error: errors.ProtocolError, status: int, kind: str
) -> None:
    problem = problem_of(error)
    assert (problem.status, problem.type, problem.detail) == (status, kind, str(error))
    assert problem.title


def test_every_refusal_has_a_name_of_its_own() -> None:
    kinds = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.ProtocolError)
    ]
    assert len({problem_type(kind) for kind in kinds}) == len(kinds) > 20


@pytest.mark.parametrize("body", ["[" * 100_000, "{", "[]", '{"title": [1], "detail": {}}', "\xff"])
def test_a_problem_of_no_form_is_still_one(body: str) -> None:
    response = httpx.Response(
        503, content=body.encode("latin-1"), headers={"content-type": PROBLEM}
    )
    with pytest.raises(ProblemError, match="answered 503"):
        raise_for_problem(response)
