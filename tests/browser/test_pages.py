"""The pages of the admin in a real browser, in light and dark and at two widths."""

from __future__ import annotations

import asyncio
import os
import re

from tests.browser.pages import Console

_FOCUS = """
() => [
  Boolean(document.activeElement.closest("#content")) && document.activeElement.checkVisibility(),
  getComputedStyle(document.activeElement).outlineStyle,
]
"""


def test_every_page_is_readable_accessible_and_quiet_at_both_widths_and_in_both_themes(console: Console) -> None:
    only = os.environ.get("ONLY", "").split(",")
    names = [name for name in console.addresses if any(part in name for part in only)]
    problems = asyncio.run(console.examine(names))
    assert not problems, "\n" + "\n".join(problems)


def test_the_keyboard_passes_the_menu_and_opens_the_filters_with_the_focus_in_sight(console: Console) -> None:
    asyncio.run(_use_the_keyboard(console))


async def _use_the_keyboard(console: Console) -> None:
    problems: list[str] = []
    async with console.logged_in(problems) as (tab, *_):
        await tab.open("overview", console.addresses["overview"])
        await tab.page.keyboard.press("Tab")
        assert await tab.page.evaluate("document.activeElement.innerText") == "Skip to the content"
        await tab.page.keyboard.press("Enter")
        for _ in range(12):
            await tab.page.keyboard.press("Tab")
            is_inside, style = await tab.page.evaluate(_FOCUS)
            assert is_inside
            assert "none" not in style
        await tab.open("insight-list", console.addresses["insight-list"])
        filters = tab.page.locator("#changelist-filter")
        assert not await filters.is_visible()
        await tab.page.get_by_role("button", name="Filters").focus()
        await tab.page.keyboard.press("Enter")
        await filters.wait_for(state="visible")
        await tab.examine("filters")
    assert not problems, "\n" + "\n".join(problems)


def test_quantities_have_separators_and_numbers_that_are_names_have_none(console: Console) -> None:
    asyncio.run(_read_numbers(console))


async def _read_numbers(console: Console) -> None:
    problems: list[str] = []
    async with console.logged_in(problems) as (tab, *_):
        await tab.open("wallet-list", console.addresses["wallet-list"])
        balances = [text.strip() for text in await tab.page.locator("#result_list td.field-balance").all_inner_texts()]
        assert any("," in balance for balance in balances)
        assert [balance for balance in balances if not re.fullmatch(r"\d{1,3}(,\d{3})*", balance)] == []
        await tab.open("errorevent-row", console.addresses["errorevent-row"])
        assert await tab.page.get_by_text("20841", exact=True).count() == 1, "the pid"
    assert not problems
