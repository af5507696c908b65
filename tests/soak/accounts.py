"""The independent model: what each person should own, from the answers of the API. It imports nothing.

Coins: the welcome bonus, adjustments and the coins of orders that are paid and not refunded, less the price of every
delivered insight that is not voided and of every answered question. If that is negative, it is what the person owes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

WELCOME_COINS = 50


@dataclass
class ReportedInsight:
    """An insight that an unlock promised, and its part of the coins. `status` is the last that was seen."""

    id: str
    type_id: str
    job_id: str
    chat_id: str
    price: int
    status: str = "pending"
    voided: bool = False

    @property
    def is_final(self) -> bool:
        """Whether it was delivered or failed."""
        return self.status in ("completed", "failed")

    @property
    def coins(self) -> int:
        """What it costs, if it is final."""
        return self.price if self.status == "completed" and not self.voided else 0


@dataclass
class OwnedChat:
    """A chat as its owner knows it. `seed` and `messages` give its export."""

    id: str
    seed: str
    people: int
    messages: int
    deleted: bool = False


@dataclass
class Asked:
    """A question. `status` is the last that was seen; `gone` if it was deleted before it was known to be final."""

    id: str
    chat_id: str
    price: int
    status: str = "pending"
    outcome: str = ""
    gone: bool = False

    @property
    def is_final(self) -> bool:
        """Whether it was answered or failed."""
        return self.status in ("answered", "failed")


@dataclass
class Bought:
    """An order."""

    id: str
    coins: int
    paid: bool = False
    refunded: bool = False


@dataclass
class Person:
    """A person with everything that they own. One thread changes it at a time."""

    number: int
    user_id: str
    wallet_id: int
    token: str
    chats: list[OwnedChat] = field(default_factory=list)
    insights: dict[str, ReportedInsight] = field(default_factory=dict)
    questions: dict[str, Asked] = field(default_factory=dict)
    orders: list[Bought] = field(default_factory=list)
    adjusted: int = 0
    erased: bool = False
    #: Answers that contradict each other, found while the test runs.
    contradictions: list[str] = field(default_factory=list)

    def record_unlock(self, reported: Mapping[str, Any], *, chat_id: str, prices: Prices) -> int:
        """Record the answer to an unlock or a retry, and check its price. Return the number of new insights."""
        job_id, coins = reported["job_id"], reported["coins_reserved"]
        if any(each.job_id == job_id for each in self.insights.values()):
            return 0
        new = [each for each in reported["insights"] if each["id"] not in self.insights]
        expected = prices.total(new, earlier=self._of_chat(chat_id)) if new else 0
        if coins != expected or sum(each["price"] for each in new) != coins:
            self.contradictions.append(f"job {job_id} reserved {coins} coins, not {expected}")
        for each in new:
            self.insights[each["id"]] = ReportedInsight(
                each["id"], each["insight_type_id"], job_id, chat_id, price=each["price"]
            )
        return len(new)

    def record_state(self, reported: Mapping[str, Any]) -> None:
        """Record the state of an insight. One that was final must not change."""
        insight = self.insights.get(reported["id"])
        if insight is None:
            self.contradictions.append(f"insight {reported['id']} was never unlocked")
            return
        now = reported["status"], reported["voided"], reported["price"]
        if insight.is_final and now != (insight.status, insight.voided, insight.price):
            self.contradictions.append(f"insight {insight.id} changed from {insight.status} to {reported['status']}")
        if reported["price"] != insight.price:
            self.contradictions.append(f"insight {insight.id} costs {reported['price']}, not {insight.price}")
        insight.status, insight.voided = reported["status"], reported["voided"]

    def record_question(self, reported: Mapping[str, Any]) -> None:
        """Record the state of a question."""
        asked = self.questions.setdefault(reported["id"], Asked(reported["id"], reported["chat_id"], reported["price"]))
        if asked.is_final and asked.status != reported["status"]:
            self.contradictions.append(f"question {asked.id} changed from {asked.status} to {reported['status']}")
        asked.status = reported["status"]
        asked.outcome = (reported["answer"] or {}).get("outcome", "")

    def forget_questions(self, chat_id: str) -> None:
        """Note that the questions of a chat were deleted: whether an open one was answered before is unknown."""
        for asked in self.questions.values():
            asked.gone |= asked.chat_id == chat_id and not asked.is_final

    def open_jobs(self) -> set[str]:
        """Return the jobs with an insight that is not known to be final."""
        return {each.job_id for each in self.insights.values() if not each.is_final}

    def balance_range(self) -> tuple[int, int]:
        """Return the lowest and the highest balance that agrees with the answers. They are equal if all is known.

        A negative balance is owed.
        """
        fixed = WELCOME_COINS + self.adjusted
        fixed += sum(order.coins for order in self.orders if order.paid and not order.refunded)
        fixed -= sum(each.coins for each in self.insights.values())
        fixed -= sum(each.price for each in self.questions.values() if each.outcome == "answered")
        unknown = sum(each.price for each in self.insights.values() if not each.is_final)
        unknown += sum(each.price for each in self.questions.values() if not each.is_final)
        return fixed - unknown, fixed

    def _of_chat(self, chat_id: str) -> list[ReportedInsight]:
        return [each for each in self.insights.values() if each.chat_id == chat_id]


@dataclass(frozen=True)
class Prices:
    """The catalogue's prices as they are shown to everybody: by type, and by category with its types."""

    types: Mapping[str, int]
    categories: Mapping[str, int]
    category_of: Mapping[str, str]

    @classmethod
    def shown(cls, categories: Iterable[Mapping[str, Any]]) -> Prices:
        """Return the prices of the API's list of categories."""
        rows = [(category, each) for category in categories for each in category["insight_types"]]
        return cls(
            types={each["id"]: each["price"] for _, each in rows},
            categories={category["id"]: category["price"] for category, _ in rows},
            category_of={each["id"]: category["id"] for category, each in rows},
        )

    def total(self, new: Iterable[Mapping[str, Any]], *, earlier: Iterable[ReportedInsight]) -> int:
        """Return what new insights of one category cost together. One that failed before costs at most what it did."""
        latest = {each.type_id: each.price for each in earlier}
        ids = [each["insight_type_id"] for each in new]
        alone = [min(self.types[type_id], latest.get(type_id, self.types[type_id])) for type_id in ids]
        return min(sum(alone), self.categories[self.category_of[ids[0]]])
