"""The frame of every page, and the one place where templates are rendered."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from airflow_mlops.pages import charts, words


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frame:
    """What surrounds a page where it is served; a file has none of it.

    :param nonce: of the style element, for the content security policy; empty: the page is a file and brings its own
        policy.
    :param script: URL of the one script, same origin; empty: none.
    :param links: ``(label, url)`` above the page; URLs that are not http(s) or local paths are left out.
    """

    nonce: str = ""
    script: str = ""
    links: Sequence[tuple[str, str]] = ()


PLAIN = Frame()


@cache
def environment() -> Environment:
    """Templates of this package, everything escaped, an unknown name an error."""
    env = Environment(
        loader=PackageLoader("airflow_mlops.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (words.badge, words.number, words.share, words.shown, words.short, words.when, words.age):
        env.filters[function.__name__] = function
    env.filters["name"] = words.name
    env.filters["sentence"] = words.text
    env.globals["charts"] = charts
    env.globals["css"] = stylesheet()
    return env


@cache
def stylesheet() -> Markup:
    """The one stylesheet, as it stands in every page."""
    return Markup((files("airflow_mlops.pages") / "style.css").read_text(encoding="utf-8"))


def render(template: str, frame: Frame = PLAIN, **values: Any) -> str:
    """A page from its template."""
    links = [(label, url) for label, url in frame.links if local_or_http(url)]
    return environment().get_template(template).render(nonce=frame.nonce, script=frame.script, links=links, **values)


def document(title: str, body: str, frame: Frame = PLAIN) -> str:
    """A page of one's own in the look of all others.

    :param body: markup, trusted: escape what others chose.
    """
    return render("plain.html", frame, title=title, body=Markup(body))


def local_or_http(url: str) -> bool:
    """Whether a link leads to this site or to the web: never to a script, a file or another scheme.

    >>> local_or_http("/dags/x"), local_or_http("https://m.example"), local_or_http("javascript:alert(1)")
    (True, True, False)
    """
    if url.startswith(("http://", "https://")):
        return "@" not in url.split("/")[2]  # user information in a URL is a credential
    return url.startswith(("/", "?", "#")) and not url.startswith("//")
