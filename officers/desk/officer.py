"""An officer: the configuration, whom the officer believes, and what the officer has signed."""

from __future__ import annotations

from pathlib import Path

from officers.desk.moments import show_in
from officers.desk.phrases import phrase
from protocol.directory import AGGREGATOR, CUSTODIAN, Directory, Principal
from protocol.directory_forms import FIRST, SECOND
from protocol.encoding import MAX_MESSAGE_BYTES
from protocol.errors import DirectoryRollback
from protocol.places import Places
from protocol.policy import Policy
from runtime.config import TlsConfig
from runtime.errors import OperationError
from runtime.fsio import atomic_write, private_folder, read_file
from runtime.officer import OfficerConfig, load_officer, officer_file
from runtime.trust import Trust, read_policy
from runtime.zones import zone

_KEPT_FOLDER = "queries"


class OfficerError(OperationError):
    """The officer's files do not fit the site, or the officer lacks the duty."""


class Officer:
    """One officer's configuration, directory, policy and record; the keys are apart (`keys`)."""

    def __init__(self, config: OfficerConfig, file: Path | None = None) -> None:
        self.config = config
        self.file = file
        """Where the configuration was read from, for a helper that reads it, too."""
        self.trust = Trust(
            site=config.site,
            authority=config.authority_key,
            installed=config.directory,
            state_dir=config.state_dir,
        )
        self._policy: Policy | None = None
        self.register: Places | None = None
        """The register of places that was read last (`camera_places`)."""

    @classmethod
    def load(cls, path: Path | None) -> Officer:
        """Read the officer's configuration and the site's directory; show times in its zone.

        Raises:
            ConfigError, TrustError: one of them is missing or cannot be used.
        """
        file = officer_file(path).absolute()
        config = load_officer(file)
        show_in(None if config.time_zone is None else zone(config.time_zone))
        return cls(config, file)

    @property
    def name(self) -> str:
        """The officer's name in the directory."""
        return self.config.name

    @property
    def directory(self) -> Directory:
        """The newest directory known here."""
        return self.trust.directory

    @property
    def policy(self) -> Policy:
        """The site's policy, verified.

        Raises:
            TrustError: it is missing, or not the one that was signed.
        """
        if self._policy is None:
            config = self.config
            self._policy = read_policy(
                config.policy,
                config.policy_signature,
                authority=config.authority_key,
                site=config.site,
            )
        return self._policy

    @property
    def tls(self) -> TlsConfig:
        """The officer's certificates.

        Raises:
            OfficerError: the configuration names none.
        """
        if self.config.tls is None:
            raise OfficerError(
                phrase(
                    "officer.toml has no [tls] section: the aggregator and the custodians talk to "
                    "known officers only; add ca, certificate and private_key"
                )
            )
        return self.config.tls

    def require(self, duty: str) -> Principal:
        """Return the officer's own entry in the directory, which must list ``duty``.

        Raises:
            OfficerError: it does not.
            PrincipalRevoked: the officer has been revoked.
        """
        listed = self.directory.principals.get(self.name)
        if listed is None or duty not in listed.duties:
            held = ", ".join(sorted(listed.duties)) if listed else phrase("nobody of this site")
            raise OfficerError(
                phrase(
                    "this takes an {duty}, and the directory lists '{name}' as {held}; name "
                    "another officer with --officer",
                    duty=duty,
                    name=self.name,
                    held=held,
                )
            )
        return self.directory.require(self.name, duty)

    def aggregator_url(self) -> str:
        """Return where the aggregator is.

        Raises:
            OfficerError: the directory does not say.
        """
        for principal in self.directory.with_duty(AGGREGATOR):
            if principal.url:
                return principal.url
        raise OfficerError(
            phrase("the site's directory gives no address of an aggregator in force")
        )

    def custodians(self) -> list[Principal]:
        """Return the custodians in force."""
        return self.directory.with_duty(CUSTODIAN)

    def take_directory(self, data: bytes) -> bool:
        """Take in a directory, or admissions, that a role holds; tell whether they were newer.

        Older ones are no harm here: what is known stays in force.

        Raises:
            SignatureInvalid, MalformedMessage: they are not of this site.
        """
        known = (self.trust.signed_in(FIRST), self.trust.signed_in(SECOND))
        if data in (*known, self.trust.signed_admissions):
            return False
        private_folder(self.config.state_dir)
        try:
            return self.trust.accept(data)
        except DirectoryRollback:
            return False

    def keep_query(self, query_id: bytes, signed: bytes) -> None:
        """Keep a query that this officer signed or approved, so that it can always be revoked.

        Raises:
            FileProblem: it cannot be written.
        """
        folder = private_folder(self.config.state_dir / _KEPT_FOLDER)
        atomic_write(folder / f"{query_id.hex()}.cbor", signed, 0o600)

    def kept_query(self, query_id: bytes) -> bytes | None:
        """Return a query that was kept here, as it was signed, or None."""
        path = self.config.state_dir / _KEPT_FOLDER / f"{query_id.hex()}.cbor"
        return read_file(path, MAX_MESSAGE_BYTES) if path.exists() else None

    def kept_ids(self) -> list[str]:
        """Return the ids, hex, of the queries that are kept here."""
        folder = self.config.state_dir / _KEPT_FOLDER
        return sorted(path.stem for path in folder.glob("*.cbor")) if folder.is_dir() else []
