"""One person, for support: who they are, what they have, and everything that happened in one timeline."""

from __future__ import annotations

from uuid import UUID

from django.contrib.sessions.models import Session
from django.db.models import Q
from django.db.models.functions import Now

from billing.models import Wallet
from chats.models import Chat
from insights.models import GenerationJob
from ops import timelines
from relivchats.accounts.models import AccessToken, User
from relivchats.errors import NotFound
from relivchats.staff.reports import Level, Line, Report, Table, count, format_count

#: Sessions are searched one by one.
MAX_SESSIONS = 1000


def find(text: str) -> User:
    """Return the person with this e-mail address or id. Raise NotFound."""
    text = text.strip()
    try:
        which = Q(email=text.lower()) if "@" in text else Q(pk=UUID(text))
    except ValueError:
        which = Q(pk=None)
    person = User.objects.filter(which).first()
    if person is None:
        raise NotFound("There is no such person. Enter an e-mail address or an id in full.")
    return person


def report(text: str, *, limit: int) -> Report:
    """Return the timeline of a person, newest first, and counts of what they have. Raise NotFound."""
    person = find(text)
    timeline = timelines.of_person(person, may_view=timelines.anyone_may)
    table = Table(
        ("at", "kind", "what", "id", "details"),
        tuple((each.at, each.kind, each.what, str(each.pk), each.details) for each in timeline.entries[:limit]),
    )
    counts = count_everything(person, may_view=timelines.anyone_may)
    lines = [Line(name, Level.FINE, value) for name, value in counts.items()]
    if timeline.note:
        lines.append(Line("timeline", Level.UNKNOWN, timeline.note, f"manage.py errors --since 24h --user {person.pk}"))
    return Report(f"Person {person.pk}", tuple(lines), table, {"person": str(person.pk), "counts": counts})


def count_everything(person: User, *, may_view: timelines.MayView) -> dict[str, str]:
    """Return what the person has, by its name, as far as the reader may view it."""
    found = {
        "account": f"{'active' if person.is_active else 'inactive'}{', staff' if person.is_staff else ''}",
        "since": f"{person.created_at:%Y-%m-%d}",
    }
    if may_view(Wallet):
        wallet = Wallet.objects.filter(user=person).first()
        coins = f"{wallet.balance:,} coins, {wallet.reserved:,} held, {wallet.owed:,} owed" if wallet else "none"
        found["wallet"] = f"{wallet.pk}: {coins}" if wallet else coins
    for name, model, rows in (
        ("chats", Chat, Chat.objects.filter(owner=person)),
        ("unlocks", GenerationJob, GenerationJob.objects.filter(user=person)),
        ("tokens", AccessToken, person.access_tokens.filter(revoked_at=None)),
    ):
        if may_view(model):
            found[name] = format_count(count(rows))
    return found | {"sessions": str(_count_sessions(person))}


def _count_sessions(person: User) -> int:
    open_sessions = Session.objects.filter(expire_date__gt=Now()).order_by("-expire_date")[:MAX_SESSIONS]
    return sum(session.get_decoded().get("_auth_user_id") == str(person.pk) for session in open_sessions)
