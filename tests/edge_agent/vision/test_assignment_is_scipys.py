"""The tracker's assignment is SciPy's own, and brings nothing else of SciPy's along."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy import optimize

from edge_agent.vision import assignment


def test_it_finds_what_scipys_documented_function_finds() -> None:
    draw = np.random.default_rng(5)
    for shape in ((1, 1), (3, 5), (6, 4), (0, 2)):
        cost = draw.random(shape)
        ours = assignment.linear_sum_assignment(cost)
        for mine, theirs in zip(ours, optimize.linear_sum_assignment(cost), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_where_scipy_keeps_it_elsewhere_the_documented_one_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(assignment, "EXTENSION_SUFFIXES", [".nothing"])
    assert assignment._load() is optimize.linear_sum_assignment


@pytest.mark.processes
def test_an_agent_starts_without_all_of_scipy() -> None:
    program = (
        "import sys; import edge_agent.agent\n"
        "print([name for name in sys.modules if name.startswith('scipy')])\n"
        "import scipy.optimize; scipy.optimize.linear_sum_assignment([[1.0]])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "['scipy.optimize._lsap']\n"
