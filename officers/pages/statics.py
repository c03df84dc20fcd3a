"""The files that pages fetch from the desk: sections' own and vendors', by digest, nothing else."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.responses import Response

from officers.pages.assets import Vendor
from officers.pages.sections import Section

PREFIX = "/static/"
_FOREVER = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"
_TYPES = {".js": "text/javascript", ".woff2": "font/woff2", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class _File:
    data: bytes
    media_type: str
    version: str


class Statics:
    """Sections' files, read once; vendors' files as they are asked for."""

    def __init__(self, sections: Mapping[str, Section], vendor: Vendor) -> None:
        self._vendor = vendor
        self._files = {
            f"{name}/{path.relative_to(one.folder / 'static').as_posix()}": _read(
                path.read_bytes(), path.name
            )
            for name, one in sections.items()
            for path in sorted((one.folder / "static").rglob("*"))
            if path.is_file()
        }

    def address(self, name: str) -> str:
        """Return the address of ``"section/file"`` or ``"vendor/PACKAGE/file"``."""
        if name.startswith("vendor/"):
            return f"{PREFIX}vendor/{self._vendor.versioned(name.removeprefix('vendor/'))}"
        return f"{PREFIX}{name}?v={self._files[name].version}"

    def answer(self, name: str, version: str) -> Response:
        """Return a file.

        Raises:
            HTTPException: 404, there is none of that name.
        """
        if name.startswith("vendor/"):
            data = self._vendor.read(name.removeprefix("vendor/"))
            found = None if data is None else _read(data, name)
            forever = True
        else:
            found = self._files.get(name)
            forever = found is not None and version == found.version
        if found is None:
            raise HTTPException(404)
        caching = _FOREVER if forever else _ASK_AGAIN
        return Response(found.data, media_type=found.media_type, headers={"cache-control": caching})


def _read(data: bytes, name: str) -> _File:
    ending = name[name.rfind(".") :]
    kind = _TYPES.get(ending) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    return _File(data, kind, hashlib.sha256(data).hexdigest()[:16])
