"""People at the real desks of a real site: a browser, a tab for each, and what they do there."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from browser import violations
from playwright.sync_api import BrowserContext, Locator, Page, expect
from playwright.sync_api import TimeoutError as PatienceLost

from demo.local_site import PASSPHRASE, LocalSite

PATIENCE_MS = 60_000
"""Generous: it only decides when to give up."""
DROP_FILES = """(files) => {
  const dropped = new DataTransfer();
  for (const [name, data] of Object.entries(files)) {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    dropped.items.add(new File([bytes], name, { type: "image/jpeg" }));
  }
  document.querySelector("[data-drop]").dispatchEvent(
    new DragEvent("drop", { dataTransfer: dropped, bubbles: true, cancelable: true }));
}"""
PICTURE_OF = """async (image) => {
  const answer = await fetch(image.src);
  const bytes = new Uint8Array(await answer.arrayBuffer());
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}"""
AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


@dataclass
class Person:
    """Somebody at their desk, in a tab of the browser.

    Args:
        name: the officer's.
        page: the tab.
        origin: where the desk is.
        complaints: what the console said that it should not.
        unfit: what axe found, by the page where.
    """

    name: str
    page: Page
    origin: str
    complaints: list[str] = field(default_factory=list)
    unfit: dict[str, list[str]] = field(default_factory=dict)

    def go(self, path: str) -> Page:
        """Load a page of the desk, in front: passkeys are for a page that somebody looks at."""
        self.page.bring_to_front()
        self.page.goto(self.origin + path)
        return self.page

    def unlock(self) -> None:
        """Type the passphrase of one's keys."""
        self.page.get_by_label("Passphrase of your keys").fill(PASSPHRASE)
        self.press("Unlock")
        expect(self.page.locator("#tasks-title")).to_be_visible()

    def press(self, words: str) -> None:
        """Press a button, or follow a link that looks like one."""
        button = self.page.get_by_role("button", name=words)
        button.or_(self.page.get_by_role("link", name=words)).first.click()

    def sign(self) -> None:
        """Sign what is shown, by the passphrase."""
        try:
            self.page.wait_for_url("**/sign/*")
        except PatienceLost as error:
            raise AssertionError(f"nothing to sign, but: {self.main().inner_text()}") from error
        self.page.get_by_label("Passphrase of your keys").fill(PASSPHRASE)
        self.press(f"Sign as {self.name}")
        self.page.wait_for_url(lambda url: "/sign/" not in url)

    def look(self, what: str) -> Page:
        """Hold the page to what everybody's eyes and keyboards need."""
        if found := violations(self.page):
            self.unfit[f"{what} ({self.name})"] = found
        return self.page

    def main(self) -> Locator:
        """The content of the page."""
        return self.page.locator("main")


@contextmanager
def at_desks(
    site: LocalSite, context: BrowserContext, names: tuple[str, ...]
) -> Iterator[Mapping[str, Person]]:
    """Start these officers' desks, and have each come in and unlock."""
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    try:
        addresses = site.start_desks(*names)
        yield {name: come_in(context, name, address) for name, address in addresses.items()}
    finally:
        for name in names:
            if (desk := site.services.get(f"desk-{name}")) is not None:
                desk.stop()


def come_in(context: BrowserContext, name: str, address: str) -> Person:
    """Open a desk by its start address, in a new tab, and unlock it."""
    page = context.new_page()
    person = Person(name, page, address[: address.index("/", len("http://"))])
    heard = person.complaints.append
    page.on("console", lambda one: heard(one.text) if one.type == "error" else None)
    page.on("pageerror", lambda error: heard(str(error)))
    page.goto(address)
    person.unlock()
    return person


def with_authenticator(person: Person) -> None:
    """Give a tab an authenticator of its own, whose user is always there and verified."""
    debugger: Any = person.page.context.new_cdp_session(person.page)
    debugger.send("WebAuthn.enable")
    debugger.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})


# ---------------------------------------------------------------- what an investigator does


def enrol(person: Person, pseudonym: str, photo: Path, *, consent: str) -> None:
    """Enrol a patient from a dropped photo, with the scan of a consent (`consent_form`)."""
    page = person.go("/patients/new")
    page.evaluate(DROP_FILES, {photo.name: base64.b64encode(photo.read_bytes()).decode()})
    expect(page.locator(".photos .card")).to_contain_text("good enough")
    person.look("enrolling")
    page.get_by_label("Reference").fill(consent)
    page.get_by_label("Scan of the document").set_input_files(consent_form(consent))  # type: ignore[arg-type]
    page.get_by_label("Pseudonym").fill(pseudonym)
    page.get_by_role("button", name="Enrol", exact=True).click()
    page.wait_for_url(lambda url: "/patients/new" not in url)
    expect(person.main()).to_contain_text(pseudonym)


def consent_form(consent: str) -> dict[str, str | bytes]:
    """Return the scan of a consent, as a browser takes files."""
    content = f"%PDF-1.7 consent {consent}".encode()
    return {"name": "consent.pdf", "mimeType": "application/pdf", "buffer": content}


def begin_draft(person: Person, case: str) -> None:
    """Draft a query of a usual case for the patient whose page is shown."""
    person.press("New query")
    expect(person.page.get_by_role("heading", level=1)).to_have_text("New query")
    person.look("new query")
    person.press(case)
    person.page.wait_for_url("**/where")


def draw(person: Person, *corners: tuple[float, float]) -> None:
    """Draw a rectangle on the map, its corners as parts of its width and height."""
    page = person.page
    page.get_by_role("button", name="Rectangle").click()
    box = page.locator(".map-canvas").bounding_box()
    assert box is not None
    for across, down in corners:
        at = box["x"] + across * box["width"], box["y"] + down * box["height"]
        page.mouse.move(*at)
        page.mouse.click(*at)


def draw_around(person: Person, camera: str, *, reach_px: float = 24) -> None:
    """Draw a rectangle on the map around a camera's pin."""
    page = person.page
    canvas = page.locator(".map-canvas").bounding_box()
    box = page.locator(f'.map-pin[aria-label^="{camera},"]').bounding_box()
    assert canvas is not None
    assert box is not None
    across, down = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    corners = ((across - reach_px, down - reach_px), (across + reach_px, down + reach_px))
    draw(
        person,
        *(
            ((x - canvas["x"]) / canvas["width"], (y - canvas["y"]) / canvas["height"])
            for x, y in corners
        ),
    )


def show_still(person: Person) -> bytes:
    """Ask for the still of the candidate that is shown; return the picture."""
    person.page.keyboard.press("Space")
    image = person.page.locator("img.still")
    expect(image).to_be_visible()
    expect(person.page.get_by_role("button", name="Same person")).to_be_enabled()
    return base64.b64decode(image.evaluate(PICTURE_OF))


def confirm(person: Person) -> None:
    """Say "same person" of the candidate that is shown, and sign that."""
    person.page.keyboard.press("Digit1")
    expect(person.page.locator(".score")).to_be_visible()
    person.press("Sign confirmed…")
    person.sign()
    expect(person.page.locator(".receipt")).to_contain_text("Signed and handed in")


# ---------------------------------------------------------------- what an approver does


def offer_passkey(person: Person, folder: Path) -> Path:
    """Register a passkey in the browser; return the file that goes to the office."""
    page = person.go("/settings/passkeys")
    person.look("passkeys")
    page.locator("[data-go]").click()
    page.wait_for_url("**/settings/passkeys/new")
    page.locator("[data-go]").click()
    person.sign()
    with page.expect_download() as download:
        person.press("Download")
    file = folder / download.value.suggested_filename
    download.value.save_as(file)
    return file


def approve(person: Person, query: str, *, by_passkey: bool = False) -> None:
    """Read a query, and approve it."""
    page = person.go(f"/queries/{query}/decide")
    person.look("decide")
    person.press("Approve…")
    if by_passkey:
        page.wait_for_url("**/sign/*")
        person.look("sign")
        page.locator("[data-use-passkey]").click()
    else:
        person.sign()
    page.wait_for_url(f"**/queries/{query}/approved")


# ---------------------------------------------------------------- what an auditor does


def fetch_logs(person: Person) -> None:
    """Fetch and verify all logs, and wait for what was found."""
    person.go("/audit")
    person.press("Fetch and verify")
    expect(person.page.locator(".audit-verdict")).to_be_visible()
