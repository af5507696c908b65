"""Admin pages of users, groups and tokens. The list of users is the only page that shows e-mail addresses."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold import forms
from unfold.admin import ModelAdmin

from relivchats.accounts import tokens
from relivchats.accounts.models import AccessToken, IdempotencyKey, User
from relivchats.staff.actions import BulkAction
from relivchats.staff.admin import BoundedPaginator, StaffAdmin, link
from relivchats.staff.bulk_actions import ActionContext, BatchResult, run_batch


class _LowerCaseEmail:
    """Store e-mail addresses in lower case, and an empty one as NULL: the column is unique."""

    cleaned_data: dict[str, Any]

    def clean_email(self) -> str | None:
        """Return the normalised address, or None."""
        return (self.cleaned_data["email"] or "").strip().lower() or None


class UserCreationForm(_LowerCaseEmail, forms.UserCreationForm):  # type: ignore[misc]
    """The form to add a user. A password is optional: customers sign in with tokens."""

    class Meta:
        model = User
        fields = ("email",)


class UserChangeForm(_LowerCaseEmail, forms.UserChangeForm):  # type: ignore[misc]
    """The form to change a user."""

    class Meta:
        model = User
        fields = "__all__"


_PERMISSION_FIELDS = ("is_staff", "is_superuser", "groups", "user_permissions")


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):  # type: ignore[misc,type-arg]
    """Users. Nobody is deleted here, and only a superuser grants permissions."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = forms.AdminPasswordChangeForm
    list_display = ("email", "id", "is_active", "is_staff", "created_at")
    list_filter = ("is_staff", "is_superuser", "is_active")
    ordering = ("-created_at",)
    search_fields = ("email",)
    search_help_text = "An e-mail address, an id or the external id, in full"
    filter_horizontal = ("groups", "user_permissions")
    readonly_fields = ("id", "created_at", "last_login", "external_id")
    fieldsets = (
        (None, {"fields": ("email", "password", ("id", "external_id"))}),
        ("Permissions", {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")}),
        ("Dates", {"fields": (("created_at", "last_login"),)}),
    )
    add_fieldsets = ((None, {"classes": ("wide",), "fields": ("email", "usable_password", "password1", "password2")}),)
    actions = None
    sortable_by = ()
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = BoundedPaginator
    list_per_page = 50

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False: users are erased through the API, which also destroys the keys of their chats."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Return whether the user may be changed: only a superuser changes a superuser, or their password."""
        if obj is not None and obj.is_superuser and not _is_superuser(request):
            return False
        return bool(super().has_change_permission(request, obj))

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        """Make the permission fields read-only unless the user is a superuser; staff could grant themselves more."""
        return self.readonly_fields if _is_superuser(request) else (*self.readonly_fields, *_PERMISSION_FIELDS)

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
    return request.user.is_authenticated and request.user.is_superuser


def revoke_tokens(rows: QuerySet[AccessToken], *, context: ActionContext) -> BatchResult:
    """Revoke these tokens, each with an audit entry."""
    return run_batch("revoke token", rows, tokens.revoke, context=context)


REVOKE = BulkAction(
    name="revoke",
    title="Revoke",
    consequence="Programs that use these tokens are refused from now on. A revoked token cannot be used again.",
    run=revoke_tokens,
)


@admin.register(AccessToken)
class AccessTokenAdmin(StaffAdmin):
    """The API tokens of all users, without the tokens themselves: only digests are stored."""

    bulk_actions = (REVOKE,)
    list_display = ("id", "user_link", "age", "revoked_at")
    ordering = ("-id",)
    search_ids = ("pk", "user_id")
    fields = (("id", "user_link"), ("created_at", "revoked_at"))
    readonly_fields = ("id", "user_link", "created_at")

    @admin.display(description="user")
    def user_link(self, token: AccessToken) -> SafeString | str:
        """Return a link to the owner."""
        return link(User, token.user_id)


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(StaffAdmin):
    """Idempotency keys: the owner, the status and the times, but neither the key nor the stored response."""

    list_display = ("id", "user_link", "status", "age", "expires_at")
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
class GroupAdmin(DjangoGroupAdmin, ModelAdmin):  # type: ignore[misc]
    """Groups of staff and their permissions."""
