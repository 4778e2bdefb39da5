"""Looks at a page as a browser would: what is balanced, what is loaded, what is named."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "input", "br", "link", "img", "hr"}
SHAPES = {"rect", "line", "circle", "path", "polyline"}


class Page(HTMLParser):
    """Raises for a tag that is not closed or not opened; collects what the tests ask for.

    :ivar tags: how often each tag is there. :ivar loads: values of attributes that make a browser fetch something.
    :ivar handlers: inline handlers and style attributes. :ivar pictures: first child of each picture.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.loads: list[str] = []
        self.handlers: list[str] = []
        self.pictures: list[str] = []
        self.labels: list[str] = []
        self._open: list[str] = []
        self._picture = False
        self.feed(page)
        self.close()
        assert self._open == [], f"not closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._picture:
            self.pictures.append(tag)
        values = dict(attrs)
        self._picture = tag == "svg" and values.get("role") == "img"
        if tag == "svg":
            assert values.get("role") == "img" or values.get("aria-hidden") == "true", values
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.loads += [str(v) for k, v in attrs if k in ("src", "srcset", "data", "xlink:href", "poster")]
        self.loads += [str(v) for k, v in attrs if k == "href" and tag not in ("a",)]
        self.handlers += [k for k, _ in attrs if k.startswith("on") or k == "style"]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open[-1] == tag, f"</{tag}> closes {self._open[-1:]}"
        self._open.pop()
