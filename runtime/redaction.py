"""Show a camera's address to people without what gives access: user, password, query."""

from __future__ import annotations

import re


def redact(url: str) -> str:
    """Take user, password, query and fragment out of an address, whatever its scheme.

    Where it is not plain which part is the password, as when it holds an unescaped `/`, `?`, `#`
    or `@`, only the scheme is left. What is no address (a path, a device) stays as it is.

    >>> redact("rtsp://admin:hunter2@10.0.0.7:554/ch1?token=x")
    'rtsp://***@10.0.0.7:554/ch1'
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    before, at, host = rest.partition("@")
    if "@" in host or (at and set("/?#") & set(before)):
        return f"{scheme}://***"
    address = re.split("[?#]", host if at else rest, maxsplit=1)[0]
    return f"{scheme}://***@{address}" if at else f"{scheme}://{address}"
