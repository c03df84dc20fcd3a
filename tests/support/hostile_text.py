"""Text that would do something in a page that does not show it as text, and what finds it."""

from __future__ import annotations

from html.parser import HTMLParser

MARK = "h0stile"
"""In every text: no tag, attribute or comment of a page may be called so."""
HOSTILE = (
    f"<{MARK}>",
    f'"><{MARK} a="',
    f"'><{MARK} a='",
    f'" {MARK}="1" onfocus="{MARK}()" autofocus x="',
    f"' {MARK}='1' onclick='{MARK}()",
    f"</textarea></title></script></style><{MARK}><!--{MARK}",
    f"<script>{MARK}()</script><img src=x onerror={MARK}()>",
    f'<svg onload="{MARK}()"><a href="javascript:{MARK}()">x</a></svg>',
    f"javascript:{MARK}()",
    f"{{{{ {MARK} }}}}{{% {MARK} %}}{{{MARK}}}%({MARK})s",
    f"&lt;{MARK}&gt;&#60;{MARK}&#62;",
    f"\u202e{MARK}\u2066\u0007\u2028",
    f'<div hx-get="/{MARK}" hx-trigger="load" hx-on:load="{MARK}()">',
)
ALL_AT_ONCE = " ".join(HOSTILE)
"""For fields that are filled once."""
_SOURCES = frozenset({"href", "src", "action", "formaction", "data", "xlink:href"})


def tampered(page: str) -> list[str]:
    """Return what of a page is something else than text because of a hostile one; empty: nothing.

    Also found: whatever no page may have, whoever wrote it (scripts and styles in line, handlers).
    """
    reader = _Reader()
    reader.feed(page)
    reader.close()
    return reader.found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        shown = self.get_starttag_text() or tag
        values = {name: value or "" for name, value in attrs}
        if MARK in tag or tag in {"style", "iframe", "object", "embed", "base"}:
            self.found.append(shown)
        runs = tag == "script" and values.get("type") != "application/json"
        if runs and not values.get("src", "").startswith("/static/"):
            self.found.append(shown)
        for name, value in values.items():
            handler = name.startswith(("on", "hx-on")) or name == "style" or MARK in name
            leads = name in _SOURCES or name.startswith("hx-")
            target = value.strip().lower()
            if handler or (leads and target.startswith(("javascript:", "data:text", "//", "http"))):
                self.found.append(shown)

    def handle_comment(self, data: str) -> None:
        if MARK in data:
            self.found.append(f"<!--{data}-->")
