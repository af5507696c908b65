"""Admin pages of the catalogue: categories and insight types. A changed definition is reviewed before it is saved."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from insights.admin.definitions import InsightTypeForm, find_untranslated, show_definition
from insights.models import Category, InsightType
from relivchats.staff.admin import EditedAdmin, label
from relivchats.staff.filters import StateFilter

_ORIGIN_COLOURS = {"as in the catalogue": "success", "edited": "warning"}


@admin.register(Category)
class CategoryAdmin(EditedAdmin):
    """The categories that are sold. Staff edit prices and texts here."""

    list_display = ("id", "title", "current_price", "display_order", "active")
    list_filter = (("active", StateFilter),)
    fields = ("id", ("title", "icon"), "description", ("price", "engine_prices", "display_order"), "active")

    def get_readonly_fields(self, request: HttpRequest, obj: Category | None = None) -> tuple[str, ...]:
        """Return the id for an existing row: other rows refer to it."""
        return ("id",) if obj else ()


@admin.register(InsightType)
class InsightTypeAdmin(EditedAdmin):
    """The insight types that are sold. A changed definition becomes a new version."""

    form = InsightTypeForm
    change_form_before_template = "insights/admin/review_definition.html"
    list_display = (
        "id",
        "category_id",
        "title",
        "current_price",
        "min_messages",
        "groups",
        "version",
        "origin",
        "active",
    )
    list_filter = (("active", StateFilter), "category")
    fields = (
        "id",
        ("category", "active"),
        ("title", "icon"),
        "purpose",
        ("price", "engine_prices"),
        ("min_messages", "groups", "display_order"),
    )

    class Media:
        css = {"all": ["insights/texts.css"]}

    def get_fields(self, request: HttpRequest, obj: InsightType | None = None) -> list[Any]:
        """Return the definition as a form field only for users who may change it."""
        fields = super().get_fields(request, obj)
        if obj is not None:
            fields += [("origin", "versions"), "translations"]
        may_edit = self.has_change_permission(request, obj) if obj else True
        return [*fields, *(["definition", "reason"] if may_edit else ["shown_definition"])]

    def get_readonly_fields(self, request: HttpRequest, obj: InsightType | None = None) -> tuple[str, ...]:
        """Return the id for an existing row: other rows refer to it."""
        return ("id", "origin", "versions", "translations", "shown_definition") if obj else ()

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Return the page. If only the review is missing, nothing is to be corrected, so there is no list of errors."""
        if context["adminform"].form.only_unreviewed:
            context["errors"] = []
        response: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return response

    def save_model(self, request: HttpRequest, obj: InsightType, form: Any, change: bool) -> None:
        """Save the type, and a new version if its definition changed. Raise Conflict if another one was saved since."""
        from insights import definition_versions

        definition_versions.save_type(
            obj,
            saved_by=f"user {request.user.pk}",
            reason=form.cleaned_data["reason"],
            edited_version=form.cleaned_data["edited_version"],
        )

    @label("origin", colours=_ORIGIN_COLOURS)
    def origin(self, insight_type: InsightType) -> str:
        """Return whether staff edited the type since it was loaded from the files."""
        from insights import catalogue

        return "edited" if catalogue.is_edited(insight_type) else "as in the catalogue"

    @admin.display(description="translations")
    def translations(self, insight_type: InsightType) -> str:
        """Return how many texts of the saved type have no translation, by language: they are shown in English."""
        from insights.translation import get_language
        from insights.validation import InvalidData

        try:
            missing = find_untranslated(insight_type)
        except InvalidData:
            return "The definition is not valid."
        counts = ", ".join(f"{len(texts)} in {get_language(code).name}" for code, texts in missing.items() if texts)
        return f"Without a translation, and shown in English: {counts}." if counts else "All texts are translated."

    @admin.display(description="versions")
    def versions(self, insight_type: InsightType) -> SafeString:
        """Return a link to the versions of the definition."""
        address = reverse("admin:insights_insighttypeversion_changelist")
        return format_html(
            '<a href="{}?insight_type__id__exact={}">version {} and earlier ones</a>',
            address,
            insight_type.pk,
            insight_type.version,
        )

    @admin.display(description="definition")
    def shown_definition(self, insight_type: InsightType) -> SafeString:
        """Return the definition with its line breaks."""
        return show_definition(insight_type.definition)
