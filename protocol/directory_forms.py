"""The two forms in which a version of the directory goes out, and what counts of what has come.

The authority signs every version in both, so that a machine that reads only the first learns of it
too. Either may come first, or alone. The second counts before the first of the same version; a
newer first form counts at once (it may revoke somebody), but does not take back what a second form
has said: else whoever withholds second forms would have boxes seal as in version 1 again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from protocol.boxterms import BoxTerms
from protocol.directory import FORMS, Directory
from protocol.errors import DirectoryRollback, MalformedMessage
from protocol.signing import SigningKey

FIRST, SECOND = 1, 2


class FormsContradict(MalformedMessage):
    """Two directories of one version carry the true signature and do not say the same."""


def sign_forms(directory: Directory, authority: SigningKey) -> dict[int, bytes]:
    """Return the signed directory by form.

    Raises:
        MalformedMessage: two in force have one key.
    """
    return {form: directory.sign(authority, form).to_bytes() for form in sorted(FORMS)}


def as_first_form(directory: Directory) -> Directory:
    """Return what the first form of ``directory`` says."""
    principals = {
        name: replace(principal.on(BoxTerms()), passkeys=())
        for name, principal in directory.principals.items()
    }
    return replace(
        directory,
        principals=principals,
        form=FIRST,
        places=None,
        outside_witnesses=(),
        admitted={},
    )


@dataclass(frozen=True, slots=True)
class SignedDirectory:
    """A directory as signed, and as read."""

    signed: bytes
    directory: Directory


@dataclass(frozen=True, slots=True)
class DirectoryForms:
    """The newest of either form that has come; at least one has.

    Args:
        first, second: by form; their versions may differ.
    """

    first: SignedDirectory | None = None
    second: SignedDirectory | None = None

    @classmethod
    def of(cls, signed: bytes, directory: Directory) -> DirectoryForms:
        """Begin with one, of either form."""
        one = SignedDirectory(signed, directory)
        return cls(second=one) if directory.form >= SECOND else cls(first=one)

    @property
    def newest(self) -> SignedDirectory:
        """The newest version, in its second form if that has come."""
        return max(self, key=lambda one: (one.directory.version, one.directory.form))

    @property
    def in_force(self) -> Directory:
        """What counts: the newest, with what the last second form has said of boxes in it.

        Of a newer version of which only the first form has come, what permits something
        (recordings, passkeys) is not carried over; what forbids something is.
        """
        newest, second = self.newest.directory, self.second
        if second is None or newest is second.directory:
            return newest
        principals = dict(newest.principals)
        for name, before in second.directory.principals.items():
            now = principals.get(name)
            if now is not None and now.verify_key == before.verify_key:
                principals[name] = replace(now, version_1_until_ms=before.version_1_until_ms)
        admitted = {
            name: replace(before, recordings=())
            for name, before in second.directory.admitted.items()
            if before.version_1_until_ms is not None
        }
        return replace(
            replace(newest, admitted=admitted).listing(principals),
            form=second.directory.form,
            places=second.directory.places,
            outside_witnesses=second.directory.outside_witnesses,
        )

    def signed_in(self, form: int) -> bytes | None:
        """Return the newest directory of one form as signed, None where none has come."""
        one = self.second if form >= SECOND else self.first
        return None if one is None else one.signed

    def readable_in(self, form: int) -> bytes:
        """Return the newest directory for a machine that reads forms up to ``form``.

        One of a later form where there is no other: that machine says then what it needs.
        """
        first = self.first
        return first.signed if form < SECOND and first is not None else self.newest.signed

    def taking(self, signed: bytes, directory: Directory) -> DirectoryForms:
        """Return these with one more; the same ones if it is at hand already.

        Raises:
            DirectoryRollback: it is older than what counts.
            FormsContradict: another of its version says otherwise.
        """
        newest = self.newest.directory
        if directory.version < newest.version:
            raise DirectoryRollback(
                f"directory version {directory.version} is older than version {newest.version}"
            )
        of_second = directory.form >= SECOND
        for held in self:
            if held.directory.version != directory.version:
                continue
            alike = held.directory.form == directory.form
            same = (
                held.signed == signed
                if alike
                else as_first_form(held.directory) == as_first_form(directory)
            )
            if not same:
                raise FormsContradict(
                    f"there are two different directories of version {directory.version}"
                )
            if alike:
                return self
        one = SignedDirectory(signed, directory)
        return replace(self, second=one) if of_second else replace(self, first=one)

    def __iter__(self) -> Iterator[SignedDirectory]:
        return (one for one in (self.first, self.second) if one is not None)
