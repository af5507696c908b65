"""Everything about one person in one timeline, for support. It has ids, states and codes, and no text of a chat."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.html import strip_tags

from billing import timeline
from billing.models import Wallet
from chats.models import Chat
from insights.models import GenerationJob, Insight
from insights.question_models import ChatQuestion
from ops import errors
from relivchats.accounts.models import User
from relivchats.errors import NotFound
from relivchats.staff.models import AuditEntry
from relivchats.staff.reports import Level, Line, Report, Table, count, format_count

#: The newest so many rows of each kind are read, and the newest so many entries are returned.
MAX_ENTRIES = 200
#: Sessions are searched one by one.
MAX_SESSIONS = 1000
ERRORS_OF = timedelta(days=35)


@dataclass(frozen=True)
class Entry:
    """One thing that happened: its kind, such as `upload`, its outcome, the id of its row, and codes."""

    at: datetime
    kind: str
    what: str
    object_id: str
    details: str = ""


def find(text: str) -> User:
    """Return the person with this e-mail address or id. Raise NotFound."""
    text = text.strip()
    try:
        which = Q(email__iexact=text) if "@" in text else Q(pk=UUID(text))
    except ValueError:
        which = Q(pk=None)
    person = User.objects.filter(which).first()
    if person is None:
        raise NotFound("There is no such person. Enter an e-mail address or an id in full.")
    return person


def report(text: str, *, limit: int) -> Report:
    """Return the timeline of a person, newest first, and counts of what they have. Raise NotFound."""
    person = find(text)
    entries = list_entries(person)[:limit]
    table = Table(
        ("at", "kind", "what", "id", "details"),
        tuple((each.at, each.kind, each.what, each.object_id, each.details) for each in entries),
    )
    counts = count_everything(person)
    lines = tuple(Line(name, Level.FINE, str(value)) for name, value in counts.items())
    return Report(f"Person {person.pk}", lines, table, {"person": str(person.pk), "counts": counts})


def count_everything(person: User) -> dict[str, str]:
    """Return what the person has, by its name."""
    wallet = Wallet.objects.filter(user=person).first()
    coins = f"{wallet.balance} coins, {wallet.reserved} held, {wallet.owed} owed" if wallet else "none"
    tokens = person.access_tokens.filter(revoked_at=None)
    return {
        "account": f"{'active' if person.is_active else 'inactive'}{', staff' if person.is_staff else ''}",
        "since": f"{person.created_at:%Y-%m-%d}",
        "wallet": f"{wallet.pk}: {coins}" if wallet else coins,
        "chats": format_count(count(Chat.objects.filter(owner=person))),
        "unlocks": format_count(count(GenerationJob.objects.filter(user=person))),
        "tokens": format_count(count(tokens)),
        "sessions": str(_count_sessions(person)),
    }


def list_entries(person: User) -> list[Entry]:
    """Return the newest MAX_ENTRIES entries of a person, newest first."""
    ids: set[str] = {str(person.pk)}
    entries = [*_iterate_work(person, ids), *_iterate_coins(person, ids), *_iterate_account(person, ids)]
    return sorted(entries, key=lambda entry: entry.at, reverse=True)[:MAX_ENTRIES]


def _iterate_work(person: User, ids: set[str]) -> Iterator[Entry]:
    """Yield what the person did with chats, and add the ids of its rows to `ids`."""
    for upload in person.uploads.order_by("-created_at")[:MAX_ENTRIES]:
        codes: tuple[str, ...] = (
            upload.platform,
            upload.dialect,
            upload.reason or upload.error_code,
            f"{upload.size_bytes} bytes",
        )
        yield Entry(upload.created_at, "upload", upload.outcome, str(upload.chat_id or ""), _join(*codes))
    for chat in (
        Chat.objects.filter(owner=person)
        .only("pk", "vector_status", "created_at")
        .order_by("-created_at")[:MAX_ENTRIES]
    ):
        ids.add(str(chat.pk))
        yield Entry(chat.created_at, "chat", f"indexing {chat.vector_status}", str(chat.pk))
    jobs = GenerationJob.objects.filter(user=person).order_by("-created_at")[:MAX_ENTRIES]
    for job in jobs:
        ids.add(str(job.pk))
        done = f"{job.completed_insights} completed, {job.failed_insights} failed of {job.total_insights}"
        yield Entry(job.created_at, "unlock", job.status, str(job.pk), _join(job.category_id, done))
    insights = Insight.objects.filter(job__user=person).defer("sealed_document").order_by("-created_at")
    for insight in insights[:MAX_ENTRIES]:
        ids.add(str(insight.pk))
        if insight.finished_at or insight.error_code:
            codes = (insight.insight_type_id, f"attempt {insight.attempt}", insight.error_code)
            at = insight.finished_at or insight.created_at
            yield Entry(at, "insight", insight.status, str(insight.pk), _join(*codes))
    questions = ChatQuestion.objects.filter(chat__owner=person).defer("sealed_question", "sealed_answer")
    for question in questions.order_by("-created_at")[:MAX_ENTRIES]:
        codes = (question.outcome, question.error_code)
        yield Entry(question.created_at, "question", question.status, str(question.pk), _join(*codes))


def _iterate_coins(person: User, ids: set[str]) -> Iterator[Entry]:
    if wallet := Wallet.objects.filter(user=person).first():
        for entry in timeline.list_entries(wallet):
            moved = f"{entry.amount:+} coins" if entry.amount else f"{entry.held:+} held" if entry.held else ""
            ids.add(strip_tags(entry.row))
            yield Entry(entry.at, "coins", entry.what, strip_tags(entry.row), _join(moved, entry.details))
        of_wallet = AuditEntry.objects.filter(action__endswith=" wallet", object_id=str(wallet.pk))
        yield from map(_staff, of_wallet.order_by("-created_at")[:MAX_ENTRIES])


def _iterate_account(person: User, ids: set[str]) -> Iterator[Entry]:
    for event in errors.select(since=ERRORS_OF, user=str(person.pk), refusals=True).order_by("-at")[:MAX_ENTRIES]:
        codes = (event.error, event.code, event.route, f"request {event.request_id}" if event.request_id else "")
        yield Entry(event.at, "error", event.event, str(event.pk), _join(*codes))
    # Numbers are ids of rows of several kinds.
    uuids = [each for each in ids if "-" in each]
    yield from map(_staff, AuditEntry.objects.filter(object_id__in=uuids).order_by("-created_at")[:MAX_ENTRIES])
    log = LogEntry.objects.filter(content_type=ContentType.objects.get_for_model(User), object_id=str(person.pk))
    for change in log.order_by("-action_time")[:MAX_ENTRIES]:
        yield Entry(change.action_time, "staff", "account changed", str(person.pk), f"by user {change.user_id}")
    for token in person.access_tokens.order_by("-created_at")[:MAX_ENTRIES]:
        yield Entry(token.created_at, "token", "issued", str(token.pk))
        if token.revoked_at:
            yield Entry(token.revoked_at, "token", "revoked", str(token.pk))


def _staff(entry: AuditEntry) -> Entry:
    what = entry.action if entry.done else f"{entry.action}, refused"
    return Entry(entry.created_at, "staff", what, entry.object_id, _join(entry.actor, entry.reason, entry.outcome))


def _join(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _count_sessions(person: User) -> int:
    open_sessions = Session.objects.filter(expire_date__gt=Now()).order_by("-expire_date")[:MAX_SESSIONS]
    return sum(session.get_decoded().get("_auth_user_id") == str(person.pk) for session in open_sessions)
