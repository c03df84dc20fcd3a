"""What a site is to be: ``site.toml``, read strictly and written out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from protocol.directory import APPROVER, AUDITOR, AUTHORITY, INVESTIGATOR
from protocol.epoch import MAX_CUSTODIANS
from provisioning.formats.plan_boxes import BoxPlan, anchored_camera
from provisioning.formats.plan_policy import PolicyPlan
from provisioning.formats.plan_services import (
    AggregatorPlan,
    BrokerPlan,
    CustodianPlan,
    RegistrarPlan,
    ServicePlan,
    Settings,
)
from runtime import keyfiles, tomltext
from runtime.config import Name, Section, load
from runtime.zones import ZoneName

BROKER_NAME = "broker"
AGGREGATOR_NAME = "aggregator"
REGISTRAR_NAME = "registrar"
_TOPICS = {"custodians", "directory", "admissions"}
RESERVED_NAMES = frozenset({AUTHORITY, BROKER_NAME, AGGREGATOR_NAME, REGISTRAR_NAME, *_TOPICS})
Duty = Literal["investigator", "approver", "auditor"]


class OfficerPlan(Section):
    """A person who asks, approves or audits, with a key of their own."""

    name: Name
    """Name in the directory."""
    duties: Annotated[tuple[Duty, ...], Field(min_length=1)]
    """What they may sign as: investigator, approver, auditor."""
    settings: Settings = Field(default_factory=dict)
    """Keys and sections copied into their own TOML."""


class CertificatesPlan(Section):
    """How long certificates hold. Short ones make a lost box harmless by itself."""

    box_days: Annotated[int, Field(ge=1, le=825)] = 30
    """Boxes."""
    service_days: Annotated[int, Field(ge=1, le=825)] = 397
    """Broker, aggregator and custodians."""
    officer_days: Annotated[int, Field(ge=1, le=825)] = 397
    """Officers."""
    ca_years: Annotated[int, Field(ge=1, le=30)] = 10
    """Root and issuing CA."""


class SecurityPlan(Section):
    """How the site's secret files are protected."""

    argon2_memory_kib: int = Field(
        default_factory=lambda: keyfiles.DEFAULT_COST.memory_kib, ge=64, le=1 << 20
    )
    """Memory that each guess at a passphrase costs; lower it for demonstrations only."""


class SitePlan(Section):
    """A site: everything that `sealtrace site init` makes keys and certificates for."""

    site: Name
    """Name of the site, part of every topic and every signature."""
    threshold: Annotated[int, Field(ge=1, le=MAX_CUSTODIANS)]
    """How many custodians must grant before a sighting can be opened (m of n)."""
    time_zone: ZoneName | None = None
    """The site's time zone, such as Asia/Seoul: officers' times without a zone, and those of
    recorders, are read in it. Left out: each machine's own."""
    bundle: Path | None = None
    """Folder of a signed model bundle to hand to boxes and officers (`sealtrace models build`)."""
    bundle_signer: Path | None = None
    """Public key file of who signed it. Default: the key that `models build` keeps beside it."""
    custodians: Annotated[tuple[CustodianPlan, ...], Field(min_length=1, max_length=MAX_CUSTODIANS)]
    """The custodians."""
    officers: Annotated[tuple[OfficerPlan, ...], Field(min_length=1)]
    """The officers."""
    aggregator: AggregatorPlan = AggregatorPlan()
    """The aggregator."""
    broker: BrokerPlan = BrokerPlan()
    """The broker."""
    registrar: RegistrarPlan | None = RegistrarPlan()
    """The registrar; by default on the aggregator's host. `false`: the site has none."""
    boxes: tuple[BoxPlan, ...] = ()
    """Boxes to begin with; `sealtrace box add` brings more."""
    policy: PolicyPlan = Field(default_factory=PolicyPlan)
    """The policy that queries are held to."""
    certificates: CertificatesPlan = CertificatesPlan()
    """Certificate lifetimes."""
    security: SecurityPlan = Field(default_factory=SecurityPlan)
    """Protection of secret files."""

    @model_validator(mode="before")
    @classmethod
    def _registrar_beside_the_aggregator(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        if "enrolment" in values and "registrar" not in values:  # as version 1 called it
            values = {**values, "registrar": values["enrolment"]}
            del values["enrolment"]
        if values.get("registrar") is False:
            return {**values, "registrar": None}
        given = values.get("registrar", {})
        aggregator = values.get("aggregator")
        if not isinstance(given, dict) or "host" in given or aggregator is None:
            return values
        if isinstance(aggregator, ServicePlan):
            aggregator = aggregator.model_dump()
        if not isinstance(aggregator, dict):
            return values
        place = {key: aggregator[key] for key in ("host", "listen", "names") if key in aggregator}
        return {**values, "registrar": {**place, **given}}

    @model_validator(mode="after")
    def _fits_together(self) -> SitePlan:
        if self.threshold > len(self.custodians):
            raise ValueError(
                f"threshold {self.threshold} cannot be met by {len(self.custodians)} custodians"
            )
        _unique(self._people(), "name", reserved=RESERVED_NAMES)
        cameras = [camera.name for box in self.boxes for camera in box.cameras]
        _unique(cameras, "camera", reserved=frozenset({"health"}))
        _unique([service.url for service in self.services()], "address")
        if not self._holding(INVESTIGATOR):
            raise ValueError(f"at least one officer must be {INVESTIGATOR}")
        if not self._holding(AUDITOR):
            raise ValueError(f"at least one officer must be {AUDITOR}: the logs are sealed to them")
        for basis, rule in self.policy.legal_basis.items():
            if basis == "consent":
                self._check_approvals(self.policy.approvals + rule.extra_approvals)
        return self

    def check_confirmers(self) -> None:
        """Check that there are as many investigators as must confirm a hit.

        Of a new site; one that was made when one was the default, and whose plan does not say how
        many, still opens.

        Raises:
            ValueError: there are fewer.
        """
        needed, investigators = self.policy.confirmations, len(self._holding(INVESTIGATOR))
        if needed > investigators:
            raise ValueError(
                f"{needed} officers must confirm a hit and {investigators} are {INVESTIGATOR}: "
                "name more, or lower policy.confirmations (with 1, who asked decides alone)"
            )

    def warnings(self) -> list[str]:
        """Return what is allowed but probably not meant, one line each."""
        found = []
        if self.threshold == 1:
            found.append("threshold 1: any single custodian can open sightings")
        elif self.threshold == len(self.custodians):
            found.append("every custodian is needed: losing one loses what is stored")
        order = self.policy.legal_basis.get("statutory-order")
        if order is not None:
            needed = self.policy.approvals + order.extra_approvals
            try:
                self._check_approvals(needed)
            except ValueError:
                found.append(
                    f"queries on a statutory order need {needed} approvals: too few approvers"
                )
        for model, floor in sorted(self.policy.threshold_floor.items()):
            if floor <= 0:
                found.append(
                    f"threshold_floor {floor:g} for {model}: every second stranger would be a "
                    "candidate, or more; leave it out for what the bundle recommends"
                )
        if self.policy.confirmations == 1:
            found.append("confirmations 1: who asks decides alone who is recognised")
        approvers, auditors = self._holding(APPROVER), self._holding(AUDITOR)
        if both := sorted(approvers & auditors):
            found.append(f"{', '.join(both)}: approves and audits, so audits their own approvals")
        return found

    def services(self) -> Iterator[ServicePlan]:
        """Yield everything that listens."""
        yield from self.custodians
        yield self.aggregator
        yield self.broker
        yield from self.broker.further
        if self.registrar is not None:
            yield self.registrar

    def _people(self) -> list[str]:
        return [
            *(custodian.name for custodian in self.custodians),
            *(officer.name for officer in self.officers),
            *(box.name for box in self.boxes),
        ]

    def _holding(self, duty: str) -> set[str]:
        return {officer.name for officer in self.officers if duty in officer.duties}

    def _check_approvals(self, needed: int) -> None:
        approvers = self._holding(APPROVER)
        for investigator in sorted(self._holding(INVESTIGATOR)):
            others = len(approvers - {investigator})
            if others < needed:
                raise ValueError(
                    f"a query of '{investigator}' needs {needed} approvals but only {others} other"
                    " officers are approvers; name more approvers or lower policy.approvals"
                )


def _unique(names: list[str], what: str, *, reserved: frozenset[str] = frozenset()) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"the {what} '{name}' is given twice")
        if name in reserved:
            raise ValueError(f"the {what} '{name}' is reserved; choose another")
        seen.add(name)


def site_toml(plan: SitePlan) -> str:
    """Return ``plan`` as ``site.toml``, every value written out."""
    values = plan.model_dump(exclude_none=True)
    if plan.bundle is not None:
        values["bundle"] = plan.bundle.absolute()
    if plan.registrar is None:
        values["registrar"] = False
    return (
        f"# The site '{plan.site}' as it was made. Cameras of boxes that came later stand in their"
        " box.toml.\n\n" + tomltext.table(values)
    )


def load_plan(path: Path) -> SitePlan:
    """Read ``site.toml``; cameras' file sources count from its folder.

    Raises:
        ConfigError: a key is unknown, missing or wrong.
    """
    plan = load(path, SitePlan)
    folder = path.parent.absolute()
    boxes = tuple(
        box.model_copy(
            update={"cameras": tuple(anchored_camera(camera, folder) for camera in box.cameras)}
        )
        for box in plan.boxes
    )
    return plan.model_copy(update={"boxes": boxes})
