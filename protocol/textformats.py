"""Reads JSON and TOML that others wrote: whatever is wrong with it is a ``ValueError``.

The standard library's readers also end in ``RecursionError`` where brackets stand within one
another without end, and JSON's reads three words that are not JSON, and numbers too large to be
any; those then end in ``OverflowError`` wherever a whole number is wanted.
"""

from __future__ import annotations

import json
import math
import tomllib
from typing import Any, NoReturn

_TOO_DEEP = "brackets stand too deep within one another"


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text (RFC 8259), with finite numbers alone.

    Raises:
        ValueError: it is not JSON, or too deep.
    """
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


def parse_toml(text: str) -> dict[str, Any]:
    """Return the table of a TOML text.

    Raises:
        tomllib.TOMLDecodeError: it is not TOML, or too deep, or holds a number of thousands of
            digits; a ``ValueError``.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise tomllib.TOMLDecodeError(_TOO_DEEP) from None
    except ValueError as error:
        raise tomllib.TOMLDecodeError(str(error)) from error


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def _finite(spelt: str) -> float:
    value = float(spelt)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value
