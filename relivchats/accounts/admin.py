"""Admin pages of users, groups and tokens. The list of users is the only page that shows e-mail addresses."""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, Permission
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import Q, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.debug import sensitive_post_parameters
from unfold import forms
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminEmailInputWidget

from relivchats.accounts import tokens
from relivchats.accounts.models import AccessToken, IdempotencyKey, User
from relivchats.staff.actions import BulkAction
from relivchats.staff.admin import StaffAdmin, label, link
from relivchats.staff.bulk_actions import ActionContext, BatchResult, run_batch
from relivchats.staff.filters import SelectionFilter, StateFilter
from relivchats.staff.lists import ListPage
from relivchats.staff.lookups import DeclaredLookups
from relivchats.staff.markup import short_id


class _LowerCaseEmail:
    """Store e-mail addresses in lower case, and an empty one as NULL: the column is unique."""

    cleaned_data: dict[str, Any]

    def clean_email(self) -> str | None:
        """Return the normalised address, or None."""
        return (self.cleaned_data["email"] or "").strip().lower() or None


class UserCreationForm(_LowerCaseEmail, forms.UserCreationForm):  # type: ignore[misc]
    """The form with which a superuser adds a user. A password is optional: customers sign in with tokens."""

    class Meta:
        model = User
        fields = ("email",)


class CustomerForm(_LowerCaseEmail, ModelForm):  # type: ignore[type-arg]
    """The form for the users that staff may add and change: customers, without a password."""

    class Meta:
        model = User
        fields = ("email", "is_active")
        widgets = {"email": UnfoldAdminEmailInputWidget}


class UserChangeForm(_LowerCaseEmail, ModelForm):  # type: ignore[type-arg]
    """The form with which a superuser changes a user. Unlike Django's, it shows no part of the password's hash."""

    class Meta:
        model = User
        fields = ("email", "is_active", "is_staff", "is_superuser", "groups", "user_permissions")


_PERMISSION_FIELDS = ("is_staff", "is_superuser", "groups", "user_permissions")


@admin.register(User)
class UserAdmin(ListPage, DjangoUserAdmin, ModelAdmin):  # type: ignore[misc,type-arg]
    """Users. Nobody is deleted here. Staff add and change customers; only a superuser changes staff.

    Only a superuser sets a password too: a customer whose password is known could become staff later.
    """

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = forms.AdminPasswordChangeForm
    export_columns = ("id", "is_active", "is_staff", "is_superuser", "created_at", "last_login")
    list_display = ("email", "list_id", "is_active", "is_staff", "created_at")
    list_filter = (("is_staff", StateFilter), ("is_superuser", StateFilter), ("is_active", StateFilter))
    ordering = ("-created_at",)
    search_fields = ("email",)
    search_help_text = "An e-mail address, or an id in full: of the user, or at the identity provider"
    filter_horizontal = ("groups", "user_permissions")
    readonly_fields = ("id", "created_at", "last_login", "external_id", "password_state")
    fieldsets = (
        (None, {"fields": ("email", "password_state", ("id", "external_id"))}),
        ("Permissions", {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")}),
        ("Dates", {"fields": (("created_at", "last_login"),)}),
    )
    add_fieldsets = ((None, {"classes": ("wide",), "fields": ("email", "usable_password", "password1", "password2")}),)
    actions = None
    actions_detail = ("timeline_this",)
    timeline_page = "console:person"
    timeline_this = StaffAdmin.timeline_this

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False: users are erased by the API or `manage.py erase`, which destroy the keys of their chats."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Return whether the user may be changed: only a superuser changes staff and those with permissions."""
        # Asked ten times for a page, and `is_privileged` takes two queries.
        if obj is not None and not _is_superuser(request) and obj.is_privileged:
            return False
        return bool(super().has_change_permission(request, obj))

    def get_form(self, request: HttpRequest, obj: User | None = None, change: bool = False, **kwargs: Any) -> Any:
        """Return the form: without passwords and permissions unless the user is a superuser."""
        if not _is_superuser(request):
            kwargs["form"] = CustomerForm
        return super().get_form(request, obj, change=change, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Return the fields: a new user of staff who are no superusers has only an address."""
        if obj is None and not _is_superuser(request):
            return ((None, {"fields": ("email",)}),)
        return super().get_fieldsets(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        """Make the permission fields read-only unless the user is a superuser; staff could grant themselves more."""
        return self.readonly_fields if _is_superuser(request) else (*self.readonly_fields, *_PERMISSION_FIELDS)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Save the user. A new one has no password unless a superuser sets one, which is recorded."""
        if not change:
            if not _is_superuser(request):
                obj.set_unusable_password()
            if obj.has_usable_password():
                obj.password_set_by = UUID(str(request.user.pk))
        super().save_model(request, obj, form, change)

    @method_decorator(sensitive_post_parameters())
    @transaction.atomic
    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        """Show the page that sets a user's password, and record who set it. Raise PermissionDenied to all others."""
        if not _is_superuser(request):
            raise PermissionDenied
        response: HttpResponse = super().user_change_password(request, id, form_url)
        if response.status_code == HTTPStatus.FOUND:
            setter = UUID(str(request.user.pk))
            User.objects.filter(pk=unquote(id)).exclude(pk=setter).update(password_set_by=setter)
        return response

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Return the field. The labels of permissions contain their content types, which are read by one query."""
        if db_field.name == "user_permissions":
            kwargs["queryset"] = Permission.objects.select_related("content_type")
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    @admin.display(description="id")
    def list_id(self, user: User) -> SafeString | str:
        """Return the start of the id, with a button that copies it."""
        return short_id(user.pk)

    @admin.display(description="password")
    def password_state(self, user: User) -> SafeString | str:
        """Return whether the user has a password, and the other user who last set it."""
        if not user.has_usable_password():
            return "none: only tokens can be used"
        return format_html("set; by another user: {}", link(User, user.password_set_by))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[User], search_term: str
    ) -> tuple[QuerySet[User], bool]:
        """Filter by e-mail address, external id or id, exactly."""
        term = search_term.strip()
        if not term:
            return queryset, False
        matches = Q(email=term.lower()) | Q(external_id=term)
        with suppress(ValidationError):
            matches |= Q(pk=User._meta.pk.to_python(term))
        return queryset.filter(matches), False


def _is_superuser(request: HttpRequest) -> bool:
    return request.user.is_superuser


def revoke_tokens(rows: QuerySet[AccessToken], *, context: ActionContext) -> BatchResult:
    """Revoke these tokens, each with an audit entry."""
    return run_batch("revoke token", rows, tokens.revoke, context=context)


REVOKE = BulkAction(
    name="revoke",
    title="Revoke",
    consequence="Programs that use these tokens are refused from now on. A revoked token cannot be used again.",
    run=revoke_tokens,
    applies=lambda token: token.revoked_at is None,
    is_final=True,
)


class RevokedFilter(SelectionFilter):
    """Tokens by whether they can be used."""

    title = "status"
    parameter_name = "revoked"
    selections = {
        "no": ("in use", lambda tokens: tokens.filter(revoked_at=None)),
        "yes": ("revoked", lambda tokens: tokens.exclude(revoked_at=None)),
    }


@admin.register(AccessToken)
class AccessTokenAdmin(StaffAdmin):
    """The API tokens of all users, without the tokens themselves: only digests are stored."""

    bulk_actions = (REVOKE,)
    export_columns = ("id", "user_id", "created_at", "revoked_at")
    list_display = ("id", "state", "user_link", "age", "revoked_at")
    list_filter = (RevokedFilter,)
    ordering = ("-id",)
    search_ids = ("pk", "user_id")
    fields = (("id", "user_link"), "state", ("created_at", "revoked_at"))
    readonly_fields = ("id", "state", "user_link", "created_at")

    @admin.display(description="user")
    def user_link(self, token: AccessToken) -> SafeString | str:
        """Return a link to the owner."""
        return link(User, token.user_id)

    @label("status", colours={"in use": "success"})
    def state(self, token: AccessToken) -> str:
        """Return whether the token can be used."""
        return "revoked" if token.revoked_at else "in use"


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(StaffAdmin):
    """Idempotency keys: the owner, the status and the times, but neither the key nor the stored response."""

    list_display = ("id", "user_link", "status", "age", "expires_at")
    list_filter = (("status", StateFilter),)
    ordering = ("-id",)
    search_ids = ("pk", "user_id")
    fields = (("id", "user_link"), "status", ("created_at", "lease_expires_at", "expires_at"))
    readonly_fields = ("id", "user_link", "created_at")

    @admin.display(description="user")
    def user_link(self, key: IdempotencyKey) -> SafeString | str:
        """Return a link to the owner."""
        return link(User, key.user_id)


# Django registers this page itself, without the theme's form widgets. The theme's documentation replaces it this way.
admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(DeclaredLookups, DjangoGroupAdmin, ModelAdmin):  # type: ignore[misc]
    """Groups of staff and their permissions. Only a superuser changes them: staff could give their own group more."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return whether the user is a superuser."""
        return _is_superuser(request)

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        """Return whether the user is a superuser."""
        return _is_superuser(request)

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        """Return whether the user is a superuser."""
        return _is_superuser(request)
