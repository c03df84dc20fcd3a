"""Changes of a site as those who make them meet them: what each will mean, then made and told.

Nothing here asks or prints. A command, or a page, says `Proposal.effects`, has its user agree,
gives the passphrase to `Proposal.make`, and tells the broker (`tell_broker`) and the services
(`push.push_directory`) of what came of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from provisioning.authority import boxes, changes
from provisioning.authority.changes import Change
from provisioning.authority.consequences import Consequence, Weight, of_adding
from provisioning.formats.opened import Site, changing, open_site
from provisioning.formats.plan import OfficerPlan
from provisioning.formats.plan_boxes import BoxPlan, CameraPlan
from provisioning.registrar import mosquitto
from runtime.errors import OperationError


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change that can be made, checked against the site as it is.

    Args:
        site: the site before it.
        would: what would be done, as a sentence.
        done: what has been done afterwards, as the beginning of one.
        make: does it, given the site's passphrase (or nothing, if it is not needed). May be called
            again after an interruption.
        needs_passphrase: whether anything has to be signed: not if all is there already.
        effects: what it will mean.
        question: what to ask where an effect needs a yes.
        hand_over: what is to be carried where afterwards.
    """

    site: Site
    would: str
    done: str
    make: Callable[[bytes], Change]
    needs_passphrase: bool
    effects: tuple[Consequence, ...] = ()
    question: str = ""
    hand_over: str = ""

    def require_possible(self, what: str) -> None:
        """Check that the site can go on with it.

        Raises:
            OperationError: it cannot; ``what`` says what was not done, and how it still could be.
        """
        if any(one.weight is Weight.REFUSED for one in self.effects):
            raise OperationError(what)


def add_box(folder: Path, box: BoxPlan) -> Proposal:
    """Propose a new box, with a folder made for it.

    Raises:
        SiteError: its name or a camera is taken.
    """
    site = open_site(folder)
    present = boxes.check_box(site, box)
    what = "is there already" if present else "would be added"
    return Proposal(
        site,
        would=f"{box.name} {what}: {_names(box)}",
        done=f"{box.name} is in the site",
        make=lambda passphrase: boxes.add_box(folder, box, passphrase),
        needs_passphrase=not present,
        hand_over=_carry_box(site, box.name),
    )


def swap_box(folder: Path, old: str, new: str, cameras: tuple[CameraPlan, ...] = ()) -> Proposal:
    """Propose box ``new`` in the place of ``old``, which is revoked.

    Args:
        cameras: sources, for those cameras whose source ``old``'s folder no longer tells.

    Raises:
        SiteError: ``old`` is not a box, or a camera's source is unknown.
    """
    site = open_site(folder)
    plan = boxes.swap_plan(site, old, new, cameras)
    return Proposal(
        site,
        would=f"would revoke {old} and make {new}: {_names(plan)}",
        done=f"{new} takes the place of {old}",
        make=lambda passphrase: boxes.swap_box(folder, old, new, passphrase, cameras=cameras),
        needs_passphrase=True,
        hand_over=_carry_box(site, new),
    )


def revoke_box(folder: Path, name: str) -> Proposal:
    """Propose to put a box out of the site.

    Raises:
        SiteError: nobody, or somebody else, is called that.
    """
    boxes.require_box(open_site(folder), name)
    return revoke(folder, name)


def revoke(folder: Path, name: str) -> Proposal:
    """Propose to put anybody out of the site.

    Raises:
        SiteError: nobody is called that.
    """
    site = open_site(folder)
    return Proposal(
        site,
        would=f"would revoke {name} and sign directory version {site.directory.version + 1}",
        done=f"{name} is revoked",
        make=lambda passphrase: changes.revoke(folder, name, passphrase),
        needs_passphrase=not changes.is_revoked(site, name),
        effects=tuple(changes.check_revocation(site, name)),
        question=f"Revoke {name}, for good?",
    )


def add_officer(
    folder: Path, officer: OfficerPlan, own_passphrase: Callable[[], bytes | None]
) -> Proposal:
    """Propose a new officer, with a folder made for them.

    Args:
        own_passphrase: called when their secret files are made; None: they take the site's.

    Raises:
        SiteError: the name is taken.
    """
    site = open_site(folder)
    present = changes.check_officer(site, officer)

    def make(passphrase: bytes) -> Change:
        own = None if present else own_passphrase()
        return changes.add_officer(folder, officer, passphrase, own_passphrase=own)

    what = "is there already" if present else "would be added"
    home = site.paths.officer(officer.name).parent
    return Proposal(
        site,
        would=f"{officer.name} {what}: {', '.join(officer.duties)}",
        done=f"{officer.name} is in the site",
        make=make,
        needs_passphrase=not present,
        effects=tuple(of_adding(officer.duties, officer.name)),
        hand_over=f"Hand {home} to {officer.name}; README.txt tells how it is used.",
    )


def update(folder: Path) -> Proposal:
    """Propose to bring what is signed already to the role folders that are here."""
    site = open_site(folder)

    def make(_passphrase: bytes) -> Change:
        with changing(site.paths):
            return changes.spread_changes(site, changed=False)

    return Proposal(
        site,
        would=f"would bring {len(site.paths.role_folders())} role folders to directory version"
        f" {site.directory.version} and policy version {site.policy.version}",
        done="the role folders are up to date",
        make=make,
        needs_passphrase=False,
    )


def sign_again(folder: Path) -> Proposal:
    """Propose to sign the directory anew as it is: in both forms, where it was in the first."""
    site = open_site(folder)
    return Proposal(
        site,
        would=f"would sign directory version {site.directory.version + 1}, which says the same",
        done="the directory is signed anew",
        make=lambda passphrase: changes.sign_again(folder, passphrase),
        needs_passphrase=True,
    )


def tell_broker(change: Change) -> bool | None:
    """Have the broker read its rights and revocations anew.

    Returns:
        whether one that runs here was told; None if there was nothing to tell.
    """
    paths = change.site.paths
    if not (paths.broker_config.exists() and change.changed):
        return None
    told = [mosquitto.signal_mosquitto(folder) for folder in paths.brokers]
    return any(told)


def _names(box: BoxPlan) -> str:
    """Say which cameras a box sees, and of which it imports films alone."""
    names = [camera.name for camera in box.cameras]
    films = [name for name in box.recordings if name not in names]
    return ", ".join(names + [f"films of {name}" for name in films])


def _carry_box(site: Site, name: str) -> str:
    return f"Carry {site.paths.box(name).parent} to the box; README.txt in it says how to start."
