"""SciPy's linear assignment, without all of `scipy.optimize`: a third of an agent's start.

`scipy.optimize` loads a second BLAS, sparse matrices, FFTs and all solvers: importing
`edge_agent.agent` took 1.4 to 1.6 s of a processor and 143 MiB with it, and takes 0.95 to 1.2 s and
102 MiB without (`getrusage` of ``python -c "import edge_agent.agent"``, three times each). The
assignment is one compiled module in it that needs none of these. Where a version of SciPy keeps it
elsewhere, it is imported as SciPy's documentation says.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from pathlib import Path
from typing import cast

from edge_agent.vision.arrays import Doubles, Ints

Assign = Callable[[Doubles], tuple[Ints, Ints]]
_MODULE = "scipy.optimize._lsap"
_FUNCTION = "linear_sum_assignment"


def _load() -> Assign:
    found = _compiled()
    if found is None:
        from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 - loads all of it

        found = linear_sum_assignment
    return cast("Assign", found)


def _compiled() -> object:
    """Return the function of the compiled module alone; None where it is not there."""
    package = importlib.util.find_spec("scipy")
    for folder in (package and package.submodule_search_locations) or ():
        for suffix in EXTENSION_SUFFIXES:
            path = Path(folder) / "optimize" / f"_lsap{suffix}"
            if path.is_file():
                loader = ExtensionFileLoader(_MODULE, str(path))
                spec = ModuleSpec(_MODULE, loader, origin=str(path))
                module = importlib.util.module_from_spec(spec)
                loader.exec_module(module)
                return getattr(module, _FUNCTION, None)
    return None


linear_sum_assignment = _load()
"""Match rows with columns so that the sum of costs is smallest: their numbers, ascending by row."""
