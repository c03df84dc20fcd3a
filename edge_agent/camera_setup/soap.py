"""Reads XML from machines that nobody vouches for, and writes the little that ONVIF needs.

A SOAP message has no document type declaration (SOAP 1.2 part 1, section 5), and without one there
are no entities: no expansion, nothing fetched. So a declaration is refused where it begins, and
size, depth and number of elements are limited. Text is stripped of what would steer a terminal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import escape as _escape

from runtime.errors import OperationError

MAX_XML_BYTES = 1 << 20
MAX_DEPTH = 48
MAX_ELEMENTS = 20_000
MAX_TEXT = 2048
ENVELOPES = (
    "http://www.w3.org/2003/05/soap-envelope",
    "http://schemas.xmlsoap.org/soap/envelope/",
)


class XmlRefused(OperationError):
    """What came is not XML, not a SOAP message, or made to do harm."""


@dataclass(slots=True)
class Element:
    """One element: namespace, local name, attributes by local name, its own text, children."""

    namespace: str
    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def child(self, name: str, *namespaces: str) -> Element | None:
        """The first child of that local name, in one of these namespaces (any if none given)."""
        return next(self.named(name, *namespaces), None)

    def named(self, name: str, *namespaces: str) -> Iterator[Element]:
        """Every child of that local name."""
        for child in self.children:
            if child.name == name and (not namespaces or child.namespace in namespaces):
                yield child

    def at(self, *path: str) -> Element | None:
        """The element reached by first children of these local names."""
        here: Element | None = self
        for name in path:
            here = here.child(name) if here is not None else None
        return here

    def words(self, *path: str) -> str:
        """The text at a path, fit to be shown: one line, no control characters, not too long."""
        found = self.at(*path)
        return "" if found is None else plain(found.text)

    def walk(self) -> Iterator[Element]:
        """This element and all below it."""
        waiting = [self]
        while waiting:
            here = waiting.pop()
            yield here
            waiting += reversed(here.children)


def parse_xml(data: bytes) -> Element:
    """Parse a document (UTF-8 or UTF-16) and return its root.

    Raises:
        XmlRefused: too large or deep, with a document type declaration, or not well-formed.
    """
    if len(data) > MAX_XML_BYTES:
        raise XmlRefused(f"{len(data)} bytes of XML are too many")
    root = Element("", "")
    stack = [root]
    count = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1
        if count > MAX_ELEMENTS or len(stack) > MAX_DEPTH:
            raise XmlRefused("the XML has too many elements, or they are nested too deeply")
        space, _, local = name.rpartition(" ")
        named = {key.rpartition(" ")[2]: value for key, value in attributes.items()}
        element = Element(space, local, named)
        stack[-1].children.append(element)
        stack.append(element)

    def end(_: str) -> None:
        stack.pop()

    def characters(text: str) -> None:
        here = stack[-1]
        if len(here.text) < MAX_TEXT:
            here.text += text[: MAX_TEXT - len(here.text)]

    def refuse(*_: object) -> int:
        raise XmlRefused("the XML has a document type declaration, which no SOAP message has")

    parser = expat.ParserCreate("utf-8", " ")
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise XmlRefused(f"it is not well-formed XML ({error})") from error
    return root.children[0]


def parse_envelope(data: bytes) -> tuple[Element, Element]:
    """Parse a SOAP message and return its header (empty if it has none) and body.

    Raises:
        XmlRefused: see `parse_xml`; or it is another kind of document.
    """
    root = parse_xml(data)
    if root.name != "Envelope" or root.namespace not in ENVELOPES:
        raise XmlRefused("it is not a SOAP message")
    body = root.child("Body", root.namespace)
    if body is None:
        raise XmlRefused("the SOAP message has no body")
    return root.child("Header", root.namespace) or Element(root.namespace, "Header"), body


def envelope(body: str, header: str = "", namespaces: str = "") -> bytes:
    """Build a SOAP 1.2 message of parts that are XML already."""
    return (
        '<?xml version="1.0" encoding="utf-8"?>'
        f'<s:Envelope xmlns:s="{ENVELOPES[0]}"{" " if namespaces else ""}{namespaces}>'
        f"<s:Header>{header}</s:Header><s:Body>{body}</s:Body></s:Envelope>"
    ).encode()


def escape(text: str) -> str:
    """Make a text safe between tags and within double quotes."""
    return _escape(text, {'"': "&quot;"})


def plain(text: str, longest: int = 200) -> str:
    """One line of a stranger's text without control characters, at most so long."""
    words = " ".join(text[:MAX_TEXT].split())
    shown = "".join(letter if letter.isprintable() else "?" for letter in words)
    return shown if len(shown) <= longest else shown[: longest - 3] + "..."
