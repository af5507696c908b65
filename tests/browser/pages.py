"""The pages of the admin, opened in a browser, and what is wrong with each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe

WIDTHS = {"desktop": (1440, 900), "phone": (390, 844)}
THEMES = ("light", "dark")
#: axe's ids of rules that concern Unfold's own markup, with the reason.
AXE_RULES_OFF: dict[str, str] = {}

_MEASURE = """
() => {
  const problems = [];
  const root = document.documentElement;
  if (root.scrollWidth > window.innerWidth + 1) {
    const wide = [...document.querySelectorAll('body *')].filter(e => {
      const box = e.getBoundingClientRect();
      if (!box.width || box.right <= window.innerWidth + 1) return false;
      for (let up = e.parentElement; up && up !== document.body; up = up.parentElement)
        if (/auto|scroll|hidden/.test(getComputedStyle(up).overflowX)) return false;
      return true;
    }).slice(0, 3).map(e => e.tagName + '.' + String(e.className.baseVal ?? e.className).slice(0, 60));
    problems.push(`is ${root.scrollWidth} px wide: ${wide.join(' | ')}`);
  }
  const visible = e => e.offsetParent !== null && e.getBoundingClientRect().width > 0;
  // Text that sticks out of its label or value, or runs into its neighbour.
  const texts = [...document.querySelectorAll(
    'label, .readonly, dt, dd, td, th, h2, h3, .rc-timeline li > *, .rc-banner > *, .rc-check > *')].filter(visible);
  const boxes = texts.map(e => {
    const range = document.createRange(); range.selectNodeContents(e);
    const all = [...range.getClientRects()].filter(b => b.width > 1 && b.height > 1);
    return {e, all};
  });
  const overlap = (a, b) =>
    a.left < b.right - 2 && b.left < a.right - 2 && a.top < b.bottom - 2 && b.top < a.bottom - 2;
  const groups = '.field-row, .form-row, tr, dl, fieldset, .rc-timeline li, .rc-banner, .rc-check';
  for (const field of document.querySelectorAll(groups)) {
    const inside = boxes.filter(b => field.contains(b.e));
    if (inside.length > 60) continue;
    for (let i = 0; i < inside.length; i++) for (let j = i + 1; j < inside.length; j++) {
      const a = inside[i], b = inside[j];
      if (a.e.contains(b.e) || b.e.contains(a.e)) continue;
      if (a.all.some(x => b.all.some(y => overlap(x, y))))
        problems.push(`overlaps: "${a.e.innerText.slice(0, 40)}" and "${b.e.innerText.slice(0, 40)}"`);
    }
  }
  for (const e of document.querySelectorAll('td.field-age, td[class*="_at"], time')) {
    if (!visible(e)) continue;
    const lines = Math.round(e.getBoundingClientRect().height / parseFloat(getComputedStyle(e).lineHeight || 20));
    if (e.tagName === 'TIME' && lines > 2) problems.push(`wraps over ${lines} lines: ${e.innerText.slice(0, 40)}`);
  }
  for (const e of document.querySelectorAll('[tabindex]'))
    if (e.tabIndex > 0) problems.push('has a tabindex above 0: ' + e.outerHTML.slice(0, 60));
  return [...new Set(problems)];
}
"""


@dataclass
class Console:
    """A browser at the address of the service, logged in once."""

    browser: Any
    address: str
    addresses: dict[str, str]
    screenshots: Path | None = None
    problems: list[str] = field(default_factory=list)
    _page: Any = None
    _shown: str = ""

    @property
    def page(self) -> Any:
        """Return the one page, whose console errors, failed requests and violations become problems."""
        if self._page is None:
            self._page = self.browser.new_page(viewport={"width": 1440, "height": 900})
            self._page.on("console", self._heard)
            self._page.on("pageerror", lambda error: self._note(f"raises {error}"))
            self._page.on("requestfailed", self._failed)
            self._page.on("response", self._answered)
        return self._page

    def log_in(self, email: str, password: str) -> None:
        """Log in with the form of the page that is open."""
        self.page.fill("input[name=username]", email)
        self.page.fill("input[name=password]", password)
        self.page.click("button[type=submit]")
        self.page.wait_for_url("**/admin/")

    def open(self, name: str, address: str) -> None:
        """Open a page at the width of a desktop."""
        self._shown = name
        self.page.set_viewport_size(dict(zip(("width", "height"), WIDTHS["desktop"], strict=True)))
        self.page.goto(self.address + address, wait_until="load")

    def examine(self, name: str) -> None:
        """Measure the open page at each width and in each theme, and run axe."""
        for width, size in WIDTHS.items():
            self.page.set_viewport_size(dict(zip(("width", "height"), size, strict=True)))
            for theme in THEMES:
                self._shown = f"{name} {width} {theme}"
                self._use(theme)
                if theme == "light":
                    for problem in self.page.evaluate(_MEASURE):
                        self._note(problem)
                if width == "desktop":
                    for violation in self._violations():
                        self._note(violation)
                if self.screenshots:
                    self.screenshots.mkdir(parents=True, exist_ok=True)
                    self.page.screenshot(path=self.screenshots / f"{name}-{width}-{theme}.png", full_page=True)

    def _use(self, theme: str) -> None:
        self.page.evaluate(
            "theme => { const root = document.documentElement; root.classList.remove('light', 'dark');"
            " root.classList.add(theme); }",
            theme,
        )

    def _violations(self) -> Iterator[str]:
        rules = {name: {"enabled": False} for name in AXE_RULES_OFF}
        found = Axe().run(self.page, options={"resultTypes": ["violations"], "rules": rules}).response
        for violation in found["violations"]:
            if violation["impact"] in ("serious", "critical"):
                first = violation["nodes"][0]
                yield f"axe {violation['id']} ({len(violation['nodes'])} times): {first['html'][:160]}"

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self._note(f"console: {message.text[:200]}")

    def _failed(self, request: Any) -> None:
        self._note(f"request failed: {request.url} {request.failure}")

    def _answered(self, response: Any) -> None:
        if response.status >= 400:
            self._note(f"{response.status}: {response.url}")

    def _note(self, problem: str) -> None:
        self.problems.append(f"{self._shown}: {problem}")
