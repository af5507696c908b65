"""A queue of database rows that workers lease: dispatch, claim, renew, finish, release, recover.

A row is pending until a worker claims it. The claim sets a random token and an expiry, and counts an attempt. The
worker renews the lease while it works, and finishes or releases the row by an UPDATE that compares the token. A killed
worker stops renewing; recovery then makes the row pending again. This is the entire crash protocol.

Why a WHERE clause is enough against every race: at READ COMMITTED, an UPDATE that meets a row which another
transaction is changing waits for its commit and evaluates WHERE again on the new version of the row. Of several
claims, one finds the row still claimable. Of a worker and the one that took the row over, only the second finds its
token in the row.

All times are the database's, so the clocks of the machines do not matter.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast
from uuid import UUID, uuid4

from django.conf import settings
from django.db import Error, connections, transaction
from django.db.models import Case, F, Model, Q, QuerySet, Subquery, When, Window
from django.db.models.expressions import Combinable
from django.db.models.fields import DateTimeField
from django.db.models.functions import Coalesce, Now, RowNumber

from relivchats.wakeups import publish

logger = logging.getLogger(__name__)

Row = TypeVar("Row", bound=Model)
Held = TypeVar("Held")
Held_contra = TypeVar("Held_contra", contravariant=True)


#: Recovery runs every 15 s and frees expired leases. A lease that expired longer ago was missed by it.
STUCK_AFTER = timedelta(seconds=60)


class Lease(NamedTuple):
    """The claim of a row: the token proves it, `attempt` counts from 1."""

    row_id: UUID
    token: UUID
    attempt: int


@dataclass(frozen=True, kw_only=True)
class LeaseQueue(Generic[Row]):
    """The lease queue of one model.

    `due` returns the pending rows whose time has come, `lease_expired` the leased rows whose worker stopped renewing.
    `due_at` is the column with that time, or empty if rows do not wait for a time. `task` is the Celery task that a
    row's id is sent to. The columns are `<prefix>lease_token`, `<prefix>lease_expires_at`, `<prefix>dispatched_at`,
    `<prefix>attempt` and `status_column`. A constraint of the table allows a token only in a leased row.
    """

    model: type[Row]
    task: str
    status_column: str
    pending: str
    leased: str
    due: Callable[[], QuerySet[Row]]
    lease_expired: Callable[[], QuerySet[Row]]
    max_attempts: int
    due_at: str = ""
    prefix: str = ""
    #: Whether an attempt counts that ended with its worker, because the work itself may be what ended it.
    counts_ended_workers: bool = False

    def dispatch(self, rows: QuerySet[Row], *, limit: int) -> int:
        """Publish the ids of the first `limit` of `rows`, in order, and return the number published.

        A row is published again if no worker claims it within REDISPATCH_SECONDS. If the broker fails, the rest waits
        for the next call; beat makes one every few seconds.
        """
        expired_before = Now() - timedelta(seconds=settings.REDISPATCH_SECONDS)
        unpublished = self._where(dispatched_at=None) | self._where(dispatched_at__lt=expired_before)
        candidates = list(rows.filter(unpublished).values_list("pk", flat=True)[: max(0, limit)])
        if not candidates:
            return 0
        still_pending = self._rows().filter(unpublished, pk__in=candidates, **{self.status_column: self.pending})
        with transaction.atomic():
            # Another dispatcher may have the same candidates. SKIP LOCKED passes over the rows that it is marking now;
            # the filter, evaluated again under the lock, drops those that it has marked since, or that were claimed.
            marked = set(still_pending.select_for_update(skip_locked=True).values_list("pk", flat=True))
            self._rows().filter(pk__in=marked).update(**self._set(dispatched_at=Now()))
        chosen = [row_id for row_id in candidates if row_id in marked]
        for published, row_id in enumerate(chosen):
            if not publish(self.task, row_id):
                # Without this, the next rounds would wait REDISPATCH_SECONDS for messages that were never sent.
                rest = self._rows().filter(pk__in=chosen[published:], **{self.status_column: self.pending})
                rest.update(**self._set(dispatched_at=None))
                return published
        return len(chosen)

    def claim(self, row_id: UUID, **updates: Any) -> Lease | None:
        """Lease a row that is due or whose lease expired. Return None if it is neither or has no attempt left."""
        token = uuid4()
        claimable = self.due() | self.lease_expired()
        # The status, the expiry and the attempts are compared in the UPDATE itself: a late, duplicate or concurrent
        # message finds a row that is leased or finished, and matches nothing.
        claimed = claimable.filter(self._where(attempt__lt=self.max_attempts), pk=row_id).update(
            **{self.status_column: self.leased},
            **self._set(lease_token=token, lease_expires_at=self._expiry(), attempt=F(f"{self.prefix}attempt") + 1),
            **updates,
        )
        if not claimed:
            return None
        # The row is gone again if its chat was erased in between.
        row = self.held(Lease(row_id, token, attempt=0)).values_list(f"{self.prefix}attempt").first()
        return Lease(row_id, token, *row) if row else None

    def held(self, lease: Lease) -> QuerySet[Row]:
        """Return the row if `lease` still holds it, expired or not, for an UPDATE that ends or renews the lease."""
        # A finished row has no token, and a row that was taken over has another one.
        return self._rows().filter(self._where(lease_token=lease.token), pk=lease.row_id)

    def renew(self, lease: Lease) -> bool:
        """Extend a lease to INSIGHT_LEASE_SECONDS from now. Return False if it was lost."""
        return bool(self.held(lease).update(**self._set(lease_expires_at=self._expiry())))

    @property
    def lease_seconds(self) -> float:
        """How long a lease lasts unless it is renewed."""
        return settings.INSIGHT_LEASE_SECONDS

    def renew_all(self, leases: Collection[Lease]) -> None:
        """Extend all leases of one process in one UPDATE."""
        tokens = [lease.token for lease in leases]
        with transaction.atomic():
            # A locked row is just being finished, recovered or erased. Waiting for it could let the other leases
            # expire, and two transactions that lock several rows in different orders could deadlock.
            held = self._rows().filter(self._where(lease_token__in=tokens), **{self.status_column: self.leased})
            unlocked = held.order_by("pk").select_for_update(skip_locked=True)
            self._rows().filter(pk__in=unlocked.values("pk")).update(**self._set(lease_expires_at=self._expiry()))

    def give_back(self, leases: Collection[Lease], *, uses_attempt: bool = False) -> int:
        """End the leases, because this process has to end. Return the number of rows.

        A row is due again for other workers. If its attempt counts and was the last one, it stays leased instead, and
        its lease expires now: recovery fails it. With `uses_attempt`, the attempts of all queues count.
        """
        tokens = [lease.token for lease in leases]
        unused = 0 if uses_attempt or self.counts_ended_workers else 1
        with transaction.atomic():
            # A locked row is just being finished.
            held = self._rows().filter(self._where(lease_token__in=tokens), **{self.status_column: self.leased})
            unlocked = list(held.order_by("pk").select_for_update(skip_locked=True).values_list("pk", flat=True))
            rows = self._rows().filter(pk__in=unlocked)
            rows.update(**self._set(lease_expires_at=Now()))
            # A pending row without an attempt left could never be claimed.
            rows.filter(self._where(attempt__lt=self.max_attempts + unused)).update(
                **{self.status_column: self.pending},
                # Until now it was worked on. Admission takes what was due for long for a fault.
                **({self.due_at: Now()} if self.due_at else {}),
                **self._set(lease_token=None, lease_expires_at=None, dispatched_at=None),
                **self._set(attempt=F(f"{self.prefix}attempt") - unused),
            )
        return len(unlocked)

    def finish(self, lease: Lease, *, status: str, **updates: Any) -> bool:
        """Give the row its final status if `lease` still holds it. Return False if the lease was lost."""
        ended = self._set(lease_token=None, lease_expires_at=None)
        return bool(self.held(lease).update(**{self.status_column: status}, **ended, **updates))

    def release(self, lease: Lease, **updates: Any) -> bool:
        """Make the row pending again if `lease` still holds it. Return False if the lease was lost."""
        return self.finish(lease, status=self.pending, **updates)

    def lock_expired(self, row_id: UUID) -> Lease | None:
        """Lock a row whose lease expired, and return that lease for the caller to release or finish.

        Until the caller's transaction ends, no worker can claim the row, and the one that holds the lease, if it is
        alive after all, can neither renew nor finish it.
        """
        columns = f"{self.prefix}lease_token", f"{self.prefix}attempt"
        expired = self.lease_expired().filter(pk=row_id).select_for_update().values_list(*columns).first()
        return Lease(row_id, *expired) if expired else None

    def _rows(self) -> QuerySet[Row]:
        return self.model._default_manager.all()

    def _set(self, **values: Any) -> dict[str, Any]:
        return {f"{self.prefix}{column}": value for column, value in values.items()}

    def _where(self, **lookups: Any) -> Q:
        return Q(**self._set(**lookups))

    def _expiry(self) -> Combinable:
        return Now() + timedelta(seconds=settings.INSIGHT_LEASE_SECONDS)


def take_turns(
    rows: QuerySet[Row],
    *,
    owner: str,
    in_flight: Mapping[Any, int],
    order: Sequence[str],
    served: QuerySet[Any],
    arrived: str,
) -> QuerySet[Row]:
    """Return due rows in the order of fair dispatch: the first of every owner, then the second of every owner, …

    `owner` is the path to the owner of a row, and `in_flight` the number of rows that each has published or leased:
    those have had their turn. An owner's own rows are in `order`. Of owners with equally many, the one comes first that
    has waited longest: since `served`, a query with one value for OuterRef(owner), or since its row `arrived`.
    """
    had = Case(*(When(**{owner: key}, then=number) for key, number in in_flight.items()), default=0)
    # Only for the first row of an owner: a subquery for each of their rows would cost the square of a long queue.
    waiting_since = Case(When(place=1, then=Coalesce(Subquery(served), arrived)), output_field=DateTimeField())
    place = Window(RowNumber(), partition_by=owner, order_by=list(order))
    turns = rows.annotate(place=place, turn=had + F("place"), waiting_since=waiting_since)
    return cast("QuerySet[Row]", turns.order_by("turn", "place", "waiting_since", *order))


class Renewable(Protocol[Held_contra]):
    """What a LeaseRenewer renews."""

    @property
    def lease_seconds(self) -> float:
        """How long a lease lasts unless it is renewed."""
        ...

    def renew_all(self, leases: Collection[Held_contra]) -> None:
        """Extend those of the leases that were not lost."""
        ...


_renewers: weakref.WeakSet[LeaseRenewer[Any]] = weakref.WeakSet()


class LeaseRenewer(Generic[Held]):
    """Renews all leases of one kind that this process holds, in one thread, while there are any."""

    def __init__(self, queue: Renewable[Held]) -> None:
        self._queue = queue
        self._leases: set[Held] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        _renewers.add(self)

    @contextmanager
    def renewing(self, lease: Held) -> Iterator[None]:
        """Renew the lease until the block ends."""
        try:
            with self._lock:
                self._leases.add(lease)
                # A thread does not survive a fork of the process, so `is_alive` is checked every time.
                if self._thread is None or not self._thread.is_alive():
                    thread = threading.Thread(target=self._run, name="lease-renewer", daemon=True)
                    thread.start()
                    self._thread = thread
            yield
        finally:
            with self._lock:
                self._leases.discard(lease)

    def give_back(self, *, uses_attempt: bool) -> int:
        """Give all leases of a LeaseQueue back, because this process has to end. Return their number."""
        queue: object = self._queue
        with self._lock:
            leases: list[Any] = list(self._leases)
        return queue.give_back(leases, uses_attempt=uses_attempt) if leases and isinstance(queue, LeaseQueue) else 0

    def held(self) -> int:
        """Return the number of leases that this process holds of this kind."""
        with self._lock:
            return len(self._leases)

    def _run(self) -> None:
        while True:
            # 20 s for the default lease of 90 s: three renewals may fail before a lease expires.
            time.sleep(self._queue.lease_seconds / 4.5)
            with self._lock:
                leases = list(self._leases)
                if not leases:
                    # Under the lock: `renewing` either adds its lease before this or starts a new thread.
                    self._thread = None
                    return
            try:
                self._queue.renew_all(leases)
            except Error as error:
                # The next round tries again. If this thread ended, every lease of the process would be lost.
                logger.warning("leases not renewed", extra={"error": type(error).__name__, "leases": len(leases)})
            finally:
                connections.close_all()


def give_back_all(*, uses_attempt: bool) -> int:
    """Give back all leases that this process renews. Return their number. See `LeaseQueue.give_back`."""
    return sum(renewer.give_back(uses_attempt=uses_attempt) for renewer in list(_renewers))


def count_held() -> int:
    """Return the number of leases that this process renews."""
    return sum(renewer.held() for renewer in list(_renewers))
