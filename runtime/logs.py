"""Set up logging once a process: JSON lines for services, a console for people, never a secret."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from datetime import date, datetime, timedelta
from enum import Enum
from pathlib import PurePath
from typing import Any, TextIO
from uuid import UUID

import structlog

from runtime._log_folding import FoldingHandler
from runtime.config import LogConfig
from runtime.text import harmless

MAX_TEXT = 2000
_MAX_DEPTH = 6
_BUFFERS = (bytes, bytearray, memoryview)
_SCALARS = (int, float, complex, datetime, date, timedelta, PurePath, UUID)


def configure(config: LogConfig | None = None, *, role: str, stream: TextIO | None = None) -> None:
    """Send every log of this process, the libraries' too, to ``stream`` (standard error).

    Each line carries ``timestamp`` (ISO 8601, UTC), ``level``, ``event`` and ``role``. Values that
    could hold a template, a key or a photo are replaced by their type and length (`redact`). Lines
    that repeat are counted (`runtime._log_folding`).
    """
    config = config or LogConfig()
    target = stream or sys.stderr
    as_json = config.format == "json" or (config.format == "auto" and not target.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        _named(role),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    if as_json:
        ending: list[structlog.typing.Processor] = [
            structlog.processors.format_exc_info,
            redact,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    else:
        ending = [
            redact,
            structlog.dev.ConsoleRenderer(
                colors=target.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    handler = FoldingHandler(target, role=role)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(config.level.upper())
    for chatty in ("httpx", "httpcore", "asyncio", "multipart"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
    for quiet in ("uvicorn", "uvicorn.error", "uvicorn.access", "paho"):
        logging.getLogger(quiet).handlers.clear()
        logging.getLogger(quiet).propagate = True
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace what may not be logged: byte strings, arrays, and objects that could hold them.

    Numbers, times, paths and text up to ``MAX_TEXT`` characters pass, text with what could steer a
    terminal escaped; lists and dicts are searched; anything else is shown as ``<type>`` or
    ``<type length>``.
    """
    for key, value in event.items():
        if key == "exc_info":  # the console prints the traceback itself, without local variables
            continue
        event[key] = value if key == "exception" else _safe(value, 0)
    return event


def _safe(value: Any, depth: int) -> Any:  # noqa: PLR0911 - one line a kind of value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return _safe(value.value, depth)
    if isinstance(value, str):
        text = value if len(value) <= MAX_TEXT else f"{value[:MAX_TEXT]}... ({len(value)} chars)"
        return harmless(text)
    if isinstance(value, _BUFFERS):
        return f"<{type(value).__name__} {len(value)}>"
    if hasattr(value, "__array__"):  # numpy arrays and scalars, and what behaves like them
        shape = getattr(value, "shape", ())
        item = getattr(value, "item", None)
        if shape == () and item is not None:
            return _safe(item(), depth)
        return f"<{type(value).__name__} {'x'.join(str(size) for size in shape)}>"
    if isinstance(value, _SCALARS):
        return value if isinstance(value, int | float) else str(value)
    if isinstance(value, BaseException):
        return _safe(f"{type(value).__name__}: {value}", depth)
    if depth < _MAX_DEPTH and isinstance(value, Mapping):
        return {str(_safe(key, depth + 1)): _safe(item, depth + 1) for key, item in value.items()}
    if depth < _MAX_DEPTH and isinstance(value, list | tuple | set | frozenset):
        return [_safe(item, depth + 1) for item in value]
    return f"<{type(value).__name__}>"


def _named(role: str) -> structlog.typing.Processor:
    def add_role(
        _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        event.setdefault("role", role)
        return event

    return add_role
