"""The pages of the admin, opened in a browser, and what is wrong with each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import async_playwright

DESKTOP, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
#: Pages that are open at a time: while one waits for the server, the other is measured.
TABS = 2
#: Rules of axe that depend on the theme. They take most of its time.
COLOUR_RULES = ["color-contrast", "link-in-text-block"]
#: Rules of axe that a page breaks by the markup of a package: Swagger UI writes the page of the API.
EXCEPTIONS = {"docs": ("nested-interactive", "heading-order", "region")}

_MEASURE = Path(__file__).with_name("measure.js").read_text()
_AXE = Axe().axe_script
_RUN_AXE = """
async ({ only, off, exclude }) => {
  const disabled = Object.fromEntries(off.map((id) => [id, { enabled: false }]));
  const choice = only.length ? { runOnly: only } : { rules: disabled };
  const found = await axe.run({ include: ["html"], exclude }, { resultTypes: ["violations"], ...choice });
  return found.violations.filter(({ impact }) => impact !== "minor").map(({ id, impact, nodes }) =>
    `axe ${id}, ${impact}, ${nodes.length} times: ${nodes[0].target} ${nodes[0].html.slice(0, 160)}`);
}
"""
# Colours that fade in would be measured half-way.
_STOP_TRANSITIONS = """
() => {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync("*, *::before, *::after { transition: none !important; animation: none !important }");
  document.adoptedStyleSheets = [sheet];
}
"""
# The observers of the page have seen the new width when a task after the next frame runs.
_FINISH_LAYOUT = "() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"
_USE_THEME = """
(theme) => {
  document.documentElement.classList.remove("light", "dark");
  document.documentElement.classList.add(theme);
}
"""


@dataclass
class Tab:
    """A page of the browser. What its console, its requests and the measurements report becomes a problem."""

    page: Any
    address: str
    problems: list[str]
    screenshots: Path | None
    _shown: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self._note(f"raises {error}"))
        self.page.on("requestfailed", lambda request: self._note(f"request failed: {request.url} {request.failure}"))
        self.page.on("response", self._answered)

    async def open(self, name: str, address: str) -> None:
        """Open a page at the width of a desktop."""
        self._shown = name
        await self.page.set_viewport_size(DESKTOP)
        await self.page.goto(self.address + address, wait_until="load")
        await self.page.evaluate(_STOP_TRANSITIONS)

    async def examine(self, name: str) -> None:
        """Measure the open page at both widths. Run axe at both, and for the colours in both themes."""
        await self.page.evaluate(_AXE)
        for width, size in (("desktop", DESKTOP), ("phone", PHONE)):
            await self.page.set_viewport_size(size)
            await self.page.evaluate(_FINISH_LAYOUT)
            for theme in ("light", "dark"):
                self._shown = f"{name} {width} {theme}"
                await self.page.evaluate(_USE_THEME, theme)
                if theme == "light":
                    self._note(*await self.page.evaluate(_MEASURE))
                    await self._run_axe(off=(*EXCEPTIONS.get(name, ()), *(COLOUR_RULES if width == "phone" else ())))
                elif width == "desktop":
                    await self._run_axe(only=COLOUR_RULES)
                if self.screenshots:
                    path = self.screenshots / f"{name}-{width}-{theme}.png"
                    await self.page.screenshot(path=path, full_page=True)

    async def _run_axe(self, *, only: Sequence[str] = (), off: Sequence[str] = ()) -> None:
        # The menu is the same on all pages, and larger than most.
        exclude = [] if self._shown.startswith("overview") else ["#nav-sidebar"]
        self._note(*await self.page.evaluate(_RUN_AXE, {"only": only, "off": off, "exclude": exclude}))

    @property
    def _expects_error(self) -> bool:
        return self._shown.startswith("error")

    def _heard(self, message: Any) -> None:
        is_expected = self._expects_error and message.text.startswith("Failed to load resource")
        if message.type in ("error", "warning") and not is_expected:
            self._note(f"console: {message.text[:200]}")

    def _answered(self, response: Any) -> None:
        if response.status >= 400 and not self._expects_error:
            self._note(f"{response.status}: {response.url}")

    def _note(self, *problems: str) -> None:
        self.problems += [f"{self._shown}: {problem}" for problem in problems]


@dataclass(frozen=True)
class Console:
    """The service at an address, the pages of the admin by name, and a login for it."""

    chromium: str
    address: str
    addresses: dict[str, str]
    email: str
    password: str
    screenshots: Path | None = None

    @asynccontextmanager
    async def logged_in(self, problems: list[str]) -> AsyncIterator[list[Tab]]:
        """Start the browser, examine the login page and log in. Yield the tabs, which add to `problems`."""
        if self.screenshots:
            self.screenshots.mkdir(parents=True, exist_ok=True)
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=self.chromium, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
            )
            context = await browser.new_context(reduced_motion="reduce")
            # A shared machine may take long for a page. A page that never answers still fails.
            context.set_default_timeout(120_000)
            tabs = [Tab(await context.new_page(), self.address, problems, self.screenshots) for _ in range(TABS)]
            await tabs[0].open("login", "/admin/")
            await tabs[0].examine("login")
            await tabs[0].page.fill("input[name=username]", self.email)
            await tabs[0].page.fill("input[name=password]", self.password)
            await tabs[0].page.click("button[type=submit]")
            await tabs[0].page.wait_for_url("**/admin/")
            yield tabs
            await browser.close()

    async def examine(self, names: Iterable[str]) -> list[str]:
        """Return what is wrong with the pages of these names, and with the login page."""
        problems: list[str] = []
        waiting = iter(names)
        async with self.logged_in(problems) as tabs:

            async def work(tab: Tab) -> None:
                for name in waiting:
                    await tab.open(name, self.addresses[name])
                    await tab.examine(name)

            await asyncio.gather(*(work(tab) for tab in tabs))
        return sorted(problems)
