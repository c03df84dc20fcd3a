"""An export: an officer's signed word that they wrote results of a query to files, which they name.

The aggregator logs it before there is a file; beside a report it is the report's signature.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from protocol.directory import INVESTIGATOR, Directory
from protocol.encoding import PROTOCOL_VERSION, Fields, decode, encode
from protocol.errors import MalformedMessage, NotAuthorized
from protocol.signing import Signed, SigningKey, Unsigned

EXPORT_KIND = "export"
DIGEST_BYTES = 32
MAX_FILES = 16
MAX_FORM_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Export:
    """What was written, when (ms UTC).

    Args:
        query_digest: of the query whose results they are.
        form: the name of the form, such as ``report`` or ``csv-persons``.
        files: SHA-256 of each file that was written.
    """

    query_digest: bytes
    form: str
    files: tuple[bytes, ...]
    exported_at_ms: int

    def unsigned(self, officer: str) -> Unsigned:
        """Return what is signed as the officer of that name who exports."""
        payload = {
            "v": PROTOCOL_VERSION,
            "query_digest": self.query_digest,
            "form": self.form,
            "files": list(self.files),
            "exported_at_ms": self.exported_at_ms,
        }
        return Unsigned(EXPORT_KIND, officer, encode(payload))

    def sign(self, officer: SigningKey) -> Signed:
        """Sign as the officer who exports."""
        return self.unsigned(officer.signer).by_key(officer)

    @classmethod
    def parse(cls, payload: bytes) -> Export:
        """Read a verified payload.

        Raises:
            MalformedMessage: it is not an export.
        """
        fields = Fields(decode(payload, what="export"), what="export")
        fields.version()
        export = cls(
            query_digest=fields.raw("query_digest", size=DIGEST_BYTES),
            form=fields.text("form", max_length=MAX_FORM_LENGTH),
            files=fields.raws("files", max_items=MAX_FILES),
            exported_at_ms=fields.integer("exported_at_ms"),
        )
        fields.done()
        if not export.form or not export.files:
            raise MalformedMessage("export: it names no form, or no file")
        if any(len(digest) != DIGEST_BYTES for digest in export.files):
            raise MalformedMessage("export: a file's digest does not have 32 bytes")
        return export


def open_export(signed: Signed, directory: Directory) -> Export:
    """Verify an export, also of an officer who was revoked since.

    Raises:
        SignatureInvalid, MalformedMessage: no investigator of the site signed it.
        NotAuthorized: it is another kind of message.
    """
    if signed.kind != EXPORT_KIND:
        raise NotAuthorized("that is not an export")
    return Export.parse(signed.verify(directory.historic_resolver(INVESTIGATOR)))


def check_reader(signed: Signed, export: Export, digest: bytes, readers: Collection[str]) -> None:
    """Check that an export is of a query, by an officer to whom its results are sealed.

    Args:
        digest: the query's.
        readers: who asked and who confirms.

    Raises:
        NotAuthorized: it is of another query, or somebody else's.
    """
    if export.query_digest != digest:
        raise NotAuthorized(f"the export of '{signed.signer}' is of another query's results")
    if signed.signer not in readers:
        raise NotAuthorized(
            f"the export is by '{signed.signer}', to whom the query's results are not sealed"
        )
