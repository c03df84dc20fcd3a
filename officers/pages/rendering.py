"""Draws templates: one Jinja2 environment, words and form token of the page that is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PrefixLoader, StrictUndefined
from jinja2.ext import InternationalizationExtension
from jinja2.loaders import FileSystemLoader
from markupsafe import Markup, escape

from officers.desk.moments import iso_utc
from officers.pages.assets import Vendor
from officers.pages.sections import Section
from officers.pages.statics import Statics
from officers.pages.words import PageWords, Translator


@dataclass(frozen=True, slots=True)
class Drawing:
    """What templates need of the page that is drawn now, wherever a macro of them stands."""

    translator: Translator
    words: PageWords
    form_token: str


_TIMES = ("moment", "minute", "hour", "clock", "day", "duration")
_now: ContextVar[Drawing] = ContextVar("drawing")


class Renderer:
    """Renders the templates of all sections, named ``"section/file.html"``.

    Args:
        sections: whose templates.
        statics: addresses of files beside them.
        vendor: icons.
    """

    def __init__(self, sections: Mapping[str, Section], statics: Statics, vendor: Vendor) -> None:
        self._vendor = vendor
        self._icons: dict[str, Markup] = {}
        loaders = {
            name: FileSystemLoader(one.folder / "templates") for name, one in sections.items()
        }
        self._environment = Environment(
            loader=PrefixLoader(loaders),
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,
            cache_size=-1,
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[InternationalizationExtension],
        )
        self._environment.newstyle_gettext = True  # type: ignore[attr-defined]
        self._environment.globals.update(
            _=_text,
            gettext=_trans,
            ngettext=_plural,
            icon=self.icon,
            static=statics.address,
            csrf=_csrf,
        )
        self._environment.filters.update(say=_say, iso=iso_utc, theirs=_theirs)
        self._environment.filters.update({name: _by_clocks(name) for name in _TIMES})

    def draw(self, template: str, drawing: Drawing, context: Mapping[str, Any]) -> str:
        """Return a page."""
        token = _now.set(drawing)
        try:
            return self._environment.get_template(template).render(context)
        finally:
            _now.reset(token)

    def icon(self, name: str) -> Markup:
        """Return an icon of lucide, for the eye alone: words stand beside it."""
        if name not in self._icons:
            self._icons[name] = Markup(self._vendor.icon(name))  # noqa: S704 - pinned by digest
        return self._icons[name]


def _text(message: str, **values: Any) -> Markup:
    """Say a message; what is put in for ``{name}`` is escaped."""
    said = Markup(_now.get().translator.raw(message))  # noqa: S704 - our own catalogues
    return said.format(**_values(values)) if values else said


def _plural(one: str, many: str, n: int, **values: Any) -> Markup:
    said = Markup(_now.get().translator.nraw(one, many, n))  # noqa: S704 - our own catalogues
    if "%(" in said:  # of {% trans %}
        return said % {"num": n, **_values(values)}
    return said.format(**{"n": n, **_values(values)})


def _trans(message: str, **values: Any) -> Markup:
    """Say what a ``{% trans %}`` block holds, with ``%(name)s``."""
    said = Markup(_now.get().translator.raw(message))  # noqa: S704 - our own catalogues
    return said % _values(values)


def _values(values: Mapping[str, Any]) -> dict[str, Any]:
    return _now.get().translator.values(values)


def _say(words: object) -> str:
    return _now.get().translator.say(words)


def _by_clocks(name: str) -> Callable[[float], str]:
    """Return a filter that says a time as `PageWords` does."""

    def say(time: float) -> str:
        said: str = getattr(_now.get().words, name)(time)
        return said

    return say


def _csrf() -> Markup:
    """Return the hidden field that every form has."""
    return Markup('<input type="hidden" name="csrf" value="{}">').format(_now.get().form_token)


def _theirs(text: object) -> Markup:
    """Mark what somebody else wrote: set apart in direction, and not translated by a browser."""
    return Markup('<bdi translate="no">{}</bdi>').format(escape(str(text)))
