"""Send to every parameter that an OpenAPI document names what no honest caller would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import httpx

METHODS = ("get", "put", "post", "delete", "patch")
HOSTILE = (
    "-1",
    str(2**63),
    str(2**64),
    str(-(2**63) - 1),
    "9" * 5000,
    "1e400",
    "NaN",
    "Infinity",
    "-Infinity",
    "0x10",
    "1_000",
    "١٢٣",  # digits, but not ours
    "true",
    "",
    " ",
    "a" * 5000,
    "\x00",
    "a\x00b",
    "\ud800",
    "../../etc/passwd",
    "%",
    "%00%ff",
    "{}",
    "null",
)
KINDS = ("application/json", "application/cbor", "application/pkcs10", "")
FEW = 3
BODIES = (
    b"",
    b"\xff" * 100,
    b"null",
    b"{}",
    b"[]",
    b'{"cameras":["\\ud800"],"from_ms":0,"to_ms":900000}',
    b'{"cameras":["c\\u0000"],"from_ms":0,"to_ms":900000}',
    b'{"cameras":["c"],"from_ms":0,"to_ms":%d}' % (900_000 * 10**30),
    b'{"cameras":["c"],"from_ms":%d,"to_ms":%d}' % (2**63 // 900_000 * 900_000, 2**70 * 900_000),
    b'{"cameras":["c"],"from_ms":0,"to_ms":900000,"thresholds":{"face":NaN}}',
    b'{"cameras":["c"],"from_ms":0,"to_ms":900000,"templates":%d}' % 2**80,
    b"[" * 100_000,
    b"\xa1" * 100_000,
    b"9" * 10_000,
)


def attacks(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield method, path with query, and what else `httpx.Client.request` is to be given."""
    for path, methods in document["paths"].items():
        for method in METHODS:
            if method not in methods:
                continue
            parameters = methods[method].get("parameters", [])
            plain = _filled(path, parameters)
            for parameter in parameters:
                for value in HOSTILE:
                    yield from _with(method, path, parameters, parameter, value)
            if method in {"put", "post", "patch"}:
                for place, body in enumerate(BODIES):
                    for kind in KINDS if place < FEW else KINDS[:2]:
                        yield method, plain, {"content": body, "headers": {"content-type": kind}}


def _with(
    method: str,
    path: str,
    parameters: list[dict[str, Any]],
    parameter: dict[str, Any],
    value: str,
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    name = parameter["name"]
    raw = quote(value.encode("utf-8", "surrogatepass"), safe="")
    if parameter["in"] == "path":
        yield method, _filled(path, parameters, {name: raw}), {}
    elif parameter["in"] == "query":
        yield method, f"{_filled(path, parameters)}?{quote(name)}={raw}", {}
        if value in HOSTILE[:FEW]:
            yield method, f"{_filled(path, parameters)}?{quote(name)}=1&{quote(name)}={raw}", {}
    elif parameter["in"] == "header":
        text = "".join(letter for letter in value if letter.isascii() and letter.isprintable())
        text = text.strip()  # a client sends no other
        yield method, _filled(path, parameters), {"headers": {name: text}}


def _filled(
    path: str, parameters: list[dict[str, Any]], values: dict[str, str] | None = None
) -> str:
    for parameter in parameters:
        if parameter["in"] == "path":
            value = (values or {}).get(parameter["name"], "0" * 32)
            path = path.replace(f"{{{parameter['name']}}}", value)
    return path


def failures(
    document: dict[str, Any], request: Callable[..., httpx.Response]
) -> list[tuple[str, str, dict[str, Any], int]]:
    """Return each attack that was answered with a server's own fault, 500 to 599."""
    found = []
    for method, path, options in attacks(document):
        answer = request(method.upper(), path, **options)
        if answer.status_code >= 500:
            found.append((method, path[:200], options, answer.status_code))
    return found


def unbounded(document: dict[str, Any]) -> list[str]:
    """Return the parameters that are numbers or texts without bounds."""
    found = []
    for path, methods in document["paths"].items():
        for method in METHODS:
            for parameter in methods.get(method, {}).get("parameters", []):
                for schema in _alternatives(parameter["schema"]):
                    if not _bounded(schema):
                        found.append(f"{method} {path}: {parameter['name']}")
    return found


def _alternatives(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return list(schema.get("anyOf", [schema]))


def _bounded(schema: dict[str, Any]) -> bool:
    if schema.get("type") in {"integer", "number"}:
        low = "minimum" in schema or "exclusiveMinimum" in schema
        return low and ("maximum" in schema or "exclusiveMaximum" in schema)
    if schema.get("type") == "string":
        return "maxLength" in schema or "pattern" in schema or "enum" in schema
    return True
