"""The site's directory: who may do what, under which key, signed by the site's authority.

Everyone verifies everyone else against the newest directory that it has seen; an older one is
refused. A revoked principal stays listed, so that it is refused by name and not forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from protocol import hpke
from protocol.boxterms import BoxTerms
from protocol.encoding import Fields, decode, encode
from protocol.epoch import MAX_CUSTODIANS
from protocol.errors import (
    DirectoryRollback,
    MalformedMessage,
    PrincipalRevoked,
    SignatureInvalid,
    UnknownSigner,
    UnsupportedVersion,
)
from protocol.names import require_name
from protocol.passkeys import Credentials, Passkey
from protocol.signing import (
    Signed,
    SigningKey,
    Verifier,
    VerifyKey,
    sign,
)

DIRECTORY_KIND = "directory"
AUTHORITY = "authority"
BOX, CUSTODIAN, AGGREGATOR, REGISTRAR = "box", "custodian", "aggregator", "registrar"
INVESTIGATOR, APPROVER, AUDITOR = "investigator", "approver", "auditor"
DUTIES = frozenset({BOX, CUSTODIAN, AGGREGATOR, REGISTRAR, INVESTIGATOR, APPROVER, AUDITOR})
MAX_PRINCIPALS = 32_768
MAX_CAMERAS_PER_BOX = 64
MAX_PASSKEYS, MAX_OUTSIDE_WITNESSES = 8, 16
FORMS = frozenset({1, 2})


@dataclass(frozen=True, slots=True)
class OutsideWitness:
    """Somebody outside the site who cosigns its logs: name, key, and where they answer."""

    name: str
    verify_key: VerifyKey
    url: str

    def to_value(self) -> dict[str, object]:
        """Return the map that is encoded."""
        return {"name": self.name, "verify_key": self.verify_key.raw, "url": self.url}

    @classmethod
    def from_value(cls, value: object) -> OutsideWitness:
        """Read a decoded map.

        Raises:
            MalformedMessage: it is not an outside witness.
        """
        fields = Fields(value, what="outside witness")
        witness = cls(
            fields.name("name"), VerifyKey(fields.raw("verify_key", size=32)), fields.text("url")
        )
        fields.done()
        return witness


@dataclass(frozen=True, slots=True)
class Principal:
    """One box, custodian, aggregator or officer.

    Args:
        duties: what it may sign as; an officer may hold more than one.
        seal_key: for officers and the aggregator: what is sealed to them.
        cameras: for boxes: the cameras that it may speak for.
        url: for custodians and the aggregator: where their HTTP interface is.
        revoked_at_ms: from when on it is refused, or None.
        recordings, version_1_until_ms: for boxes: its terms (`protocol.boxterms`); from form 2 on,
            as what follows.
        passkeys: for officers: what they may sign with besides the key.
    """

    name: str
    duties: frozenset[str]
    verify_key: VerifyKey
    seal_key: hpke.PublicKey | None = None
    cameras: tuple[str, ...] = ()
    url: str | None = None
    revoked_at_ms: int | None = None
    recordings: tuple[str, ...] = ()
    passkeys: tuple[Passkey, ...] = ()
    version_1_until_ms: int | None = None

    @property
    def verifier(self) -> Verifier:
        """What checks its signatures: its key, or any of its credentials."""
        return Credentials(self.verify_key, self.passkeys) if self.passkeys else self.verify_key

    @property
    def tells_of(self) -> tuple[str, ...]:
        """The cameras of which a box may tell: that it watches, or whose films it may import."""
        return tuple(dict.fromkeys((*self.cameras, *self.recordings)))

    @property
    def terms(self) -> BoxTerms:
        """What the authority alone says of a box."""
        return BoxTerms(self.recordings, self.version_1_until_ms)

    def on(self, terms: BoxTerms) -> Principal:
        """Return the same box on other terms."""
        return replace(
            self, recordings=terms.recordings, version_1_until_ms=terms.version_1_until_ms
        )

    def to_value(self, form: int = 1) -> dict[str, object]:
        """Return the map that is encoded in a directory of that form."""
        value: dict[str, object] = {
            "name": self.name,
            "duties": sorted(self.duties),
            "verify_key": self.verify_key.raw,
            "seal_key": None if self.seal_key is None else self.seal_key.raw,
            "cameras": list(self.cameras),
            "url": self.url,
            "revoked_at_ms": self.revoked_at_ms,
        }
        if form > 1:
            value |= self.terms.to_value()
            value["passkeys"] = [passkey.to_value() for passkey in self.passkeys]
        return value

    @classmethod
    def from_value(cls, value: object, form: int = 1) -> Principal:
        """Read a decoded map.

        Raises:
            MalformedMessage: it is not a principal.
        """
        fields = Fields(value, what="principal")
        seal_key = fields.optional("seal_key", fields.raw)
        principal = cls(
            name=fields.name("name"),
            duties=frozenset(fields.texts("duties", max_items=len(DUTIES), min_items=1)),
            verify_key=VerifyKey(fields.raw("verify_key", size=32)),
            seal_key=None if seal_key is None else hpke.PublicKey(seal_key),
            cameras=tuple(
                require_name(camera, what="camera")
                for camera in fields.texts("cameras", max_items=MAX_CAMERAS_PER_BOX)
            ),
            url=fields.optional("url", fields.text),
            revoked_at_ms=fields.optional("revoked_at_ms", fields.integer),
        )
        if form > 1:
            passkeys = tuple(
                Passkey.from_value(item)
                for item in fields.array("passkeys", max_items=MAX_PASSKEYS)
            )
            principal = replace(principal.on(BoxTerms.take(fields)), passkeys=passkeys)
        fields.done()
        if not principal.duties <= DUTIES:
            raise MalformedMessage(f"'{principal.name}' has an unknown duty")
        return principal


@dataclass(frozen=True, slots=True)
class Directory:
    """The directory of ``site``: ``threshold`` of its custodians must grant.

    Args:
        form: in which it was read; the second says more, and goes out beside the first under one
            ``version`` until every machine reads it.
        places: SHA-256 of the register of places, None without one; from form 2 on.
        outside_witnesses: who else cosigns the site's logs; from form 2 on.
        admitted: terms of boxes that are not listed here, by name: the registrar admits them
            (`protocol.admissions`); from form 2 on.
    """

    site: str
    version: int
    issued_at_ms: int
    threshold: int
    principals: Mapping[str, Principal]
    form: int = 1
    places: bytes | None = None
    outside_witnesses: tuple[OutsideWitness, ...] = ()
    admitted: Mapping[str, BoxTerms] = field(default_factory=dict)

    def sign(self, authority: SigningKey, form: int = 1) -> Signed:
        """Sign as the site's authority.

        Args:
            form: in which; the first leaves out what it has no room for.

        Raises:
            MalformedMessage: two in force have one key (:meth:`shared_keys`).
        """
        self._require_keys_of_their_own()
        payload: dict[str, object] = {
            "v": form,
            "site": self.site,
            "version": self.version,
            "issued_at_ms": self.issued_at_ms,
            "threshold": self.threshold,
            "principals": [
                self.principals[name].to_value(form) for name in sorted(self.principals)
            ],
        }
        if form > 1:
            payload["places"] = self.places
            payload["outside_witnesses"] = [one.to_value() for one in self.outside_witnesses]
            payload["admitted"] = {name: one.to_value() for name, one in self.admitted.items()}
        return sign(DIRECTORY_KIND, encode(payload), authority)

    @classmethod
    def parse(cls, payload: bytes) -> Directory:
        """Read a verified payload.

        Raises:
            MalformedMessage: it is not a directory, or contradicts itself.
        """
        fields = Fields(decode(payload, what="directory"), what="directory")
        form = fields.integer("v")
        if form not in FORMS:
            raise UnsupportedVersion(
                f"the directory is of form {form}, and this machine reads {max(FORMS)} at most: "
                "it needs its update"
            )
        site = fields.name("site")
        version = fields.integer("version", low=1)
        issued_at_ms = fields.integer("issued_at_ms")
        threshold = fields.integer("threshold", low=1, high=MAX_CUSTODIANS)
        listed = fields.array("principals", max_items=MAX_PRINCIPALS)
        places: bytes | None = None
        witnesses: tuple[OutsideWitness, ...] = ()
        admitted: dict[str, BoxTerms] = {}
        if form > 1:
            places = fields.optional("places", lambda name: fields.raw(name, size=32))
            witnesses = tuple(
                OutsideWitness.from_value(item)
                for item in fields.array("outside_witnesses", max_items=MAX_OUTSIDE_WITNESSES)
            )
            admitted = {
                require_name(name, what="an admitted box"): BoxTerms.from_value(value)
                for name, value in fields.mapping("admitted", max_items=MAX_PRINCIPALS).items()
            }
        fields.done()
        principals = [Principal.from_value(value, form) for value in listed]
        by_name = {principal.name: principal for principal in principals}
        cameras = [c for p in principals if p.revoked_at_ms is None for c in p.cameras]
        if len(by_name) != len(principals) or len(set(cameras)) != len(cameras):
            raise MalformedMessage("the directory lists a principal or a camera twice")
        if AUTHORITY in by_name:
            raise MalformedMessage(f"'{AUTHORITY}' is nobody's name")
        names = [one.name for one in witnesses]
        if len(set(names)) != len(names) or set(names) & set(by_name):
            raise MalformedMessage("the directory lists an outside witness twice, or as its own")
        if taken := sorted(admitted.keys() & {*by_name, *names, AUTHORITY}):
            raise MalformedMessage(f"the directory lists '{taken[0]}', and as an admitted box too")
        return cls(
            site,
            version,
            issued_at_ms,
            threshold,
            by_name,
            form=form,
            places=places,
            outside_witnesses=witnesses,
            admitted=admitted,
        )

    def with_duty(self, duty: str) -> list[Principal]:
        """Return the principals in force that hold ``duty``, by name."""
        return [
            principal
            for _, principal in sorted(self.principals.items())
            if duty in principal.duties and principal.revoked_at_ms is None
        ]

    def require(self, name: str, duty: str) -> Principal:
        """Return the principal in force ``name`` that holds ``duty``.

        Raises:
            UnknownSigner: not listed, or without that duty.
            PrincipalRevoked: it has been revoked.
        """
        principal = self.principals.get(name)
        if principal is None or duty not in principal.duties:
            raise UnknownSigner(f"the directory lists no {duty} '{name}'")
        if principal.revoked_at_ms is not None:
            raise PrincipalRevoked(f"{duty} '{name}' has been revoked")
        return principal

    def resolver(self, duty: str) -> Callable[[str], Verifier]:
        """Return the ``resolve`` for :meth:`protocol.signing.Signed.verify` of one duty."""
        return lambda name: self.require(name, duty).verifier

    def historic_resolver(self, duty: str) -> Callable[[str], Verifier]:
        """Like :meth:`resolver`, for auditing what was signed before a revocation."""

        def resolve(name: str) -> Verifier:
            principal = self.principals.get(name)
            if principal is None or duty not in principal.duties:
                raise UnknownSigner(f"the directory lists no {duty} '{name}'")
            return principal.verifier

        return resolve

    def box_of_camera(self, camera: str) -> Principal:
        """Return the box in force that speaks for ``camera``.

        Raises:
            UnknownSigner: no box does.
        """
        for principal in self.with_duty(BOX):
            if camera in principal.cameras:
                return principal
        raise UnknownSigner(f"no box speaks for camera '{camera}'")

    def auditors(self) -> dict[str, hpke.PublicKey]:
        """Return the auditors in force and the keys that log entries are sealed to."""
        return {p.name: p.seal_key for p in self.with_duty(AUDITOR) if p.seal_key is not None}

    def custodians(self) -> list[str]:
        """Return the names of the custodians in force, sorted."""
        return [principal.name for principal in self.with_duty(CUSTODIAN)]

    def shared_keys(self) -> list[tuple[str, ...]]:
        """Return the names in force that share a signing or sealing key, each such group sorted.

        They are one party under several names: m of n, or two approvals, would be one person's.
        """
        names: dict[bytes, set[str]] = {}
        for principal in self.principals.values():
            if principal.revoked_at_ms is None:
                names.setdefault(principal.verify_key.raw, set()).add(principal.name)
                if principal.seal_key is not None:
                    names.setdefault(principal.seal_key.raw, set()).add(principal.name)
                for passkey in principal.passkeys:
                    names.setdefault(passkey.public, set()).add(principal.name)
        return sorted({tuple(sorted(group)) for group in names.values() if len(group) > 1})

    def _require_keys_of_their_own(self) -> None:
        for group in self.shared_keys():
            told = " and ".join(f"'{name}'" for name in group)
            raise MalformedMessage(
                f"the directory is not signed: {told} have one and the same key and would count as "
                "several; revoke all but one of them, or give each a key of their own"
            )

    def revoke(self, name: str, *, at_ms: int) -> Directory:
        """Return the next version of the directory with ``name`` revoked.

        Raises:
            UnknownSigner: not listed.
        """
        principal = self.principals.get(name)
        if principal is None:
            raise UnknownSigner(f"the directory does not list '{name}'")
        changed = dict(self.principals)
        changed[name] = replace(principal, revoked_at_ms=principal.revoked_at_ms or at_ms)
        return self.next_version(changed, at_ms=at_ms)

    def next_version(self, principals: Mapping[str, Principal], *, at_ms: int) -> Directory:
        """Return the next version with other principals."""
        changed = replace(self, version=self.version + 1, issued_at_ms=at_ms)
        return changed.listing(principals)

    def listing(self, principals: Mapping[str, Principal]) -> Directory:
        """Return it with other principals; none of them is spoken of as an admitted box besides."""
        admitted = {name: of for name, of in self.admitted.items() if name not in principals}
        return replace(self, principals=principals, admitted=admitted)

    def with_terms(self, terms: Mapping[str, BoxTerms]) -> Directory:
        """Return it with other terms of boxes, by name, whether they are listed here or not."""
        principals, admitted = dict(self.principals), dict(self.admitted)
        for name, said in terms.items():
            if name in principals:
                principals[name] = principals[name].on(said)
            elif said == BoxTerms():
                admitted.pop(name, None)
            else:
                admitted[name] = said
        return replace(self, principals=principals, admitted=admitted)


def authority_resolver(authority: VerifyKey) -> Callable[[str], VerifyKey]:
    """Return a ``resolve`` that knows the site's authority alone."""

    def resolve(name: str) -> VerifyKey:
        if name != AUTHORITY:
            raise UnknownSigner(f"'{name}' is not the site's authority")
        return authority

    return resolve


def open_directory(
    data: bytes, authority: VerifyKey, *, site: str | None = None, newest: Directory | None = None
) -> Directory:
    """Verify and read a signed directory.

    Args:
        newest: the newest directory seen so far, if any.

    Raises:
        SignatureInvalid: not signed by the site's authority, or of another site.
        DirectoryRollback: older than ``newest``.
    """
    payload = Signed.parse(data, kind=DIRECTORY_KIND).verify(authority_resolver(authority))
    directory = Directory.parse(payload)
    if site is not None and directory.site != site:
        raise SignatureInvalid(f"the directory is of site '{directory.site}', not '{site}'")
    if newest is not None and directory.version < newest.version:
        raise DirectoryRollback(
            f"directory version {directory.version} is older than version {newest.version}"
        )
    return directory
