"""The admin pages on which staff open a chat, with a reason, and on which others see who did."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextInputWidget

from chats import content_access
from chats.access_models import ContentAccess, ContentRead
from chats.exports.parsed import Message
from chats.models import Chat
from relivchats.accounts.models import User
from relivchats.crypto import CannotOpen
from relivchats.staff.actions import get_row_or_404
from relivchats.staff.admin import StaffAdmin, label, link

#: Not part of any group: a superuser gives it to the people who need it.
PERMISSION = "chats.add_contentaccess"


class OpenForm(forms.Form):
    """Why a chat is opened."""

    reason = forms.CharField(
        min_length=content_access.MIN_REASON_LENGTH,
        max_length=200,
        widget=UnfoldAdminTextInputWidget,
        help_text="The owner of the chat can read it. Say what you look for, such as the number of the request that you"
        " answer. Do not write names, addresses or text from a chat: nobody can delete it.",
    )

    def clean_reason(self) -> str:
        """Return the reason. It outlives the account of the owner, so it has no e-mail address."""
        reason: str = self.cleaned_data["reason"]
        if "@" in reason:
            raise forms.ValidationError("Name the request by its number, not by an e-mail address.")
        return reason


class PageForm(forms.Form):
    """Which page of the messages to show."""

    after = forms.IntegerField(min_value=0, max_value=2**31 - 1, required=False)


class OpensChats:
    """A page with actions that take the permission to open chats."""

    def has_open_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Return whether the user may open chats. Without it, nobody reads a message in the admin."""
        return request.user.has_perm(PERMISSION)


class OpenedByStaff(OpensChats):
    """The action of a chat's page that opens its messages."""

    @action(description="Open messages", permissions=["view", "open"], url_path="open", icon="lock_open")  # type: ignore[untyped-decorator]
    def open_this(self: Any, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for a reason; on POST, open the chat and go to its messages."""
        chat: Chat = get_row_or_404(self, request, object_id)
        form = OpenForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            access = content_access.open_chat(
                chat,
                actor_id=request.user.pk,  # type: ignore[arg-type]
                reason=form.cleaned_data["reason"],
            )
            return redirect("admin:chats_contentaccess_messages_this", access.pk)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Open the messages of a chat",
            "chat": link(Chat, chat.pk),
            "owner": link(User, chat.owner_id),
            "minutes": int(content_access.DURATION.total_seconds() // 60),
            "form": form,
            "media": self.media,
        }
        return TemplateResponse(request, "chats/open.html", context)


@admin.register(ContentAccess)
class ContentAccessAdmin(OpensChats, StaffAdmin):
    """Which chats staff opened, why, and until when."""

    list_display = ("id", "state", "chat_link", "owner_link", "actor_link", "reason", "age")
    ordering = ("-created_at",)
    search_ids = ("pk", "chat_id", "owner_id", "actor_id")
    fields = (
        ("id", "state"),
        ("chat_link", "owner_link"),
        "actor_link",
        "reason",
        ("created_at", "expires_at"),
        "opened_pages",
    )
    readonly_fields = ("id", "state", "chat_link", "owner_link", "actor_link", "created_at", "opened_pages")
    actions_detail = ("messages_this",)

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """Return the action to read the messages only to the one who may, and until the access ends."""
        access = self.get_object(request, object_id)
        usable = access and access.actor_id == request.user.pk and access.expires_at > access.looked_at
        return super().get_actions_detail(request, object_id) if usable else []

    @action(description="Messages", permissions=["open"], url_path="messages", icon="forum")  # type: ignore[untyped-decorator]
    def messages_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show a page of the messages, and record it."""
        access: ContentAccess = get_row_or_404(self, request, object_id)
        form = PageForm(request.GET)
        after = (form.is_valid() and form.cleaned_data["after"]) or 0
        page: list[Message] = []
        problem, lines = "", 0
        try:
            chat, page = content_access.read_page(access.pk, actor_id=request.user.pk, after=after)  # type: ignore[arg-type]
            lines = chat.line_count
        except content_access.AccessEnded as error:
            problem = error.detail
        except CannotOpen:
            problem = "The key of this chat is not there. An operator finds out why with manage.py keys."
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Messages of a chat",
            "access": access,
            "chat": link(Chat, access.chat_id),
            "owner": link(User, access.owner_id),
            "problem": problem,
            "page": page,
            "lines": lines,
            "previous": max(0, after - content_access.PAGE_MESSAGES) if after else None,
            "next": page[-1].number if page and page[-1].number < lines else None,
        }
        return TemplateResponse(request, "chats/messages.html", context)

    @label("state", colours={"open": "warning"})
    def state(self, access: Any) -> str:
        """Return whether the chat can still be read."""
        return "open" if access.expires_at > access.looked_at else "ended"

    @admin.display(description="chat")
    def chat_link(self, access: ContentAccess) -> SafeString | str:
        """Return a link to the chat."""
        return link(Chat, access.chat_id)

    @admin.display(description="owner")
    def owner_link(self, access: ContentAccess) -> SafeString | str:
        """Return a link to the owner of the chat."""
        return link(User, access.owner_id)

    @admin.display(description="opened by")
    def actor_link(self, access: ContentAccess) -> SafeString | str:
        """Return a link to the member of staff."""
        return link(User, access.actor_id)

    @admin.display(description="messages read")
    def opened_pages(self, access: ContentAccess) -> str:
        """Return the numbers of the messages on each page that was opened, the first 100 pages."""
        reads = access.reads.order_by("pk")[:100]
        return ", ".join(f"{read.first_number}–{read.last_number}" for read in reads) or "none"


@admin.register(ContentRead)
class ContentReadAdmin(StaffAdmin):
    """Each page of messages that staff opened."""

    list_display = ("id", "access_link", "first_number", "last_number", "age")
    ordering = ("-created_at",)
    search_ids = ("access_id",)
    fields = (("id", "access_link"), ("first_number", "last_number"), "created_at")
    readonly_fields = ("id", "access_link", "created_at")

    @admin.display(description="content access")
    def access_link(self, read: ContentRead) -> SafeString | str:
        """Return a link to the access."""
        return link(ContentAccess, read.access_id)
