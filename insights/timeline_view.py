"""GET /api/chats/{id}/timeline."""

from __future__ import annotations

from itertools import groupby
from typing import Any
from uuid import UUID

from django.http import HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import remove_query_param, replace_query_param
from rest_framework.views import APIView

from chats.models import Chat
from chats.statistics.timeline import TimelineCounter
from chats.transcript import TranscriptReader
from chats.views import get_own_chat
from insights import api_examples, reading, safety, timeline
from insights.episodes import Reading
from insights.models import ChatReading, Insight
from insights.reading.queue import Reader, current_reader
from insights.requested_language import get_requested_language, vary_by_language
from insights.timeline import Entry
from insights.timeline_serializers import TimelineQuery, TimelineSerializer
from insights.translation import Language
from relivchats.openapi import UNCHANGED, example, problems
from relivchats.rest import conditional_response


class TimelineView(APIView):
    """The timeline of a chat."""

    @extend_schema(
        operation_id="get_timeline",
        tags=["insights"],
        summary="Get the history of a chat, month by month",
        description="What stands out in the chat's times is counted and free: first messages, bursts, silences, record"
        " days, streaks. What a language model found when it read the chat (quarrels and how they ended, plans,"
        " promises kept, special occasions, best moments, firsts) is listed once any insight of the chat is unlocked;"
        " `read` says how many there are. A page has whole months, in order. Supports ETag and If-None-Match.",
        parameters=[TimelineQuery],
        responses={200: TimelineSerializer, **UNCHANGED, **problems(401, 404, 410, 422)},
        examples=[
            example("A chat with an unlocked insight", api_examples.TIMELINE),
            example("Nothing unlocked yet", api_examples.FREE_TIMELINE),
        ],
    )
    def get(self, request: Request, chat_id: UUID) -> HttpResponseBase:
        """Return a page of months, or 304 if the client has this version."""
        chat = get_own_chat(request, chat_id)
        query = TimelineQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        wording = get_requested_language(request)
        reader = current_reader()
        row = ChatReading.objects.filter(chat=chat.pk).first()
        is_unlocked = Insight.objects.filter(chat=chat.pk, status=Insight.Status.COMPLETED).exists()
        state = row and (row.pk, row.status, row.engine, row.model, row.version, row.up_to_message, row.finished_at)
        given = sorted(request.query_params.lists())
        # The addresses of the pages depend on the host.
        version = chat.pk, *chat.content_version, reader, state, is_unlocked, given, wording.code, request.get_host()
        response = conditional_response(
            request,
            *version,
            answer=lambda: Response(
                _build(request, chat, query, wording, reader=reader, row=row, is_unlocked=is_unlocked)
            ),
        )
        vary_by_language(response)
        return response


def _build(
    request: Request,
    chat: Chat,
    query: TimelineQuery,
    wording: Language,
    *,
    reader: Reader | None,
    row: ChatReading | None,
    is_unlocked: bool,
) -> Any:
    """Return the page of the timeline that the query selects."""
    names = chat.participants
    transcript = TranscriptReader(chat)
    counter = TimelineCounter()
    for batch in transcript.batches():
        counter.add(batch)
    entries = [entry for entry in timeline.list_counted(counter.result(), names, wording) if query.selects(entry)]
    found = reading.load(chat)
    read = [entry for entry in timeline.list_read(found, names, wording) if query.selects(entry)] if found else []
    if is_unlocked:
        entries += read
    by_month = {
        month: list(of_month)
        for month, of_month in groupby(timeline.sort_entries(entries), key=lambda entry: entry.month)
    }
    months, limit, after = list(by_month), query.validated_data["limit"], query.validated_data.get("after", "")
    start = sum(month <= after for month in months)
    page = months[start : start + limit]
    in_danger = found is not None and timeline.is_somebody_in_danger(found)
    answer = {
        "chat_id": chat.pk,
        "next": _page_url(request, months[start + limit - 1], limit) if start + limit < len(months) else None,
        # The first page can be shorter than the limit, so that following `previous` repeats no month.
        "previous": _page_url(request, months[start - limit - 1] if start > limit else None, min(limit, start))
        if start
        else None,
        "read": {
            "is_shown": found is not None and is_unlocked,
            "entries": None if found is None else len(read),
            "note": _note(
                wording,
                found,
                count=len(read),
                line_count=chat.line_count,
                reader=reader,
                row=row,
                is_unlocked=is_unlocked,
            ),
        },
        "notice": safety.write_notice(wording) if in_danger else "",
        "results": [{"month": month, "entries": _check(by_month[month], transcript, names)} for month in page],
    }
    return TimelineSerializer(answer).data


def _check(entries: list[Entry], transcript: TranscriptReader, names: list[str]) -> list[Entry]:
    """Return the entries without subjects that their messages do not support."""
    numbers = {number for entry in entries if entry.subject for number in entry.numbers}
    return timeline.check_subjects(entries, messages=transcript.get(numbers), names=names)


def _note(
    wording: Language,
    found: Reading | None,
    *,
    count: int,
    line_count: int,
    reader: Reader | None,
    row: ChatReading | None,
    is_unlocked: bool,
) -> str:
    """Return what `read` says: how to see what a model finds, or how much of the chat it has read."""
    if found is None:
        if reader is None:
            return wording.say("This server counts and does not read chats, so the timeline has what can be counted.")
        if row is not None and row.status in (ChatReading.Status.PENDING, ChatReading.Status.READING):
            return wording.say("The chat is being read. What is found in it appears here when that is done.")
        return wording.say(
            "The chat has not been read yet. It is read when you unlock an insight, and its plans, special occasions"
            " and best moments appear here then."
        )
    if not is_unlocked and count:
        return wording.say_plural(
            "When the chat was read, {count} more entry was found. Any insight that you unlock for this chat shows it.",
            "When the chat was read, {count} more entries were found. Any insight that you unlock for this chat shows"
            " them.",
            count,
        )
    if not is_unlocked:
        return ""
    sentences = []
    if found.messages_read < found.messages_total:
        sentences.append(
            wording.say(
                "{count} of {total} messages with text were read.",
                count=found.messages_read,
                total=found.messages_total,
            )
        )
    if found.up_to_message < line_count:
        sentences.append(
            wording.say(
                "Messages after number {number} were added since. They are read when you unlock another insight.",
                number=found.up_to_message,
            )
        )
    return " ".join(sentences)


def _page_url(request: Request, after: str | None, limit: int) -> str:
    url = replace_query_param(request.build_absolute_uri(), "limit", limit)
    return replace_query_param(url, "after", after) if after else remove_query_param(url, "after")
