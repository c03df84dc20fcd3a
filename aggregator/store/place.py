"""Where the aggregator's store is: a file beside the service, or a database of PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from aggregator.store.packed.place import ObjectsPlace
from runtime.config import SecretGiven
from runtime.database import StorageError

SEGMENTS = "segments"
SCHEMES = ("postgresql", "postgres")


@dataclass(frozen=True, slots=True)
class StorePlace:
    """Says where a store is; can be pickled, so that another process opens the same one.

    Args:
        database: the file of the embedded backend, which is used where there is no ``url``.
        url: ``postgresql://user@host:port/database``, without a password; empty: the file.
        password_file: holds the password of that user; None where the server asks for none.
        objects: where packed segments are (`aggregator.store.packed`); None: in the folder
            `SEGMENTS` beside ``database``.
    """

    database: Path
    url: str = ""
    password_file: Path | None = None
    objects: ObjectsPlace | None = None

    @property
    def name(self) -> str:
        """What it is called in messages: the file, or server and database; never a password."""
        return self.url or str(self.database)


def require_store_url(url: str) -> str:
    """Return ``url`` if it names a database of PostgreSQL and no password.

    Raises:
        ValueError: it does not, or carries a secret that would show in listings and logs.
    """
    try:
        parts = urlsplit(url)
        secret = parts.password is not None or "password" in parse_qs(parts.query)
    except ValueError:
        raise ValueError("it is no URL; it looks like postgresql://user@host/database") from None
    if secret:
        raise SecretGiven("it holds a password; put that into a file, named as password_file")
    if parts.scheme not in SCHEMES or not parts.path.strip("/"):
        raise ValueError("it must look like postgresql://user@host/database")
    return url


def moved_note(database: Path) -> Path:
    """Return the file that says where the ledger of an embedded backend was moved to."""
    return database.with_name(f"{database.name}.moved")


def require_not_moved(database: Path) -> None:
    """Check that the ledger in a file is still the site's: it has not been moved to a server.

    Raises:
        StorageError: it has.
    """
    note = moved_note(database)
    if note.exists():
        where = note.read_text(errors="replace").strip()
        raise StorageError(
            f"the ledger in {database} was moved to {where}: set [store] url to that, or delete"
            f" {note} to go on with the old one, without what came since"
        )


def require_postgresql() -> None:
    """Check that what speaks to PostgreSQL is installed: it is not where nobody needs it.

    Raises:
        StorageError: it is not.
    """
    for module in ("psycopg", "psycopg_pool"):
        if find_spec(module) is None:
            raise StorageError(
                f"[store] url names PostgreSQL, and {module} is not installed: install"
                " sealtrace[cluster], or leave url empty"
            )
