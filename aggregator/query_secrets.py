"""What one query needs in memory while it is open: never written anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from aggregator.store.rows import QueryRecord
from protocol import hpke
from protocol.templates import Template, open_templates


@dataclass(slots=True)
class QuerySecrets:
    """A query's matcher key, and the templates that came sealed to it, kept sealed."""

    matcher: hpke.PrivateKey
    sealed_templates: bytes | None = None

    @contextmanager
    def opened(
        self, record: QueryRecord, sealed: bytes
    ) -> Iterator[Mapping[str, tuple[Template, ...]]]:
        """Open sealed templates for as long as the block lasts, then overwrite them.

        Raises:
            SealError, MalformedMessage, ModelMismatch: they are not the query's templates.
        """
        templates = open_templates(sealed, self.matcher, record.query, query_digest=record.digest)
        try:
            yield templates
        finally:
            for listed in templates.values():
                for template in listed:
                    template.row.fill(0)
