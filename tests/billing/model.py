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
class ModelWallet:
    #: Type and amount of each transaction, in order.
    lines: list[tuple[str, int]] = field(default_factory=list)
    #: Type and amount of the transaction of each idempotency key.
    keys: dict[str, tuple[str, int]] = field(default_factory=dict)
    holds: dict[str, ModelHold] = field(default_factory=dict)
    #: Sequences of the refunds that were reversed.
    reversed: set[int] = field(default_factory=set)

    @property
    def balance(self) -> int:
        return sum(amount for _, amount in self.lines)

    @property
    def reserved(self) -> int:
        return sum(hold.coins for hold in self.holds.values() if hold.state == "active")

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

    def refund(self, coins: int, key: str) -> None:
        if not 1 <= coins <= MAX_COINS:
            raise Refused("InvalidMovement")
        if key in self.keys:
            if self.keys[key][0] != "refund":
                raise Refused("IdempotencyMismatch")
            return
        if taken := min(coins, self.balance - self.reserved):
            self.keys[key] = ("refund", -taken)
            self.lines.append(("refund", -taken))

    def reverse(self, sequence: int) -> None:
        """Give back the coins that the refund with this sequence took."""
        type, amount = self.lines[sequence - 1]
        if type != "refund":
            raise Refused("InvalidMovement")
        if sequence not in self.reversed:
            self.reversed.add(sequence)
            self.lines.append(("admin_adjustment", -amount))

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

    def release(self, key: str) -> None:
        hold = self.holds[key]
        if hold.state == "captured":
            raise Refused("ReservationResolved")
        hold.state = "released"
