"""Debian's Chromium without a screen, driven by Playwright: a person at Airflow's UI."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

ARGUMENTS = (
    "--no-sandbox",  # the tests may run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
GRAVE = ("serious", "critical")
PATIENCE = 120_000
"""Milliseconds until something that has to appear counts as missing."""


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A browser; ``new_context`` makes a person of it."""
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert found, "no Chromium is installed: sh dev/system.sh, or apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


class Person:
    """Somebody at a browser.

    :param url: of Airflow.
    :param shots: folder of the screenshots.
    :ivar page: Playwright's page. :ivar told: what the browser's console complained about.
    """

    def __init__(
        self,
        browser: Any,
        url: str,
        shots: Path,
        *,
        width: int = 1360,
        height: int = 900,
        dark: bool = False,
        scale: float = 1,
    ) -> None:
        self.url = url
        self.shots = shots
        self.told: list[str] = []
        self.asked: list[str] = []
        self.context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            device_scale_factor=scale,
            has_touch=width < 500,
        )
        self.context.set_default_timeout(PATIENCE)
        self.page = self.context.new_page()
        self.page.on("console", lambda m: self.told.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda e: self.told.append(str(e)))
        self.page.on("request", lambda r: self.asked.append(r.url))
        self.page.on("dialog", lambda d: (self.told.append(f"dialog {d.message}"), d.dismiss()))

    def log_in(self, user: str, password: str) -> None:
        """Through Airflow's own form."""
        self.page.goto(self.url)
        self.page.get_by_label("Username").fill(user)
        self.page.locator("input[name=password]").fill(password)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url(lambda url: "/login" not in url)

    def same_login_as(self, other: Person) -> None:
        """Take over somebody's session."""
        self.context.add_cookies(other.context.cookies())

    def go(self, path: str) -> Any:
        """Open an address of Airflow; the page."""
        self.page.goto(self.url + path)
        return self.page

    @property
    def inside(self) -> Any:
        """What is in the frame that Airflow shows a plugin's view in."""
        return self.page.frame_locator("iframe").first

    @property
    def frame(self) -> Any:
        """The same as a frame, once it is loaded."""
        element = self.page.locator("iframe").first.element_handle()
        found = element.content_frame()
        found.wait_for_load_state()
        return found

    def shot(self, name: str, *, full: bool = False) -> Path:
        """A picture of what is seen."""
        self.page.wait_for_load_state("networkidle")
        path = self.shots / f"{name}.png"
        self.page.screenshot(path=path, full_page=full, animations="disabled")
        return path

    def violations(self, frame: Any = None, *, grave: Sequence[str] = GRAVE) -> list[str]:
        """What axe finds that is grave in a frame, or in the page: rule, weight and the first places."""
        frame = frame or self.page.main_frame
        frame.evaluate((files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
        found = frame.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        return [
            f"{v['id']} ({v['impact']}): {v['help']}: {[n['html'][:160] for n in v['nodes'][:3]]}"
            for v in found
            if v["impact"] in grave
        ]

    def fits(self) -> bool:
        """Whether nothing stands out of the page's width."""
        wide = "document.documentElement.scrollWidth <= document.documentElement.clientWidth + 1"
        return bool(self.page.evaluate(wide))
