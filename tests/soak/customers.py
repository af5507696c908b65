"""Customers: each is a thread that does what the seed says, and records the answers."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.soak import staff
from tests.soak.accounts import Bought, OwnedChat, Person, Prices
from tests.soak.client import Client, Requests, wait_until
from tests.soak.texts import Canaries, write_export

_MAX_CHATS = 3
_THINK_SECONDS = (0.1, 1.5)


class Customer:
    """One person's actions. The action of a step depends on the seed, the person's number and the step alone."""

    def __init__(self, person: Person, client: Client, *, canaries: Canaries, prices: Prices, seed: int) -> None:
        self.person = person
        self._client = client
        self._canaries = canaries
        self._prices = prices
        self._seed = f"{seed}/{person.number}"
        self._chance = random.Random(self._seed)

    def act(self, step: int) -> None:
        """Do one step. The first ones give the person something to unlock with."""
        self._chance = random.Random(f"{self._seed}/{step}")
        beginning = {0: "upload", 1: "buy", 2: "unlock"}
        action = beginning.get(step) or self._chance.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        _ACTIONS[action](self)

    def settle(self) -> bool:
        """Look at everything that is open. Return whether nothing is."""
        for job_id in self.person.open_jobs():
            reported = self._client.get("look at a job", f"/api/insights/jobs/{job_id}/status")
            for each in reported["insights"]:
                if each["id"] in self.person.insights and self.person.insights[each["id"]].job_id == job_id:
                    self.person.record_state(each)
        for asked in [each for each in self.person.questions.values() if not each.is_final and not each.gone]:
            reported = self._client.get("look at a question", f"/api/chats/{asked.chat_id}/questions/{asked.id}")
            self.person.record_question(reported)
        waiting = any(not each.is_final and not each.gone for each in self.person.questions.values())
        return not waiting and not self.person.open_jobs()

    def read_balance(self) -> Any:
        """Return the balance that the API shows."""
        return self._client.get("read", "/api/credits/balance")

    def upload(self, *, messages: int = 0, people: int = 0) -> None:
        """Upload a new chat, of so many messages and people or as many as the seed says."""
        if len(self._own_chats()) >= _MAX_CHATS:
            return
        people = people or self._chance.choice((2, 2, 2, 3))
        chat = OwnedChat("", f"{self._seed}/{self._chance.random()}", people, messages or self._chance.randint(60, 500))
        reported = self._send_export("upload", chat)
        chat.id = reported["id"]
        self.person.chats.append(chat)

    def extend(self) -> None:
        """Upload a newer export of a chat."""
        if chat := self._choose_chat():
            chat.messages += self._chance.randint(10, 150)
            self._send_export("extend", chat, extend=chat.id)

    def edit(self) -> None:
        """Change the title of a chat."""
        if chat := self._choose_chat():
            title = f"{self._canaries.title} {self._chance.randrange(100)}"
            self._client.send("edit", "PATCH", f"/api/chats/{chat.id}", json={"title": title})

    def delete_chat(self) -> None:
        """Delete a chat, in whatever state it is."""
        if chat := self._choose_chat():
            # A repetition finds nothing: 404.
            self._client.send("delete a chat", "DELETE", f"/api/chats/{chat.id}")
            chat.deleted = True
            self.person.forget_questions(chat.id)

    def unlock(self) -> None:
        """Unlock a category, or some types of one."""
        if chat := self._choose_chat():
            self._record_unlock(self._send_unlock(chat, self._choose_request(chat)), chat)

    def unlock_twice(self) -> None:
        """Unlock the same twice at once, with one key or with two, as a person does who clicks twice."""
        if chat := self._choose_chat():
            request = self._choose_request(chat)
            key = f"twice-{self._chance.random()}" if self._chance.random() < 0.5 else ""
            with ThreadPoolExecutor(2) as pool:
                answers = list(pool.map(lambda _: self._send_unlock(chat, request, key=key), range(2)))
            for answer in sorted(answers, key=lambda each: -each.status_code):
                self._record_unlock(answer, chat)

    def retry(self) -> None:
        """Retry an insight that failed, if its chat is still there."""
        self.settle()
        chats = {chat.id: chat for chat in self._own_chats()}
        failed = [each for each in self.person.insights.values() if each.status == "failed" and each.chat_id in chats]
        if failed:
            insight = self._chance.choice(failed)
            answer = self._client.send("retry", "POST", f"/api/insights/{insight.id}/retry", idempotent=True)
            self._record_unlock(answer, chats[insight.chat_id])

    def ask(self) -> None:
        """Ask about a chat, and sometimes do not wait for the answer before the next action."""
        if chat := self._choose_chat():
            question = f"what did they say about {self._canaries.question} {self._chance.randrange(1000)}"
            path = f"/api/chats/{chat.id}/ask"
            answer = self._client.send("ask", "POST", path, idempotent=True, json={"question": question})
            if answer.status_code in (200, 202):
                self.person.record_question(answer.json())

    def delete_questions(self) -> None:
        """Delete all questions of a chat."""
        if chat := self._choose_chat():
            self._client.send("delete questions", "DELETE", f"/api/chats/{chat.id}/questions")
            self.person.forget_questions(chat.id)

    def buy(self) -> None:
        """Buy a package, and pay once or twice."""
        body = {"package_id": self._chance.choice(("starter", "popular", "pro", "pro")), "provider": "sandbox"}
        reported = self._client.send("buy", "POST", "/api/payments/orders", idempotent=True, json=body).json()
        order = Bought(reported["order_id"], reported["coins"])
        self.person.orders.append(order)
        for _ in range(self._chance.choice((1, 1, 2))):
            wait_until(
                lambda: self._client.pay(reported["checkout_url"]), every_seconds=0.5, awaited="page of the provider"
            )

        def is_paid() -> bool:
            status = self._client.get("look at an order", f"/api/payments/orders/{order.id}")["status"]
            order.paid = status in ("completed", "refunded")
            return order.paid

        # The event is stored when the page answers, and applied again until it succeeds.
        wait_until(is_paid, every_seconds=0.1, awaited=f"coins of order {order.id}")

    def refund(self) -> None:
        """Get the money of an order back, while jobs hold coins or not."""
        paid = [order for order in self.person.orders if order.paid and not order.refunded]
        if not paid:
            return
        order = self._chance.choice(paid)
        staff.refund(order.id)
        # What was spent or is held meanwhile becomes a debt.
        order.refunded = True

    def adjust(self) -> None:
        """Be given coins by staff, or lose some."""
        amount = self._chance.choice((300, 100, 10, -5, -40))
        if staff.adjust(self.person, amount):
            self.person.adjusted += amount

    def look(self) -> None:
        """Read everything that there is to read."""
        self.settle()
        self.read_balance()
        if chat := self._choose_chat():
            for path in (f"chats/{chat.id}/statistics", f"chats/{chat.id}/timeline", f"insights/chats/{chat.id}"):
                self._client.get("read", f"/api/{path}")

    def erase(self) -> None:
        """Delete the account, in whatever state it is."""
        self.settle()
        staff.erase_person(self.person)
        self.person.erased = True
        for chat in self.person.chats:
            chat.deleted = True
            self.person.forget_questions(chat.id)

    def _own_chats(self) -> list[OwnedChat]:
        return [chat for chat in self.person.chats if not chat.deleted]

    def _choose_chat(self) -> OwnedChat | None:
        chats = self._own_chats()
        return self._chance.choice(chats) if chats else None

    def _choose_request(self, chat: OwnedChat) -> dict[str, Any]:
        category = self._chance.choice(sorted(self._prices.categories))
        if self._chance.random() < 0.3:
            return {"chat_id": chat.id, "category_id": category}
        types = sorted(type_id for type_id, owner in self._prices.category_of.items() if owner == category)
        return {"chat_id": chat.id, "insight_type_ids": self._chance.sample(types, self._chance.randint(1, 2))}

    def _send_unlock(self, chat: OwnedChat, request: Mapping[str, Any], *, key: str = "") -> Any:
        return self._client.send("unlock", "POST", "/api/insights/unlock", idempotent=True, key=key, json=dict(request))

    def _record_unlock(self, answer: Any, chat: OwnedChat) -> None:
        # 402 and 404 (a type that is off sale), 409, 422 and 503: nothing was reserved.
        if answer.status_code in (200, 202):
            self.person.record_unlock(answer.json(), chat_id=chat.id, prices=self._prices)

    def _send_export(self, action: str, chat: OwnedChat, **fields: str) -> Any:
        content = write_export(self._canaries, seed=chat.seed, messages=chat.messages, people=chat.people)
        files = {"file": (f"WhatsApp Chat with {self._canaries.file_name}.txt", content, "text/plain")}
        answer = self._client.send(
            action,
            "POST",
            "/api/chats/upload",
            idempotent=True,
            files=files,
            data=fields or {"separate": "true"},
        )
        if answer.status_code not in (200, 201):
            self.person.contradictions.append(f"{action} was answered with {answer.status_code}")
        return answer.json()


#: How often each action is done, relative to the others.
_WEIGHTS: Mapping[str, float] = {
    "upload": 3,
    "extend": 2,
    "edit": 1,
    "delete_chat": 1.2,
    "unlock": 6,
    "unlock_twice": 2,
    "retry": 1.5,
    "ask": 4,
    "delete_questions": 0.4,
    "buy": 1.5,
    "refund": 0.7,
    "adjust": 0.7,
    "look": 3,
    "erase": 0.3,
}
_ACTIONS: Mapping[str, Callable[[Customer], None]] = {name: getattr(Customer, name) for name in _WEIGHTS}


class Crowd:
    """Several customers at once. One who erases the account is replaced by a new one."""

    def __init__(self, base_url: str, *, size: int, seed: int, canaries: Canaries, prices: Prices) -> None:
        self.requests = Requests()
        self.customers: list[Customer] = []
        self.failures: list[str] = []
        self.actions = 0
        self._base_url = base_url
        self._seed = seed
        self._canaries = canaries
        self._prices = prices
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._live, name=f"customer-{number}") for number in range(size)]

    def start(self) -> None:
        """Start all customers."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let every customer finish the action that it is at."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _live(self) -> None:
        while not self._stopping.is_set():
            customer = self._join()
            step = 0
            while not self._stopping.is_set() and not customer.person.erased:
                try:
                    customer.act(step)
                except Exception as error:
                    # The test goes on, and ends with this as a violation.
                    with self._lock:
                        self.failures.append(f"person {customer.person.number}, step {step}: {error!r}")
                step += 1
                with self._lock:
                    self.actions += 1
                self._stopping.wait(
                    random.Random(f"{self._seed}/{customer.person.number}/{step}/think").uniform(*_THINK_SECONDS)
                )

    def _join(self) -> Customer:
        # next() of a count is atomic, so that every number is used once.
        person = staff.create_person(next(self._numbers))
        client = Client(self._base_url, person.token, self.requests)
        customer = Customer(person, client, canaries=self._canaries, prices=self._prices, seed=self._seed)
        with self._lock:
            self.customers.append(customer)
        return customer
