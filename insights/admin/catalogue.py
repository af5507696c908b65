"""Admin pages of the catalogue: categories, insight types and the versions of their definitions."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from insights.models import (
    Category,
    InsightType,
    InsightTypeVersion,
)
from relivchats.staff.admin import EditedAdmin, StaffAdmin


@admin.register(Category)
class CategoryAdmin(EditedAdmin):
    """The categories that are sold. Staff edit prices and texts here."""

    list_display = ("id", "title", "current_price", "display_order", "active")
    list_filter = ("active",)
    fields = ("id", ("title", "icon"), "description", ("price", "engine_prices", "display_order"), "active")

    def get_readonly_fields(self, request: HttpRequest, obj: Category | None = None) -> tuple[str, ...]:
        """Return the id for an existing row: other rows refer to it."""
        return ("id",) if obj else ()


class InsightTypeForm(forms.ModelForm):  # type: ignore[type-arg]
    """The form of an insight type. It rejects a definition that is not valid."""

    class Meta:
        model = InsightType
        fields = (
            "id",
            "category",
            "title",
            "icon",
            "purpose",
            "price",
            "engine_prices",
            "groups",
            "min_messages",
            "display_order",
            "active",
            "definition",
        )

    def clean_definition(self) -> Any:
        """Return the definition. Raise a ValidationError that lists every error with its location."""
        # Importing the pydantic models takes 0.35 s, and of all pages only this form needs them.
        from insights.definition import Definition
        from insights.validation import InvalidData

        definition = self.cleaned_data["definition"]
        try:
            Definition.parse(definition)
        except InvalidData as error:
            raise ValidationError(["This definition is not valid.", *error.errors]) from None
        return definition


@admin.register(InsightType)
class InsightTypeAdmin(EditedAdmin):
    """The insight types that are sold. A changed definition becomes a new version."""

    form = InsightTypeForm
    list_display = ("id", "category_id", "title", "current_price", "min_messages", "groups", "version", "active")
    list_filter = ("active", "category")
    fields = (
        "id",
        ("category", "active"),
        ("title", "icon"),
        "purpose",
        ("price", "engine_prices"),
        ("min_messages", "groups", "display_order"),
        "definition",
    )

    def get_readonly_fields(self, request: HttpRequest, obj: InsightType | None = None) -> tuple[str, ...]:
        """Return the id for an existing row: other rows refer to it."""
        return ("id",) if obj else ()

    def save_model(self, request: HttpRequest, obj: InsightType, form: Any, change: bool) -> None:
        """Save the type, and a new version if its definition changed."""
        from insights import catalogue

        catalogue.save_type(obj)


@admin.register(InsightTypeVersion)
class InsightTypeVersionAdmin(StaffAdmin):
    """All versions of the definitions, read-only."""

    list_display = ("id", "insight_type_id", "version", "age")
    list_filter = ("insight_type",)
    ordering = ("-id",)
    fields = (("id", "insight_type_id", "version"), "created_at", "definition")
    readonly_fields = ("id", "insight_type_id", "created_at")
