"""The erasure of a person by an operator: what it deletes, what the ledger keeps, and the deletion itself."""

from __future__ import annotations

from django.db import transaction

from billing.models import Wallet
from insights.models import Insight
from ops import person, timelines
from relivchats.accounts import erasure
from relivchats.accounts.models import User
from relivchats.errors import Conflict, NotFound
from relivchats.staff.bulk_actions import ActionContext, ActionResult, record
from relivchats.staff.reports import Level, Line, Report, count, format_count
from relivchats.terminal import plural


def report(text: str, *, context: ActionContext | None) -> Report:
    """Return what the erasure of the person with this e-mail address or id deletes; with a context, erase them.

    Raise NotFound, StaffAccount, or Conflict if the reason contains the address: the audit entry is kept.
    """
    user = person.find(text)
    erasure.require_customer(user)
    lines = [*_list_deleted(user), *_list_kept(user)]
    if context is None:
        remedy = f"manage.py erase {user.pk} --reason 'asked by mail' --yes"
        warning = Line("erasure", Level.WARNING, "nothing was deleted yet; it cannot be undone", remedy)
        return Report(f"Erase person {user.pk} (preview)", (*lines, warning))
    if user.email and user.email.lower() in context.reason.lower():
        raise Conflict("The reason contains the address, and the audit entry is kept. Give one without it.")
    with transaction.atomic():
        if not erasure.erase(user):
            raise NotFound(f"Person {user.pk} was erased meanwhile, by somebody else.")
        record("erase account", ActionResult(str(user.pk), done=True, outcome="erased"), context=context)
    return Report(f"Erased person {user.pk}", tuple(lines))


def _list_deleted(user: User) -> list[Line]:
    counts = person.count_everything(user, may_view=timelines.anyone_may)
    number = count(Insight.objects.owned_by(user).open())
    ending = f"{format_count(number)} {'ends' if number == 1 else 'end'}"
    return [
        Line("chats", Level.FINE, f"{counts['chats']} deleted, with insights, questions and encryption keys"),
        Line("open insights", Level.FINE, f"{ending}; coins that are held go back to the wallet"),
        Line("tokens", Level.FINE, f"{counts['tokens']} deleted"),
        Line("sessions", Level.FINE, f"{counts['sessions']} deleted"),
    ]


def _list_kept(user: User) -> list[Line]:
    wallet = Wallet.objects.filter(user=user).first()
    if wallet is None:
        return [Line("wallet", Level.FINE, "none")]
    transactions = format_count(count(wallet.transactions.all()), "transaction")
    orders = format_count(count(wallet.orders.all()), "order")
    text = f"{wallet.pk} is kept and belongs to nobody: {transactions}, {orders}"
    lines = [Line("wallet", Level.FINE, text)]
    if wallet.balance:
        text = f"{plural(wallet.balance, 'is', 'are')} lost, and nothing is paid back: refund first, if they ask for it"
        lines.append(Line("coins", Level.FINE, text))
    return lines
