"""The main job, told while it happens: upload, statistics, unlock, insights as they arrive, report.

Everything is asked of the API, as any client would.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ops.demo import report
from ops.demo.client import Answer, Client, Problem
from relivchats.terminal import Layout, plain, plural

CATEGORY = "romantic"
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.3, 2.0
#: How long past its deadline a job may stay open before something must be wrong with it.
GRACE_SECONDS = 60
OPEN = ("queued", "running")


class Unfinished(Exception):
    """The story could not be told to its end."""


@dataclass
class Story:
    """`say` prints one line at once."""

    client: Client
    page: Layout
    say: Callable[[str], None]
    full: bool = False

    def upload(self, export: bytes, *, name: str, chat_id: str | None = None) -> Answer:
        """The chat; `chat_id` names it in an export of several. Raises Problem when the export is refused."""
        started = time.monotonic()
        # Each demo shows the whole way, though an earlier one may have read the same export.
        fields = {"separate": "true"} | ({"chat": chat_id} if chat_id else {})
        chat = self.client.upload(export, **fields)
        seconds = time.monotonic() - started
        self.say(f"Read {plain(name)} in {seconds:.1f} s: {plain(chat['platform'])}, {plain(chat['dialect'])}.")
        self._lines(report.chat(chat, page=self.page))
        return chat

    def unlock(self, chat: Answer) -> None:
        """Insights of the chat, if any fit it. Raises Problem, or Unfinished when some are missing."""
        if unlocked := self._unlocked(chat):
            self._follow(unlocked)
            self._report(chat["id"])

    # Unlocking

    def _unlocked(self, chat: Answer) -> Answer | None:
        """What was unlocked, or None where nothing of the category fits this chat."""
        try:
            unlocked = self.client.unlock(chat_id=chat["id"], category_id=CATEGORY)
        except Problem as problem:
            if "possible" not in problem.document:
                raise
            self._lines(["", *self.page.wrap(plain(problem))])
            possible = problem.document["possible"]
            if not possible:
                return None
            unlocked = self.client.unlock(chat_id=chat["id"], insight_type_ids=possible)
        self._lines(["", self.page.heading(_title(unlocked)), ""])
        return unlocked

    def _follow(self, unlocked: Answer) -> None:
        """A line for each insight as it is finished."""
        told: set[str] = set()
        wait = FIRST_WAIT_SECONDS
        while True:
            job = self.client.job(unlocked["job_id"])
            for insight in job["insights"]:
                if insight["finished_at"] and insight["id"] not in told:
                    told.add(insight["id"])
                    self.say(_arrival(insight, since=job["created_at"]))
            if job["status"] not in OPEN:
                return
            if _overdue(job):
                raise Unfinished("The insights are late. `./dev manage health` says what holds them up.")
            time.sleep(wait)
            wait = min(wait * 1.1, LONGEST_WAIT_SECONDS)

    # Reporting

    def _report(self, chat_id: str) -> None:
        insights = self.client.insights(chat_id)
        completed = [insight for insight in insights if insight["status"] == "completed"]
        for insight in completed:
            self._lines(report.insight(insight, page=self.page, full=self.full))
        if completed:
            self._lines(["", self.page.heading("What this was"), ""])
            self._check_quotes(chat_id, completed)
            self._count_coins(completed)
        if failed := [insight for insight in insights if insight["status"] == "failed"]:
            raise Unfinished(_failures(failed))

    def _check_quotes(self, chat_id: str, insights: list[Answer]) -> None:
        """Read every quoted message back from the chat, by its number."""
        quotes = list(_quotes(insights))
        numbers = {quote["number"] for quote in quotes}
        chat = {message["number"]: message for message in self.client.messages(chat_id, numbers)}
        wrong = [quote["number"] for quote in quotes if not _same(quote, chat.get(quote["number"]))]
        if wrong:
            raise Unfinished(f"Messages {', '.join(map(str, wrong))} are not quoted as they stand in the chat.")
        counted = f"{plural(len(insights), 'insight')} with {plural(len(quotes), 'quote')}"
        self._paragraph(
            f"{counted} of {plural(len(numbers), 'message')}. Each was just read back from the chat by its"
            " number: sender, time and text are the same."
        )

    def _count_coins(self, insights: list[Answer]) -> None:
        spent, balance = sum(insight["price"] for insight in insights), self.client.balance()
        self._paragraph(f"They cost {plural(spent, 'coin')}; {balance['spendable']:,} are left to spend.")
        if not self.full:
            self._paragraph("This was the short report: --full shows every quote and the reason of every suggestion.")

    def _paragraph(self, text: str) -> None:
        self._lines(self.page.wrap(text, first="  "))

    def _lines(self, lines: list[str]) -> None:
        for line in lines:
            self.say(line)


def _title(unlocked: Answer) -> str:
    insights = plural(unlocked["total_insights"], "insight")
    return f"Unlocking {insights} for {plural(unlocked['coins_reserved'], 'coin')}"


def _arrival(insight: Answer, *, since: str) -> str:
    elapsed = datetime.fromisoformat(insight["finished_at"]) - datetime.fromisoformat(since)
    mark, why = ("✓", "") if insight["status"] == "completed" else ("✗", f" ({plain(insight['error_code'])})")
    return f"  {mark} {elapsed.total_seconds():5.1f} s  {plain(insight['title'])}{why}"


def _overdue(job: Answer) -> bool:
    deadline = datetime.fromisoformat(job["deadline_at"])
    return (datetime.now(deadline.tzinfo) - deadline).total_seconds() > GRACE_SECONDS


def _failures(failed: list[Answer]) -> str:
    titles = ", ".join(plain(insight["title"]) for insight in failed)
    return f"Not written: {titles}. Their coins came back; `./dev manage insights --failed` says why."


def _quotes(insights: list[Answer]) -> Iterator[Answer]:
    for insight in insights:
        for section in insight["document"]["sections"]:
            for exchange in section["evidence"]:
                yield from exchange["messages"]


def _same(quote: Answer, message: Answer | None) -> bool:
    fields: tuple[str, ...] = ("sender", "sent_at", "text")
    return message is not None and all(quote[field] == message[field] for field in fields)


def closing(*, base_url: str, chat_id: str, token: str, staff: tuple[str, str], page: Layout) -> list[str]:
    """Where to look next."""
    email, password = staff
    rows: list[tuple[str, Any]] = [
        ("The API and its documentation", f"{base_url}/api/docs"),
        ("Staff pages", f"{base_url}/admin/"),
        ("  log in as", email),
        ("  password", password),
        ("Is all well?", f"{base_url}/health"),
    ]
    curl = f'curl -H "Authorization: Bearer {token}" {base_url}/api/insights/chats/{chat_id}'
    return [
        "",
        page.heading("Where to look next"),
        "",
        *(f"  {label:<31}{page.accent(value)}" for label, value in rows),
        "",
        "  These insights as JSON:",
        f"  {curl}",
        "",
    ]
