"""A member of staff can do what each permission names, and nothing that leads to more.

The pages, views and bulk actions are those of the registry, so a new one is tested without a change here. If it takes
another permission than its name says, it is listed below.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.auth.models import Group, Permission
from django.contrib.messages.storage.fallback import FallbackStorage
from django.contrib.sessions.models import Session
from django.core.exceptions import SuspiciousOperation
from django.core.management import call_command
from django.db import DatabaseError, models
from django.test import Client, RequestFactory
from django.urls import URLPattern, reverse

from billing.models import Adjustment, PaymentOrder
from insights.models import DispatchPause, GenerationJob, InsightTypeVersion, UnlockPause
from ops import staff_groups
from ops.console import live
from ops.console import urls as console_urls
from ops.monitoring_models import ErrorEvent
from relivchats.accounts import tokens
from relivchats.accounts.models import AccessToken, User
from relivchats.staff import exports
from relivchats.staff.admin import EditedAdmin
from relivchats.staff.models import AuditEntry
from tests.admin import everything
from tests.ops import rows

pytestmark = pytest.mark.django_db

#: Pages of the whole site. They show nothing of a row, or check the permissions of each model that they list.
SITE_PAGES = {
    "index", "login", "logout", "password_change", "password_change_done", "autocomplete", "jsi18n", "view_on_site",
    "app_list", "search",
}  # fmt: skip
#: Views that change nothing and take the permission to view. Any other view of a model takes that to change.
VIEWS_TO_READ = {"changelist", "change", "history", "compare", "preview", "timeline_this"}
#: Models other than those of an EditedAdmin whose rows staff add.
ADDED_BY_STAFF = {DispatchPause, UnlockPause, User}
#: Views that take several permissions together.
TOGETHER = {
    "accounts_user_add": [{"accounts.add_user", "accounts.change_user"}],
    "chats_chat_open_this": [
        {"chats.view_chat", "chats.add_contentaccess"},
        {"chats.change_chat", "chats.add_contentaccess"},
    ],
    "chats_contentaccess_messages_this": [{"chats.add_contentaccess"}],
    "insights_insighttypeversion_restore_this": [{"insights.view_insighttypeversion", "insights.change_insighttype"}],
}
ONLY_SUPERUSERS = {"auth_group_add", "auth_user_password_change"}


class Page(NamedTuple):
    """A view of a model's admin. Each set of `needed` opens it; if there is none, only superusers may."""

    model: type[models.Model]
    name: str
    of_a_row: bool
    needed: list[set[str]]

    def address(self) -> str:
        row = self.model._default_manager.order_by("pk").first()
        assert row is not None, f"no {self.model.__name__} to open"
        if self.model is User:
            row = User.objects.get(email="customer@example.org")
        return reverse(f"admin:{self.name}", args=[row.pk] if self.of_a_row else [])


def list_pages() -> Iterator[Page]:
    for model, model_admin in admin.site._registry.items():
        prefix = f"{model._meta.app_label}_{model._meta.model_name}_"
        for pattern in model_admin.get_urls():
            # The only view without a name redirects to the page of the row.
            if pattern.name:
                suffix = pattern.name.removeprefix(prefix)
                of_a_row = bool(pattern.pattern.regex.groups)
                yield Page(model, pattern.name, of_a_row, _needed(model, pattern.name, suffix))


def _needed(model: type[models.Model], name: str, suffix: str) -> list[set[str]]:
    if name in TOGETHER:
        return TOGETHER[name]
    # Nothing is deleted in the admin but groups, by superusers.
    if name in ONLY_SUPERUSERS or suffix == "delete":
        return []
    if suffix == "add":
        added = model in ADDED_BY_STAFF or isinstance(admin.site._registry[model], EditedAdmin)
        return [{codename(model, "add")}] if added else []
    view, change = codename(model, "view"), codename(model, "change")
    if suffix == "export":
        return [{view, exports.PERMISSION}, {change, exports.PERMISSION}]
    return [{view}, {change}] if suffix in VIEWS_TO_READ else [{change}]


def codename(model: type[models.Model], action: str) -> str:
    return f"{model._meta.app_label}.{action}_{model._meta.model_name}"


class Clerk:
    """A member of staff whose permissions a test chooses."""

    def __init__(self) -> None:
        self.user = User.objects.create_user("clerk@example.org", is_staff=True)
        self.all = {
            f"{permission.content_type.app_label}.{permission.codename}": permission
            for permission in Permission.objects.select_related("content_type")
        }
        # An error is a response here, so that a refusal that is none shows its address.
        self.client = Client(raise_request_exception=False)
        self.client.force_login(self.user)

    def may(self, *names: str) -> Client:
        """Give exactly these permissions, and return the client."""
        self.user.user_permissions.set([self.all[name] for name in names])
        return self.client

    def may_all_but(self, *names: str) -> Client:
        return self.may(*(self.all.keys() - set(names)))


@pytest.fixture
def clerk() -> Clerk:
    everything.one_of_each(1)
    User.objects.create_user("customer@example.org")
    return Clerk()


def snapshot() -> dict[str, str]:
    """Return a digest of the rows of every table, without sessions."""
    digests = {}
    for model in apps.get_models(include_auto_created=True):
        if model is not Session and model._meta.db_table != "users_user_permissions":
            values = sorted(map(str, model._base_manager.values_list()))
            digests[model._meta.db_table] = hashlib.sha256("\n".join(values).encode()).hexdigest()
    return digests


def missing_one(page: Page) -> Iterator[set[str]]:
    """Yield each set of permissions without which the page must not open."""
    if page.name.endswith("_export"):
        yield {exports.PERMISSION}
        yield {name for names in page.needed for name in names} - {exports.PERMISSION}
    elif len(page.needed) == 1:
        yield from ({name} for name in page.needed[0])
    else:
        yield {name for names in page.needed for name in names}


def test_every_page_of_the_site_is_known() -> None:
    names = {pattern.name for pattern in admin.site.get_urls() if isinstance(pattern, URLPattern) and pattern.name}
    assert names == SITE_PAGES


def test_a_page_opens_with_its_permission_alone(clerk: Clerk) -> None:
    refused = []
    for page in list_pages():
        for names in page.needed:
            # The page of a timeline is that of the console.
            answer = clerk.may(*names).get(page.address(), follow=True)
            if answer.status_code != 200:
                refused.append((page.name, sorted(names), answer.status_code))
    assert refused == []


def test_a_page_does_not_open_with_all_other_permissions_together(clerk: Clerk) -> None:
    before = snapshot()
    opened = []
    for page in list_pages():
        for missing in missing_one(page):
            client = clerk.may_all_but(*missing)
            for answer in (client.get(page.address()), client.post(page.address(), {"reason": "test", "amount": 1})):
                if answer.status_code != 403:
                    opened.append((page.name, sorted(missing), answer.status_code))
    assert opened == []
    assert snapshot() == before


def test_a_page_is_not_saved_with_all_permissions_but_the_one_to_change(clerk: Clerk) -> None:
    before = snapshot()
    saved = []
    for page in list_pages():
        if page.name.endswith("_change"):
            client = clerk.may_all_but(codename(page.model, "change"))
            answer = client.post(page.address(), {"title": "Mine", "price": 1, "coins": 1, "email": "x@example.org"})
            if answer.status_code != 403:
                saved.append((page.name, answer.status_code))
    assert saved == []
    assert snapshot() == before


def test_no_action_runs_with_all_permissions_but_its_own(clerk: Clerk) -> None:
    before = snapshot()
    run = 0
    for model, model_admin in admin.site._registry.items():
        row: Any = model._default_manager.first()
        names = [action.name for action in getattr(model_admin, "bulk_actions", ())]
        change = "insights.change_insighttype" if model is InsightTypeVersion else codename(model, "change")
        client = clerk.may_all_but(change)
        for name in [*names, "delete_selected"]:
            values = {"action": name, "_selected_action": [str(row.pk)], "reason": "test", "post": "yes"}
            assert client.post(everything.list_address(model), values).status_code in (200, 302), (model, name)
            run += 1
    assert run > len(admin.site._registry)
    assert snapshot() == before


def test_the_groups_of_staff_are_set_up_once_and_open_what_they_name_and_nothing_else(clerk: Clerk) -> None:
    call_command("staff_groups", yes=True, stdout=io.StringIO())
    before = snapshot()
    call_command("staff_groups", yes=True, stdout=io.StringIO())
    assert snapshot() == before
    pages = [page for page in list_pages() if page.of_a_row and not page.name.endswith(("_change", "_history"))]
    clerk.may()
    wrong = []
    for group in Group.objects.filter(name__in=staff_groups.GROUPS):
        clerk.user.groups.set([group])
        names = {f"{each.content_type.app_label}.{each.codename}" for each in group.permissions.all()}
        assert {name for name in names if ".view_" not in name} == set(staff_groups.GROUPS[group.name])
        for page in pages:
            may = any(needed <= names for needed in page.needed)
            answer = clerk.client.get(page.address())
            if (answer.status_code == 403) is may:
                wrong.append((group.name, page.name, answer.status_code))
    assert wrong == []


#: The pages of the console by the name of their pattern, with the model of the row that each shows. Those without one
#: open for all staff, and show only what the reader may view. A live page has a model of its own.
CONSOLE: dict[str, type[models.Model] | None] = {
    "overview": None,
    "find": None,
    "person": User,
    "payment": PaymentOrder,
    "job": GenerationJob,
}


def console_pages() -> Iterator[tuple[str, type[models.Model] | None]]:
    """Yield the address of each page of the console, and the model that it takes the permission to view."""
    for pattern in console_urls.urlpatterns:
        assert pattern.name
        if pattern.name == "live":
            for name, page in live.PAGES.items():
                yield reverse("console:live", args=[name]), page.model
        else:
            # A new page must be listed above.
            model = CONSOLE[pattern.name]
            row = model._default_manager.order_by("pk").first() if model else None
            yield reverse(f"console:{pattern.name}", args=[row.pk] if row else []), model


def test_a_page_of_the_console_opens_with_the_permission_for_its_model_and_not_without(clerk: Clerk) -> None:
    rows.everything_alive()
    opened: dict[str, list[int]] = {}
    expected: dict[str, list[int]] = {}
    for address, model in console_pages():
        names = {codename(model, "view"), codename(model, "change")} if model else set()
        statuses = [clerk.may(name).get(address).status_code for name in sorted(names)]
        statuses.append(clerk.may_all_but(*names).get(address).status_code)
        statuses.append(clerk.may().get(address).status_code)
        opened[address] = statuses
        expected[address] = [200] * len(names) + [403 if model else 200] * 2
    assert opened == expected
    assert len(opened) == len(CONSOLE) + len(live.PAGES)


def test_every_group_of_staff_opens_every_page_of_the_console_and_nobody_else_does(clerk: Clerk) -> None:
    call_command("staff_groups", yes=True, stdout=io.StringIO())
    clerk.may()
    customer = Client()
    customer.force_login(User.objects.get(email="customer@example.org"))
    for address, _ in console_pages():
        for group in Group.objects.filter(name__in=staff_groups.GROUPS):
            clerk.user.groups.set([group])
            assert clerk.client.get(address).status_code == 200, (group.name, address)
        for stranger in (customer, Client()):
            answer = stranger.get(address)
            assert (answer.status_code, answer["Location"].split("?")[0]) == (302, "/admin/login/"), address


def test_no_page_of_the_console_takes_a_post(desk: Client, clerk: Clerk) -> None:
    """What changes something is an action of a model, which asks for a reason."""
    before = snapshot()
    for address, _ in console_pages():
        assert desk.post(address, {"reason": "test", "action": "run_now"}).status_code == 405, address
    assert snapshot() == before


def test_the_pages_of_the_site_show_nothing_without_a_permission(clerk: Clerk) -> None:
    client = clerk.may()
    page = client.get("/admin/")
    assert page.status_code == 200
    assert page.context["items"] == page.context["app_list"] == []
    customer = User.objects.get(email="customer@example.org")
    for label in {model._meta.app_label for model in admin.site._registry}:
        assert client.get(reverse("admin:app_list", args=[label])).status_code == 404
    found = client.get(reverse("admin:search"), {"s": "customer", "extended": "1"})
    assert "customer@example.org" not in found.content.decode()
    content_type = Permission.objects.get(codename="view_user").content_type_id
    assert client.get(reverse("admin:view_on_site", args=[content_type, customer.pk])).status_code == 404


def test_suggestions_take_the_permission_to_view_what_is_suggested(clerk: Clerk) -> None:
    asked = 0
    for model in admin.site._registry:
        for field in model._meta.get_fields():
            remote: Any = field.related_model
            if not field.concrete or remote not in admin.site._registry:
                continue
            client = clerk.may_all_but(codename(remote, "view"), codename(remote, "change"))
            source = {"app_label": model._meta.app_label, "model_name": str(model._meta.model_name)}
            answer = client.get(reverse("admin:autocomplete"), {**source, "field_name": field.name, "term": ""})
            assert answer.status_code == 403, (model, field.name)
            asked += 1
    assert asked > 10


def privileged_users() -> dict[str, User]:
    """Return one user of each kind that only superusers may change."""
    group = Group.objects.create(name="support")
    grouped = User.objects.create_user("grouped@example.org")
    grouped.groups.add(group)
    granted = User.objects.create_user("granted@example.org")
    granted.user_permissions.add(Permission.objects.get(codename="change_wallet"))
    return {
        "staff": User.objects.create_user("staff2@example.org", is_staff=True),
        "superuser": User.objects.create_user("boss@example.org", is_staff=True, is_superuser=True),
        "superuser without access": User.objects.create_user("former@example.org", is_superuser=True),
        "member of a group": grouped,
        "holder of a permission": granted,
    }


def test_staff_with_all_permissions_cannot_change_staff(clerk: Clerk) -> None:
    others = {**privileged_users(), "the clerk": clerk.user}
    client = clerk.may_all_but()
    before = snapshot()
    for kind, user in others.items():
        page = reverse("admin:accounts_user_change", args=[user.pk])
        assert client.post(page, {"email": "mine@example.org", "is_active": ""}).status_code == 403, kind
        password = reverse("admin:auth_user_password_change", args=[user.pk])
        values = {"password1": "x9" * 12, "password2": "x9" * 12, "usable_password": "true"}
        assert client.post(password, values).status_code == 403, kind
    assert snapshot() == before


def test_staff_with_all_permissions_cannot_set_the_password_of_a_customer(clerk: Clerk) -> None:
    """The customer may become a member of staff later."""
    customer = User.objects.get(email="customer@example.org")
    client = clerk.may_all_but()
    page = reverse("admin:auth_user_password_change", args=[customer.pk])
    assert client.get(page).status_code == 403
    assert client.post(page, {"password1": "x9" * 12, "password2": "x9" * 12}).status_code == 403
    values = {"email": "added@example.org", "password1": "x9" * 12, "password2": "x9" * 12, "usable_password": "true"}
    assert client.post(reverse("admin:accounts_user_add"), {**values, "is_staff": "on"}).status_code == 302
    added = User.objects.get(email="added@example.org")
    assert not added.has_usable_password()
    assert not added.is_privileged


def test_a_refused_password_is_known_to_nobody(desk: Client) -> None:
    customer = User.objects.create_user("customer@example.org")
    page = reverse("admin:auth_user_password_change", args=[customer.pk])
    answer = desk.post(page, {"password1": "short", "password2": "other", "usable_password": "true"})
    assert answer.status_code == 200
    customer.refresh_from_db()
    assert (customer.password_set_by, customer.has_usable_password()) == (None, False)


def test_staff_with_all_permissions_grant_none(clerk: Clerk) -> None:
    group = Group.objects.create(name="mine")
    clerk.user.groups.add(group)
    client = clerk.may_all_but()
    permission = Permission.objects.get(codename="change_wallet")
    customer = User.objects.get(email="customer@example.org")
    values: dict[str, Any] = {
        "email": "renamed@example.org", "is_staff": "on", "is_superuser": "on", "password": "x",
        "groups": [str(group.pk)], "user_permissions": [str(permission.pk)], "password_set_by": str(clerk.user.pk),
        "external_id": "mine",
    }  # fmt: skip
    assert client.post(reverse("admin:accounts_user_change", args=[customer.pk]), values).status_code == 302
    customer.refresh_from_db()
    assert (customer.email, customer.is_active) == ("renamed@example.org", False)
    assert not customer.is_privileged
    assert (customer.password_set_by, customer.external_id, customer.has_usable_password()) == (None, None, False)
    before = snapshot()
    page = reverse("admin:auth_group_change", args=[group.pk])
    assert client.post(page, {"name": "mine", "permissions": [str(permission.pk)]}).status_code == 403
    assert client.post(reverse("admin:auth_group_delete", args=[group.pk]), {"post": "yes"}).status_code == 403
    assert client.post(reverse("admin:auth_group_add"), {"name": "another"}).status_code == 403
    assert snapshot() == before


def test_a_superuser_grants_permissions_and_sets_passwords(desk: Client, staff: User) -> None:
    User.objects.create_user("customer@example.org")
    colleague = User.objects.create_user("colleague@example.org")
    group = Group.objects.create(name="support")
    values = {"email": "colleague@example.org", "is_active": "on", "is_staff": "on", "groups": [str(group.pk)]}
    assert desk.post(reverse("admin:accounts_user_change", args=[colleague.pk]), values).status_code == 302
    set_password(desk, colleague)
    colleague.refresh_from_db()
    assert (colleague.is_staff, list(colleague.groups.all())) == (True, [group])
    assert colleague.check_password(PASSWORD)
    assert colleague.password_set_by == staff.pk
    assert User.objects.filter(password_set_by=staff.pk).count() == 1
    page = desk.get(reverse("admin:accounts_user_change", args=[colleague.pk])).content.decode()
    _, _, setter = page.partition("set; by another user: ")
    assert f'href="/admin/accounts/user/{staff.pk}/change/"' in setter[:300]


PASSWORD = "a long and unusual one 7"


def set_password(client: Client, user: User) -> None:
    """Set a user's password on the page for it."""
    page = reverse("admin:auth_user_password_change", args=[user.pk])
    answer = client.post(page, {"password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"})
    assert answer.status_code == 302


def test_the_own_password_is_not_set_by_somebody_else(desk: Client, staff: User) -> None:
    set_password(desk, staff)
    staff.refresh_from_db()
    assert staff.check_password(PASSWORD)
    assert staff.password_set_by is None


def test_a_password_is_set_only_if_it_is_recorded_who_set_it(desk: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    colleague = User.objects.create_user("colleague@example.org")
    update = models.QuerySet.update

    def fail(rows: Any, **values: Any) -> int:
        if "password_set_by" in values:
            raise DatabaseError
        return update(rows, **values)

    monkeypatch.setattr(models.QuerySet, "update", fail)
    with pytest.raises(DatabaseError):
        set_password(desk, colleague)
    colleague.refresh_from_db()
    assert not colleague.has_usable_password()


def test_the_password_of_a_new_user_is_known_to_who_added_them(desk: Client, staff: User) -> None:
    values = {"email": "new@example.org", "usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
    assert 'name="password1"' in desk.get(reverse("admin:accounts_user_add")).content.decode()
    assert desk.post(reverse("admin:accounts_user_add"), values).status_code == 302
    assert User.objects.get(email="new@example.org").password_set_by == staff.pk
    desk.post(reverse("admin:accounts_user_add"), {"email": "tokens@example.org", "usable_password": "false"})
    assert User.objects.get(email="tokens@example.org").password_set_by is None, "there is no password"
    other = User.objects.create_user("other@example.org", PASSWORD)
    change = reverse("admin:accounts_user_change", args=[other.pk])
    assert desk.post(change, {"email": "changed@example.org", "is_active": "on"}).status_code == 302
    other.refresh_from_db()
    assert (other.email, other.password_set_by) == ("changed@example.org", None), "nobody set it on this page"


def approve_as(user: User) -> str:
    """Approve the adjustment that is waiting, and return its status."""
    client = Client()
    # Read again: a session ends when the password changes.
    client.force_login(User.objects.get(pk=user.pk))
    proposal = Adjustment.objects.get()
    chosen = {"action": "approve", "_selected_action": [str(proposal.pk)], "reason": "checked"}
    client.post(everything.list_address(Adjustment), chosen)
    proposal.refresh_from_db()
    return str(proposal.status)


def test_an_account_whose_password_the_author_set_cannot_approve(desk: Client, staff: User) -> None:
    proposal = rows.adjustment()
    Adjustment.objects.filter(pk=proposal.pk).update(proposed_by=f"user {staff.pk}")
    puppet = User.objects.create_user("puppet@example.org", is_staff=True, is_superuser=True)
    set_password(desk, puppet)
    assert approve_as(puppet) == "pending"
    assert "password was set by the person who proposed" in AuditEntry.objects.get().outcome
    # Neither if the password is changed by somebody who knows it, nor through another account.
    puppets = Client()
    puppets.force_login(User.objects.get(pk=puppet.pk))
    values = {"old_password": PASSWORD, "new_password1": "another " + PASSWORD, "new_password2": "another " + PASSWORD}
    assert puppets.post(reverse("admin:password_change"), values).status_code == 302
    assert approve_as(puppet) == "pending"
    second = User.objects.create_user("second@example.org", is_staff=True, is_superuser=True)
    set_password(puppets, second)
    assert approve_as(second) == "pending"
    # Once somebody else set it, the author does not know it.
    other = Client()
    other.force_login(User.objects.create_user("other@example.org", is_staff=True, is_superuser=True))
    set_password(other, second)
    assert approve_as(second) == "approved"


def test_accounts_that_set_each_others_passwords_are_compared_once(staff: User) -> None:
    proposal = rows.adjustment()
    Adjustment.objects.filter(pk=proposal.pk).update(proposed_by=f"user {staff.pk}")
    first, second = (User.objects.create_user(f"{name}@example.org", is_staff=True, is_superuser=True) for name in "ab")
    User.objects.filter(pk=first.pk).update(password_set_by=second.pk)
    User.objects.filter(pk=second.pk).update(password_set_by=first.pk)
    assert approve_as(first) == "approved"


def test_no_page_shows_a_part_of_a_password_or_of_a_token(desk: Client, staff: User) -> None:
    staff.set_password(PASSWORD)
    staff.save()
    desk.force_login(staff)
    token = AccessToken.objects.get(digest=tokens.digest(tokens.issue(staff)))
    _, _, salt, digest = staff.password.split("$")
    secrets = (salt[:6], digest[:6], token.digest[:6])
    addresses = [
        everything.list_address(User), *everything.row_addresses(staff), everything.list_address(AccessToken),
        *everything.row_addresses(token), reverse("admin:auth_user_password_change", args=[staff.pk]),
    ]  # fmt: skip
    for address in addresses:
        page = desk.get(address)
        assert page.status_code == 200
        assert [secret for secret in secrets if secret in page.content.decode()] == [], address


SECRET_COLUMNS = ("password", "digest", "fingerprint", "token", "lease_token", "wrapped_key")


def test_no_page_has_a_field_with_a_secret() -> None:
    for model, model_admin in admin.site._registry.items():
        shown = json.dumps([model_admin.fields, model_admin.fieldsets, model_admin.list_display], default=str)
        names = {field.name for field in model._meta.concrete_fields if field.name in SECRET_COLUMNS}
        # That of an error is made of its place in the code, and groups errors of one cause.
        names -= {"fingerprint"} if model is ErrorEvent else set()
        assert [name for name in names if f'"{name}"' in shown] == [], model


def test_a_column_that_a_list_does_not_show_cannot_be_read_by_filtering(desk: Client, staff: User) -> None:
    token = AccessToken.objects.get(digest=tokens.digest(tokens.issue(staff)))
    answer = desk.get(everything.list_address(AccessToken), {"digest__startswith": token.digest[:4]})
    assert answer.status_code == 302
    for lookup in ("digest__startswith", "user__password__startswith", "user__email__startswith"):
        first, second = (
            desk.get(everything.list_address(AccessToken), {lookup: value}, follow=True)
            for value in (token.digest[:4], "nothing")
        )
        assert (first.status_code, first.status_code) == (second.status_code, second.status_code), lookup
        if first.status_code == 200:
            assert first.context["cl"].result_count == second.context["cl"].result_count == 1


#: A year before the first one, more than a bigint holds, and text for a number.
HOSTILE_VALUES = ("0", "9" * 40, "-1", "x" * 300)
HOSTILE_LOOKUPS = ("{}__year", "{}", "{}__in", "{}__isnull", "{}__regex", "{}__nonsense__x")


def test_no_parameter_of_a_list_is_an_error(staff: User) -> None:
    everything.one_of_each(1)
    for model in admin.site._registry:
        opened = open_list(staff, model, {})
        assert opened is not None
        declared = {parameter for spec in opened.filter_specs for parameter in spec.expected_parameters()}
        for parameter in (*declared, "q", "p", "o", "e", "all", "_to_field"):
            for value in HOSTILE_VALUES:
                open_list(staff, model, {parameter: value})
        for number, field in enumerate(model._meta.concrete_fields):
            # Each lookup is refused for many columns of many models.
            parameter = HOSTILE_LOOKUPS[number % len(HOSTILE_LOOKUPS)].format(field.name)
            if parameter not in declared:
                assert open_list(staff, model, {parameter: "0"}) is None, (model, parameter)


def open_list(staff: User, model: type[models.Model], query: dict[str, str]) -> Any:
    """Return the list with its rows read, or None if the parameters are refused."""
    request = RequestFactory().get(everything.list_address(model), query)
    request.user = staff
    request.session = {}  # type: ignore[assignment]
    request._messages = FallbackStorage(request)  # type: ignore[attr-defined]
    try:
        opened = admin.site._registry[model].get_changelist_instance(request)
    except (IncorrectLookupParameters, SuspiciousOperation):
        return None
    assert len(opened.result_list) <= 200
    return opened


def test_a_malformed_id_is_an_error_of_no_page(staff: User) -> None:
    everything.one_of_each(1)
    client = Client(raise_request_exception=False)
    client.force_login(staff)
    wrong = []
    for page in list_pages():
        if page.of_a_row:
            for value in ("9" * 40, "words", "3f9a6dbe-8b7f-4f7e-9f1b-0c8f5c1f6d11"):
                status = client.get(reverse(f"admin:{page.name}", args=[value])).status_code
                if status not in (302, 400, 403, 404):
                    wrong.append((page.name, value, status))
    for model, model_admin in admin.site._registry.items():
        for action in getattr(model_admin, "bulk_actions", ()):
            for value in ("\0", "9" * 40, "words"):
                values = {"action": action.name, "_selected_action": [value], "reason": "test"}
                status = client.post(everything.list_address(model), values).status_code
                if status not in (200, 302, 400):
                    wrong.append((f"{model.__name__} {action.name}", value, status))
    assert wrong == []


@pytest.mark.parametrize("name", ["autocomplete", "search", "insights_insight_changelist", "insights_category_add"])
@pytest.mark.parametrize("query", [{"term": "\0"}, {"s": "\0"}, {"category__exact": "\0"}, {"\0": "1"}])
def test_a_nul_byte_in_an_address_is_refused(desk: Client, name: str, query: dict[str, str]) -> None:
    assert desk.get(reverse(f"admin:{name}"), query).status_code == 400


def test_a_nul_byte_in_other_addresses_is_left_to_their_views(desk: Client) -> None:
    assert desk.get(reverse("health-live"), {"x": "\0"}).status_code == 200


def test_a_nul_byte_in_the_path_is_refused(desk: Client) -> None:
    assert desk.get(reverse("admin:insights_category_change", args=["\0"])).status_code == 400
