"""Edit, compare and restore the definitions of insight types. All pages show them as indented JSON."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from insights.models import InsightType, InsightTypeVersion
from insights.text_diffs import DiffLine, compare_texts
from relivchats.staff.actions import BulkAction, get_row_or_404
from relivchats.staff.admin import StaffAdmin, actor_column, label
from relivchats.staff.bulk_actions import ActionContext, BatchResult

# Importing the pydantic models takes 0.35 s, and of all pages only these need them. Functions that do import them.

_FILE = "file"
_UNREVIEWED = "Not saved yet. Check the changes and what a model is sent, then save again."
_PROMPTS = {"write": "Write the claims of an insight", "verify": "Check the claims against their messages"}


@dataclass(frozen=True, slots=True)
class PromptPreview:
    """What a model would be sent about the sample chat, and how it differs from what it is sent now."""

    title: str
    text: str
    lines: list[DiffLine]


@dataclass(frozen=True, slots=True)
class Review:
    """What staff see before a definition is saved. `file_lines` is None if no file of the catalogue has the type."""

    lines: list[DiffLine]
    file_lines: list[DiffLine] | None
    prompts: list[PromptPreview]
    #: The texts without a translation, by the codes of the languages that show them in English, such as `de, es`.
    untranslated: Mapping[str, Sequence[str]]


class DefinitionField(forms.JSONField):
    """A definition as indented JSON. An error names its line or the section."""

    widget = UnfoldAdminTextareaWidget

    def to_python(self, value: Any) -> Any:
        """Return the parsed JSON. Raise a ValidationError with the line and the column."""
        # PostgreSQL cannot store this character in a JSON column.
        for number, line in enumerate(str(value or "").splitlines(), start=1):
            if "\\u0000" in line or "\x00" in line:
                raise ValidationError(f"Line {number}: the character \\u0000 cannot be stored.")
        try:
            return json.loads(value) if value else None
        except json.JSONDecodeError as error:
            raise ValidationError(f"Line {error.lineno}, column {error.colno}: {error.msg}.") from None
        except (ValueError, RecursionError):
            raise ValidationError("A number is too long, or the lists are nested too deeply.") from None

    def bound_data(self, data: Any, initial: Any) -> Any:
        """Return what the field shows again: the parsed JSON, or the text if it cannot be parsed."""
        try:
            return super().bound_data(data, initial)
        except (ValueError, RecursionError):
            return data

    def prepare_value(self, value: Any) -> Any:
        """Return the JSON with one entry of a list per line; text that is no JSON as it was entered."""
        from insights.definition_versions import format_definition

        return value if isinstance(value, str) else format_definition(value)

    def validate(self, value: Any) -> None:
        """Raise a ValidationError that lists every error with its location."""
        from insights.definition import Definition
        from insights.validation import InvalidData

        super().validate(value)
        try:
            Definition.parse(value)
        except InvalidData as error:
            raise ValidationError(["This definition is not valid.", *error.errors]) from None


class InsightTypeForm(forms.ModelForm):  # type: ignore[type-arg]
    """The form of an insight type. A changed definition is saved by the second submission: the first shows `review`.

    `reviewed` is the digest of the definition that was shown; `edited_version` is what the editor started from.
    """

    definition = DefinitionField(
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 24, "class": "definition", "spellcheck": "false"}),
        help_text="Sections, scales, facts and queries. What changes is shown before it is saved as a new version.",
    )
    reason = forms.CharField(
        max_length=200,
        required=False,
        label="Reason for the change",
        widget=UnfoldAdminTextInputWidget,
        help_text="Required for a changed definition, and stored with its version.",
    )
    reviewed = forms.CharField(required=False, widget=forms.HiddenInput)
    edited_version = forms.IntegerField(required=False, widget=forms.HiddenInput)

    review: Review | None = None
    #: Whether nothing but the review is missing.
    only_unreviewed = False

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

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("purpose", "engine_prices"):
            if name in self.fields:
                self.fields[name].widget.attrs["rows"] = 3
        # A user who may only view the type has no form fields.
        if "edited_version" in self.fields and self.instance.pk:
            self.initial["edited_version"] = self.instance.version

    def clean(self) -> dict[str, Any]:
        """Return the values if the definition is unchanged, or if it is the one that was reviewed."""
        values = super().clean() or self.cleaned_data
        stored = self.initial.get("definition")
        if "definition" not in values or values["definition"] == stored:
            return values
        if not values.get("reason"):
            self.add_error("reason", "Say why the definition changes.")
        current = self.initial.get("edited_version")
        if values.get("edited_version") != current and self.instance.pk:
            self.add_error(None, f"Version {current} was saved meanwhile. The changes are compared with it now.")
        self.only_unreviewed = not self.errors
        digest = hashlib.sha256(json.dumps([current, values["definition"]]).encode()).hexdigest()
        if values.get("reviewed") != digest:
            self.add_error(None, _UNREVIEWED)
        if self.errors:
            self.review = _review(self.instance, stored=stored, values=values)
            # The page is rendered with what was posted, and must post what it shows now.
            shown = {"reviewed": digest, "edited_version": "" if current is None else str(current)}
            self.data = self.data.copy()  # type: ignore[attr-defined]
            self.data.update(shown)  # type: ignore[attr-defined]
        return values


def _review(insight_type: InsightType, *, stored: Any, values: dict[str, Any]) -> Review:
    from insights import catalogue
    from insights.definition_versions import format_definition

    changed = copy.copy(insight_type)
    for name, value in values.items():
        if name in InsightTypeForm.Meta.fields:
            setattr(changed, name, value)
    text = format_definition(values["definition"])
    in_file = catalogue.find_definition(changed.pk) if changed.pk else None
    prompts = []
    for name, title in _PROMPTS.items():
        sent = _render_prompt(name, changed)
        before = _render_prompt(name, insight_type) if insight_type.pk and stored else ""
        prompts.append(PromptPreview(title, sent, compare_texts(before, sent)))
    return Review(
        lines=compare_texts(format_definition(stored) if stored else "", text),
        file_lines=None if in_file is None else compare_texts(format_definition(in_file), text),
        prompts=prompts,
        untranslated=_group_untranslated(changed),
    )


def find_untranslated(insight_type: InsightType) -> Mapping[str, Sequence[str]]:
    """Return the texts of a type that have no translation, by the code of the language. Raise InvalidData."""
    from insights.definition import Definition
    from insights.translation import LANGUAGES, get_language
    from insights.validation import list_texts

    definition = Definition.parse(insight_type.definition)
    texts = dict.fromkeys(
        [insight_type.title, insight_type.purpose, *(text for _, text in list_texts(definition, location=""))]
    )
    return {code: [text for text in texts if not get_language(code).has(text)] for code in LANGUAGES}


def _group_untranslated(insight_type: InsightType) -> Mapping[str, Sequence[str]]:
    from insights.validation import InvalidData

    try:
        by_language = find_untranslated(insight_type)
    except InvalidData:
        return {}
    grouped: dict[str, list[str]] = {}
    for text in dict.fromkeys(chain.from_iterable(by_language.values())):
        codes = ", ".join(sorted(code for code, texts in by_language.items() if text in texts))
        grouped.setdefault(codes, []).append(text)
    return grouped


def _render_prompt(name: str, insight_type: InsightType) -> str:
    """Return the instructions and the content that a model is sent about the sample chat; empty for invalid types."""
    from insights import preview
    from insights.validation import InvalidData

    try:
        call = preview.build_call(name, insight_type)
    except InvalidData:
        return ""
    return f"{call.instructions}\n\n{call.content}"


def show_definition(definition: Any) -> SafeString:
    """Return a definition with its line breaks."""
    from insights.definition_versions import format_definition

    return format_html('<pre class="wide-text">{}</pre>', format_definition(definition))


def restore_versions(rows: QuerySet[InsightTypeVersion], *, context: ActionContext) -> BatchResult:
    """Restore the definitions of these versions, each as a new version."""
    from insights import definition_versions

    return definition_versions.restore(rows, context=context)


class ComparisonForm(forms.Form):
    """What to compare a version with: another version of its type, or the file of this release."""

    earlier = forms.ChoiceField(label="Compare with", widget=UnfoldAdminSelectWidget)

    def __init__(self, *args: Any, others: QuerySet[InsightTypeVersion], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["earlier"]
        field.choices = [
            *((str(other.pk), f"version {other.version} of {other.created_at:%d %B %Y}") for other in others),
            (_FILE, "the catalogue file of this release"),
        ]


@admin.register(InsightTypeVersion)
class InsightTypeVersionAdmin(StaffAdmin):
    """All versions of the definitions: who saved them when and why, comparisons, and an action that restores one."""

    bulk_actions = (
        BulkAction(
            name="restore",
            title="Restore",
            consequence="The definition of this version becomes the newest version of its type. Insights keep the"
            " version that they were written with.",
            run=restore_versions,
            applies=lambda version: version.version != version.insight_type.version,
        ),
    )
    list_display = ("id", "insight_type_id", "version", "state", "saved_by_link", "reason", "age")
    list_filter = ("insight_type",)
    list_select_related = ("insight_type",)
    ordering = ("-id",)
    fields = (("insight_type_id", "version"), ("state", "created_at"), ("saved_by_link", "reason"), "shown_definition")
    readonly_fields = ("insight_type_id", "state", "created_at", "saved_by_link", "shown_definition")
    saved_by_link = actor_column("saved_by")
    actions_detail = ("compare",)

    class Media:
        css = {"all": ["insights/texts.css"]}

    def has_operate_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Return whether the user may restore a version: this changes the insight type."""
        return request.user.has_perms(["insights.view_insighttypeversion", "insights.change_insighttype"])

    @label("state", colours={"current": "success"})
    def state(self, version: InsightTypeVersion) -> str:
        """Return `current` if new insights are written with this version, shown as a coloured label."""
        return "current" if version.version == version.insight_type.version else "earlier"

    @admin.display(description="definition")
    def shown_definition(self, version: InsightTypeVersion) -> SafeString:
        """Return the definition with its line breaks."""
        return show_definition(version.definition)

    @action(description="Compare", permissions=["view"], url_path="compare")  # type: ignore[untyped-decorator]
    def compare(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show what changed from another version or the file; from the previous version unless another is chosen."""
        from insights import catalogue
        from insights.definition_versions import format_definition

        version: InsightTypeVersion = get_row_or_404(self, request, object_id)
        others = (
            InsightTypeVersion.objects.filter(insight_type=version.insight_type_id)
            .exclude(pk=version.pk)
            .order_by("-version")
            .defer("definition")
        )
        previous = others.filter(version__lt=version.version).first()
        form = ComparisonForm({"earlier": previous.pk if previous else _FILE} | request.GET.dict(), others=others)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": f"Changes of {version}",
            "form": form,
        }
        if form.is_valid():
            chosen = form.cleaned_data["earlier"]
            if chosen == _FILE:
                earlier, name = catalogue.find_definition(version.insight_type_id), "file"
            else:
                other = InsightTypeVersion.objects.get(pk=chosen)
                earlier, name = other.definition, f"v{other.version}"
            context["heading"] = f"{name} → v{version.version}"
            if earlier is None:
                context["missing"] = "The catalogue files of this release do not have this type."
            else:
                context["lines"] = compare_texts(format_definition(earlier), format_definition(version.definition))
        return TemplateResponse(request, "insights/admin/compare_texts.html", context)
