"""People for staff, and who among the staff may do what. The only page that shows an e-mail address."""

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


class UserCreationForm(forms.UserCreationForm):  # type: ignore[misc]
    class Meta:
        model = User
        fields = ("email",)

    def clean_email(self) -> str | None:
        return (self.cleaned_data["email"] or "").strip().lower() or None


class UserChangeForm(forms.UserChangeForm):  # type: ignore[misc]
    class Meta:
        model = User
        fields = "__all__"

    def clean_email(self) -> str | None:
        return (self.cleaned_data["email"] or "").strip().lower() or None


_POWERS = ("is_staff", "is_superuser", "groups", "user_permissions")


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):  # type: ignore[misc,type-arg]
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = forms.AdminPasswordChangeForm
    list_display = ("email", "id", "is_active", "is_staff", "created_at")
    list_filter = ("is_staff", "is_superuser", "is_active")
    ordering = ("-created_at",)
    search_fields = ("email",)
    search_help_text = "An e-mail address, an id or the identity provider's name, in full"
    filter_horizontal = ("groups", "user_permissions")
    readonly_fields = ("id", "created_at", "last_login", "external_id")
    fieldsets = (
        (None, {"fields": ("email", "password", ("id", "external_id"))}),
        ("May", {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")}),
        ("When", {"fields": (("created_at", "last_login"),)}),
    )
    add_fieldsets = ((None, {"classes": ("wide",), "fields": ("email", "usable_password", "password1", "password2")}),)
    actions = None
    sortable_by = ()
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = BoundedPaginator
    list_per_page = 50

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """People leave through erasure, which destroys their chats' keys too."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Only a superuser touches another superuser, or their password."""
        if obj is not None and obj.is_superuser and not _is_superuser(request):
            return False
        return bool(super().has_change_permission(request, obj))

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        """Only a superuser gives powers, or somebody with few could give themselves all."""
        return self.readonly_fields if _is_superuser(request) else (*self.readonly_fields, *_POWERS)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[User], search_term: str
    ) -> tuple[QuerySet[User], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        named = Q(email=term.lower()) | Q(external_id=term)
        with suppress(ValidationError):
            named |= Q(pk=User._meta.pk.to_python(term))
        return queryset.filter(named), False


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

    @admin.display(description="person")
    def user_link(self, token: AccessToken) -> SafeString | str:
        return link(User, token.user_id)


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(StaffAdmin):
    """That a request was sent under a key, and how it was answered: never the key or the answer itself."""

    list_display = ("id", "user_link", "status", "age", "expires_at")
    ordering = ("-id",)
    search_ids = ("pk", "user_id")
    fields = (("id", "user_link"), "status", ("created_at", "lease_expires_at", "expires_at"))
    readonly_fields = ("id", "user_link", "created_at")

    @admin.display(description="person")
    def user_link(self, key: IdempotencyKey) -> SafeString | str:
        return link(User, key.user_id)


admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ModelAdmin):  # type: ignore[misc]
    pass
