"""The walkthrough of the demo: upload, statistics, unlock, insights as they finish, report.

It uses only the REST API, like any other client.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from insights.translation import Language, get_language
from ops.demo.client import Client, Document, Problem
from ops.demo.formatting import format_chat, format_insight, format_timeline
from relivchats.terminal import Layout, plain, plural

CATEGORIES = ("romantic", "friendship", "family", "workplace")
MIN_POLL_SECONDS, MAX_POLL_SECONDS = 0.3, 2.0
#: How long after its deadline a job can stay open: recovery closes overdue jobs every 15 s.
GRACE_SECONDS = 60
OPEN_STATUSES = ("queued", "running")


class NothingFits(Exception):
    """The chat is eligible for no insight of the category; the message is the reason."""


class Incomplete(Exception):
    """Some insights are missing, late, or not backed by the chat."""


@dataclass
class Walkthrough:
    """One run of the demo. `print_line` prints a line at once, so that progress is visible."""

    client: Client
    layout: Layout
    print_line: Callable[[str], None]
    full: bool = False
    category: str = CATEGORIES[0]
    language: str = "en"

    @property
    def _wording(self) -> Language:
        return get_language(self.language)

    def upload(self, export: bytes, *, name: str, chat_id: str | None = None) -> Document:
        """Upload the export, print its statistics and return the chat. Raise Problem if the export is refused.

        `chat_id` selects one chat of an export that contains several.
        """
        started = time.monotonic()
        # Without "separate", a second demo with the same export would find its chat unlocked already.
        fields = {"separate": "true"} | ({"chat": chat_id} if chat_id else {})
        chat = self.client.upload(export, **fields)
        seconds = time.monotonic() - started
        self.print_line(f"Read {plain(name)} in {seconds:.1f} s: {plain(chat['platform'])}, {plain(chat['dialect'])}.")
        self._print(format_chat(chat, layout=self.layout))
        counted = [
            entry for entry in self.client.timeline(chat["id"], language=self.language) if entry["source"] == "counted"
        ]
        self._print(format_timeline(counted, title="Timeline", layout=self.layout, wording=self._wording))
        return chat

    def unlock(self, chat: Document) -> None:
        """Unlock the insights that the chat is eligible for, and print them.

        Raise NothingFits, Problem or Incomplete.
        """
        try:
            job = self.client.unlock(chat_id=chat["id"], category_id=self.category, language=self.language)
        except Problem as problem:
            # The chat is not eligible for the whole category; the problem names the types that are possible.
            if "possible" not in problem.document:
                raise
            possible = problem.document["possible"]
            if not possible:
                raise NothingFits(str(problem)) from problem
            self._print(["", *self.layout.wrap(plain(problem))])
            job = self.client.unlock(chat_id=chat["id"], insight_type_ids=possible, language=self.language)
        insights, coins = plural(job["total_insights"], "insight"), plural(job["coins_reserved"], "coin")
        self._print(["", self.layout.heading(f"Unlocking {insights} for {coins}"), ""])
        self._wait_for_job(job["job_id"])
        self._print_insights(chat["id"])

    def _wait_for_job(self, job_id: str) -> None:
        """Print a line for each insight when it finishes. Raise Incomplete if the job is late."""
        printed: set[str] = set()
        poll_seconds = MIN_POLL_SECONDS
        while True:
            job = self.client.job(job_id)
            created_at = datetime.fromisoformat(job["created_at"])
            for insight in job["insights"]:
                if insight["finished_at"] and insight["id"] not in printed:
                    printed.add(insight["id"])
                    completed = insight["status"] == "completed"
                    seconds = (datetime.fromisoformat(insight["finished_at"]) - created_at).total_seconds()
                    reason = "" if completed else f" ({plain(insight['error_code'])})"
                    self.print_line(
                        f"  {'✓' if completed else '✗'} {seconds:5.1f} s  {plain(insight['title'])}{reason}"
                    )
            if job["status"] not in OPEN_STATUSES:
                return
            deadline = datetime.fromisoformat(job["deadline_at"])
            if (datetime.now(deadline.tzinfo) - deadline).total_seconds() > GRACE_SECONDS:
                raise Incomplete("The insights are late. `./dev manage health` shows why.")
            # Slower and slower: the first insights take a second, a model's last ones may take minutes.
            time.sleep(poll_seconds)
            poll_seconds = min(poll_seconds * 1.1, MAX_POLL_SECONDS)

    def _print_insights(self, chat_id: str) -> None:
        insights = self.client.insights(chat_id)
        completed = [insight for insight in insights if insight["status"] == "completed"]
        for insight in completed:
            self._print(format_insight(insight, layout=self.layout, full=self.full))
        if completed:
            read = [
                entry for entry in self.client.timeline(chat_id, language=self.language) if entry["source"] == "read"
            ]
            self._print(
                format_timeline(read, title="Timeline, as it was read", layout=self.layout, wording=self._wording)
            )
            self._print(["", self.layout.heading("Summary"), ""])
            self._check_quotes(chat_id, completed)
            charged = [insight for insight in completed if not insight["voided"]]
            spent, balance = sum(insight["price"] for insight in charged), self.client.balance()
            self._print_paragraph(f"They cost {plural(spent, 'coin')}; {balance['spendable']:,} are left to spend.")
            if not self.full:
                self._print_paragraph(
                    "This is the short report: --full shows every quote and the reason for every suggestion."
                )
        if failed := [plain(insight["title"]) for insight in insights if insight["status"] == "failed"]:
            raise Incomplete(
                f"Not written: {', '.join(failed)}. Their coins were released;"
                " `./dev manage insights --failed` shows the causes."
            )

    def _check_quotes(self, chat_id: str, insights: list[Document]) -> None:
        """Read every quoted message back from the chat by its number, and compare it with the quote."""
        quotes = [
            message
            for insight in insights
            for section in insight["document"]["sections"]
            for exchange in section["evidence"]
            for message in exchange["messages"]
        ]
        numbers = {quote["number"] for quote in quotes}
        messages = {message["number"]: message for message in self.client.messages(chat_id, numbers)}
        wrong = []
        for quote in quotes:
            message = messages.get(quote["number"])
            if message is None or any(quote[field] != message[field] for field in ("sender", "sent_at", "text")):
                wrong.append(quote["number"])
        if wrong:
            raise Incomplete(f"The quotes of messages {', '.join(map(str, wrong))} differ from the chat.")
        counted = f"{plural(len(insights), 'insight')} with {plural(len(quotes), 'quote')}"
        self._print_paragraph(
            f"{counted} of {plural(len(numbers), 'message')}. Each quote was compared with the chat by its"
            " number: sender, time and text are the same."
        )

    def _print_paragraph(self, text: str) -> None:
        self._print(self.layout.wrap(text, first="  "))

    def _print(self, lines: list[str]) -> None:
        for line in lines:
            self.print_line(line)


def format_next_steps(*, base_url: str, chat_id: str, token: str, staff: tuple[str, str], layout: Layout) -> list[str]:
    """Return the addresses to open next, the staff login (e-mail address and password), and a request to try."""
    email, password = staff
    rows = [
        ("The API and its documentation", f"{base_url}/api/docs"),
        ("Staff pages", f"{base_url}/admin/"),
        ("  log in as", email),
        ("  password", password),
        ("Health", f"{base_url}/health"),
    ]
    curl = f'curl -H "Authorization: Bearer {token}" {base_url}/api/insights/chats/{chat_id}'
    return [
        "",
        layout.heading("Where to look next"),
        "",
        *(f"  {label:<31}{layout.accent(value)}" for label, value in rows),
        "",
        "  These insights as JSON:",
        f"  {curl}",
        "",
    ]
