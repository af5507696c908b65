"""Admin pages of prompts: their texts over time, comparisons, and a preview on a chat that was written for it."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import action
from unfold.widgets import UnfoldAdminSelectWidget

from insights import prompt_files, prompt_history, text_diffs
from insights.models import InsightType, PromptSet, PromptVersion
from relivchats.staff.actions import get_row_or_404
from relivchats.staff.admin import StaffAdmin, label, link
from relivchats.staff.filters import StateFilter

_TITLES = {
    "read": "read: list the episodes of a part of the chat",
    "write": "write: write the claims of an insight",
    "verify": "verify: check the claims against their messages",
    "repair": "repair: ask again after an answer that was unusable",
    "ask": "ask: answer a question about a chat, or ask for searches",
}
_STATE_COLOURS = {"current": "success"}


class PreviewForm(forms.Form):
    """The prompt to preview, and the insight type that it is about. A reading is about none."""

    prompt = forms.ChoiceField(
        choices=[(name, _TITLES[name]) for name in prompt_files.NAMES], widget=UnfoldAdminSelectWidget
    )
    type = forms.ModelChoiceField(
        InsightType.objects.all(),
        label="Insight type",
        empty_label=None,
        widget=UnfoldAdminSelectWidget,
        help_text="For the prompts write and verify. A chat is read once for all types.",
    )


class EarlierVersionField(forms.ModelChoiceField):  # type: ignore[type-arg]
    """A choice of a version by its first digits and the day it was first seen."""

    def label_from_instance(self, obj: Any) -> str:
        """Return a label such as `4f1c2a9b7d30, first seen on 14 March 2026`."""
        return f"{obj.version}, first seen on {obj.first_seen_at:%d %B %Y}"


class ComparisonForm(forms.Form):
    """The version to compare with. `others` are those of the same prompt."""

    earlier = EarlierVersionField(
        PromptVersion.objects.none(), label="Compare with", empty_label=None, widget=UnfoldAdminSelectWidget
    )

    def __init__(self, *args: Any, others: QuerySet[PromptVersion], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["earlier"]
        field.queryset = others


@admin.register(PromptVersion)
class PromptVersionAdmin(StaffAdmin):
    """The texts of prompts. They are changed in their files only."""

    list_display = ("name", "version_label", "state", "first_seen_at")
    list_filter = (("name", StateFilter),)
    time_field = "first_seen_at"
    ordering = ("name", "-id")
    fields = (("name", "version_label"), ("first_seen_at", "state"), "sets_links", "shown_text")
    readonly_fields = ("version_label", "first_seen_at", "state", "sets_links", "shown_text")
    actions_list = ("preview",)
    actions_detail = ("compare",)

    class Media:
        css = {"all": ["insights/texts.css"]}

    @admin.display(description="version")
    def version_label(self, version: PromptVersion) -> str:
        """Return the first digits of the digest."""
        return version.version

    @label("state", colours=_STATE_COLOURS)
    def state(self, version: PromptVersion) -> str:
        """Return `current` if this release sends this text, shown as a coloured label."""
        return "current" if prompt_history.is_current(version) else "earlier"

    @admin.display(description="sets")
    def sets_links(self, version: PromptVersion) -> SafeString | str:
        """Return links to the sets of prompts that contain it."""
        sets = version.sets.order_by("-first_seen_at").values_list("pk", flat=True)
        return format_html_join(", ", "{}", ((link(PromptSet, pk),) for pk in sets)) or "–"

    @admin.display(description="text")
    def shown_text(self, version: PromptVersion) -> SafeString:
        """Return the text with its line breaks."""
        return format_html('<pre class="wide-text">{}</pre>', version.text)

    @action(description="Preview", permissions=["view"], url_path="preview")  # type: ignore[untyped-decorator]
    def preview(self, request: HttpRequest) -> HttpResponse:
        """Show a call about the sample chat."""
        # The engine's modules take half a second to import, and of all pages only this one needs them.
        from insights import preview
        from insights.engines.model_engine import count_reserved_tokens
        from insights.validation import InvalidData

        first = InsightType.objects.first()
        chosen = {"prompt": prompt_files.NAMES[0], "type": first.pk if first else ""} | request.GET.dict()
        form = PreviewForm(chosen)
        context = self._page_context(request, title="Preview of a prompt", form=form)
        if form.is_valid():
            try:
                call = preview.build_call(form.cleaned_data["prompt"], form.cleaned_data["type"])
            except InvalidData:
                form.add_error("type", "The definition of this type is not valid. Correct it on the page of the type.")
                return TemplateResponse(request, "insights/admin/preview_prompt.html", context)
            reserved = count_reserved_tokens(call)
            context |= {
                "call": call,
                "schema": json.dumps(call.schema, indent=2, ensure_ascii=False),
                "sent_tokens": f"{reserved - call.max_output_tokens // 4:,}",
                "reserved_tokens": f"{reserved:,}",
            }
        return TemplateResponse(request, "insights/admin/preview_prompt.html", context)

    @action(description="Compare", permissions=["view"], url_path="compare")  # type: ignore[untyped-decorator]
    def compare(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show what changed from another version to this one; from the previous one unless another is chosen."""
        version: PromptVersion = get_row_or_404(self, request, object_id)
        others = PromptVersion.objects.filter(name=version.name).exclude(pk=version.pk).order_by("-pk")
        default = others.filter(pk__lt=version.pk).first() or others.first()
        context = self._page_context(request, title=f"Changes of the prompt {version.name}")
        if default is not None:
            form = ComparisonForm({"earlier": default.pk} | request.GET.dict(), others=others)
            context["form"] = form
            if form.is_valid():
                earlier: PromptVersion = form.cleaned_data["earlier"]
                context |= {
                    "earlier": earlier,
                    "heading": f"{earlier.version} → {version.version}",
                    "lines": text_diffs.compare_texts(earlier.text, version.text),
                }
        return TemplateResponse(request, "insights/admin/compare_texts.html", context)

    def _page_context(self, request: HttpRequest, **values: Any) -> dict[str, Any]:
        return {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media, **values}


@admin.register(PromptSet)
class PromptSetAdmin(StaffAdmin):
    """The prompts that a release has. Insights name the version of the set that they were written with."""

    list_display = ("version", "state", "first_seen_at")
    time_field = "first_seen_at"
    ordering = ("-first_seen_at",)
    fields = (("version", "state"), ("first_seen_at", "prompts_links"))
    readonly_fields = ("state", "first_seen_at", "prompts_links")

    @label("state", colours=_STATE_COLOURS)
    def state(self, prompt_set: PromptSet) -> str:
        """Return `current` if this release has these prompts, shown as a coloured label."""
        return "current" if prompt_set.version == prompt_files.compute_version() else "earlier"

    @admin.display(description="prompts")
    def prompts_links(self, prompt_set: PromptSet) -> SafeString | str:
        """Return links to the texts, by the names of their prompts."""
        versions = prompt_set.prompts.order_by("name").values_list("pk", "name")
        return format_html_join(", ", "{}", ((link(PromptVersion, pk, text=name),) for pk, name in versions)) or "–"


def link_prompts(version: str) -> SafeString | str:
    """Return a link to the prompts of this version, the version itself if it was not recorded, or a dash if empty."""
    if PromptSet.objects.filter(pk=version).exists():
        return link(PromptSet, version)
    return version or "–"
