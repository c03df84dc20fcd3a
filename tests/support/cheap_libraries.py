"""Has libraries do once, or plainly, what they would do anew and in colour for each test."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Hashable
from typing import Any

import fastapi._compat.v2
import fastapi.dependencies.utils
import hypothesis.core
import structlog
import typer.main
import typer.testing
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

_HALVES = 256
"""So many ML-KEM keys are drawn: more than a test has keys whose difference matters to it."""


def make_cheap() -> None:
    """Log tracebacks plainly, as the services do, and build each command for Typer's runner once.

    What is asserted of a log or a command stays as it is. Typer makes the whole tree of parameters
    from its functions for every command line that a test runs; a command is not changed by running.
    Hypothesis names a test by its source, which it would clean anew for each of its parameters.
    """
    plainly = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plainly])
    built: Any = functools.cache(typer.main.get_command)
    typer.testing._get_command = built  # type: ignore[attr-defined]
    _read_routes_once()
    properties: Any = hypothesis.core
    properties.function_digest = functools.cache(properties.function_digest)


def _read_routes_once() -> None:
    """Have FastAPI read what each route takes once, not anew for each application of a role.

    The routes of a role are functions within a function: each application has its own, of the same
    code and with the same annotations, and two thirds of its making went into reading these.
    """
    utils: Any = fastapi.dependencies.utils
    fields: Any = fastapi._compat.v2
    read: Callable[[Callable[..., Any]], inspect.Signature] = utils._get_signature
    make = fields.TypeAdapter
    signatures: dict[Hashable, inspect.Signature] = {}
    adapters: dict[Hashable, Any] = {}

    def signature(call: Callable[..., Any]) -> inspect.Signature:
        code = getattr(call, "__code__", None)
        if code is None or call.__kwdefaults__:
            return read(call)
        key = code, call.__defaults__
        if key not in signatures:
            signatures[key] = read(call)
        return signatures[key]

    def adapter(annotated: Any, *, config: Any) -> Any:
        if config is not None:
            return make(annotated, config=config)
        key = annotated.__origin__, repr(annotated.__metadata__)
        if key not in adapters:
            adapters[key] = make(annotated, config=config)
        return adapters[key]

    utils._get_signature = signature
    fields.TypeAdapter = adapter


def draw_few_halves() -> None:
    """Have sealing keys draw their ML-KEM half from few that were drawn before.

    A custodian draws 22 keys when it is first opened, and 700 are in a run. The X25519 half, which
    a key is drawn with, is new each time: no two keys, public halves or seeds are the same.
    """
    library: Any = MLKEM768PrivateKey
    draw = library.generate
    drawn: list[MLKEM768PrivateKey] = []
    turn = itertools.count()

    def generate() -> MLKEM768PrivateKey:
        number = next(turn)
        if number < _HALVES:
            drawn.append(draw())
            return drawn[-1]
        return drawn[number % _HALVES]

    library.generate = staticmethod(generate)
