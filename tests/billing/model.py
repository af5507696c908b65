"""A model of the ledger in plain Python, independent of its code."""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_COINS = 1_000_000_000


class Refused(Exception):
    """A rejection, with the class name of the error that the ledger should raise."""


@dataclass
class ModelHold:
    coins: int
    state: str = "active"
    captured: int = 0


@dataclass
class ModelRefund:
    """What one refund asks for. `taken` are the lines that took its coins, `owed` is still missing."""

    coins: int
    owed: int
    taken: list[int] = field(default_factory=list)


@dataclass
class ModelWallet:
    #: Type and amount of each transaction, in order.
    lines: list[tuple[str, int]] = field(default_factory=list)
    #: Type and amount of the transaction of each idempotency key.
    keys: dict[str, tuple[str, int]] = field(default_factory=dict)
    holds: dict[str, ModelHold] = field(default_factory=dict)
    #: The refunds that were not reversed, in the order of their debts.
    refunds: dict[str, ModelRefund] = field(default_factory=dict)

    @property
    def balance(self) -> int:
        return sum(amount for _, amount in self.lines)

    @property
    def reserved(self) -> int:
        return sum(hold.coins for hold in self.holds.values() if hold.state == "active")

    @property
    def owed(self) -> int:
        return sum(refund.owed for refund in self.refunds.values())

    @property
    def spendable(self) -> int:
        return self.balance - self.reserved

    def pay(self) -> None:
        """Pay what is owed, coin by coin in effect: the oldest refund first, each in one line."""
        for refund in self.refunds.values():
            if coins := min(refund.owed, self.spendable):
                refund.owed -= coins
                refund.taken.append(coins)
                self.lines.append(("refund", -coins))

    @property
    def transactions(self) -> list[tuple[int, str, int, int]]:
        """Return (sequence, type, amount, balance after) of each transaction."""
        return [
            (number, type, amount, sum(change for _, change in self.lines[:number]))
            for number, (type, amount) in enumerate(self.lines, start=1)
        ]

    def move(self, type: str, amount: int, key: str) -> None:
        if not 1 <= abs(amount) <= MAX_COINS or (type == "purchase" and amount < 0):
            raise Refused("InvalidMovement")
        if key in self.keys:
            if self.keys[key] != (type, amount):
                raise Refused("IdempotencyMismatch")
            return
        if amount < 0 and self.balance - self.reserved + amount < 0:
            raise Refused("InsufficientCoins")
        self.keys[key] = (type, amount)
        self.lines.append((type, amount))
        self.pay()

    def refund(self, coins: int, key: str) -> None:
        if not 1 <= coins <= MAX_COINS:
            raise Refused("InvalidMovement")
        if key in self.refunds:
            if self.refunds[key].coins != coins:
                raise Refused("IdempotencyMismatch")
            return
        self.refunds[key] = ModelRefund(coins, owed=coins)
        self.pay()

    def reverse(self, key: str) -> None:
        """Forget what is owed for a refund, and give back each line that took coins for it."""
        if refund := self.refunds.pop(key, None):
            self.lines.extend(("admin_adjustment", coins) for coins in refund.taken)
        self.pay()

    def hold(self, coins: int, key: str) -> None:
        if not 1 <= coins <= MAX_COINS:
            raise Refused("InvalidMovement")
        if key in self.holds:
            if self.holds[key].coins != coins:
                raise Refused("IdempotencyMismatch")
            return
        if self.balance - self.reserved - coins < 0:
            raise Refused("InsufficientCoins")
        self.holds[key] = ModelHold(coins)

    def capture(self, coins: int, key: str) -> None:
        hold = self.holds[key]
        if hold.state == "captured" and hold.captured == coins:
            return
        if hold.state != "active":
            raise Refused("ReservationResolved")
        if coins < 1 or coins > hold.coins:
            raise Refused("InvalidMovement")
        hold.state, hold.captured = "captured", coins
        self.lines.append(("insight_unlock", -coins))
        self.pay()

    def release(self, key: str) -> None:
        hold = self.holds[key]
        if hold.state == "captured":
            raise Refused("ReservationResolved")
        hold.state = "released"
        self.pay()
