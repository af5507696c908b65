"""Operators erase a person who asks for it: after a preview, as the API does, and without the address in the audit."""

from __future__ import annotations

import pytest
from django.core.management import CommandError

from billing import audit
from billing.models import CoinReservation, CreditTransaction, Wallet
from chats.models import Chat
from insights.models import GenerationJob
from ops import person as people
from relivchats.accounts import tokens
from relivchats.accounts.erasure import erase
from relivchats.accounts.models import AccessToken, User
from relivchats.staff.commands import EXIT_REFUSED
from relivchats.staff.models import AuditEntry
from tests.ops import rows
from tests.ops.test_commands import as_json, call

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("broker")]

EMAIL = "leaving@example.org"


@pytest.fixture
def person() -> User:
    """A person with coins, a token, and a job that is open."""
    user = rows.person(email=EMAIL)
    tokens.issue(user)
    rows.job(owner=user, vector_status="pending")
    return user


def test_the_preview_names_what_is_deleted_and_kept_and_deletes_nothing(person: User) -> None:
    status, answer = as_json("erase", EMAIL)
    lines = {line["name"]: line for line in answer["lines"]}
    assert status == 1
    assert lines["chats"]["text"].startswith("1 deleted")
    assert lines["open insights"]["text"].startswith("2 end; coins that are held go back")
    assert lines["tokens"]["text"] == "1 deleted"
    assert f"{person.wallet.pk} is kept and belongs to nobody" in lines["wallet"]["text"]
    assert lines["coins"]["text"].startswith("1,050 are lost")
    assert lines["erasure"]["remedy"].endswith(f"erase {person.pk} --reason 'asked by mail' --yes")
    assert (User.objects.get(), Chat.objects.count(), AuditEntry.objects.count()) == (person, 1, 0)


def test_the_person_is_erased_and_the_ledger_and_an_audit_entry_without_the_address_stay(person: User) -> None:
    rows.person(email="other@example.org")
    wallet = Wallet.objects.get(user=person)
    status, printed = call("erase", str(person.pk), "--reason", "asked by mail", "--yes")
    assert status == 0
    assert EMAIL not in printed
    assert [user.email for user in User.objects.all()] == ["other@example.org"]
    assert not Chat.objects.exists()
    assert not AccessToken.objects.exists()
    job, reservation = GenerationJob.objects.get(), CoinReservation.objects.get()
    assert (job.user, job.is_open, reservation.status) == (None, False, CoinReservation.Status.RELEASED)
    kept = Wallet.objects.get(pk=wallet.pk)
    assert (kept.user, kept.balance, kept.reserved) == (None, wallet.balance, 0)
    assert CreditTransaction.objects.filter(wallet=kept).exists()
    assert not audit.audit()
    entry = AuditEntry.objects.get(action="erase account")
    assert (entry.object_id, entry.actor, entry.reason, entry.done) == (
        str(person.pk),
        "command",
        "asked by mail",
        True,
    )
    assert EMAIL not in str(list(AuditEntry.objects.values()))


@pytest.mark.parametrize("arguments", [("--yes",), ("--yes", "--reason", " ")], ids=["no reason", "blank reason"])
def test_without_a_reason_nobody_is_erased(person: User, arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match="needs a reason"):
        call("erase", EMAIL, *arguments)
    assert User.objects.get() == person


def test_a_reason_with_the_address_is_refused(person: User) -> None:
    with pytest.raises(CommandError, match="contains the address"):
        call("erase", EMAIL, "--reason", f"a mail of {EMAIL.title()}", "--yes")
    assert (User.objects.get(), AuditEntry.objects.count()) == (person, 0)


@pytest.mark.parametrize("flag", ["is_staff", "is_superuser"])
@pytest.mark.parametrize("confirmed", [(), ("--reason", "asked", "--yes")], ids=["preview", "erase"])
def test_an_account_of_staff_is_refused_as_by_the_api(person: User, flag: str, confirmed: tuple[str, ...]) -> None:
    User.objects.update(**{flag: True})
    with pytest.raises(CommandError, match="Take the status of staff from it in the admin first"):
        call("erase", EMAIL, *confirmed)
    assert User.objects.get() == person


def test_nobody_is_erased_by_an_unknown_address(person: User) -> None:
    with pytest.raises(CommandError, match="no such person"):
        call("erase", "nobody@example.org", "--reason", "asked", "--yes")
    assert (User.objects.get(), AuditEntry.objects.count()) == (person, 0)


def test_a_person_whom_somebody_else_erased_meanwhile_has_no_second_audit_entry(
    person: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = people.find

    def find_and_erase(text: str) -> User:
        found = find(text)
        assert erase(User.objects.get(pk=found.pk))
        return found

    monkeypatch.setattr(people, "find", find_and_erase)
    with pytest.raises(CommandError, match="erased meanwhile") as refusal:
        call("erase", EMAIL, "--reason", "asked by mail", "--yes")
    assert refusal.value.returncode == EXIT_REFUSED
    assert (User.objects.count(), AuditEntry.objects.count()) == (0, 0)
