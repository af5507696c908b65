"""The API of chats. Every view returns only chats of the user who asks."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.db.models import Prefetch, QuerySet
from django.http import HttpResponseBase
from django.urls import reverse
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_view
from rest_framework.generics import ListAPIView
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import ValidationError
from rest_framework.utils.urls import remove_query_param, replace_query_param
from rest_framework.views import APIView

from chats import counting, editing, erasure, examples, importing, indexing, transcript
from chats.access_models import ContentAccess, ContentRead
from chats.importing import ImportOptions
from chats.limits import UPLOADS
from chats.models import Chat
from chats.people import InvalidPeople
from chats.serializers import (
    ChatChangesSerializer,
    ChatSerializer,
    ContentAccessSerializer,
    MessagePageSerializer,
    MessageSerializer,
    MessagesQuery,
    StatisticsQuery,
    UploadedChatSerializer,
    UploadSerializer,
    VectorStatusSerializer,
)
from chats.statistics_schema import PeriodStatisticsSerializer
from chats.upload_log import Outcome, last_import
from relivchats import idempotency
from relivchats.errors import NotFound
from relivchats.idempotency import idempotent
from relivchats.logs import request_id
from relivchats.openapi import UNCHANGED, example, problems
from relivchats.rest import Pages, authenticated_user, conditional_response, parse_body


def get_own_chat(request: Request, chat_id: UUID) -> Chat:
    """Return the user's chat. Raise NotFound if it does not exist or belongs to somebody else."""
    chat = Chat.objects.owned_by(request.user).filter(pk=chat_id).first()
    if chat is None:
        raise NotFound("You have no chat with this id. GET /api/chats lists yours.")
    return chat


def _rebuild_upload(request: Request, chat_id: str) -> Any:
    """Return the body of a replayed upload.

    Statistics are stored only under the key of the chat, so the chat is rebuilt as it is now. `outcome` and the counts
    are those of its latest upload, which can be a later one than the replayed.
    """
    chat = get_own_chat(request, UUID(chat_id))
    counting.update_statistics(chat)
    return UploadedChatSerializer(chat, context={"result": last_import(chat)}).data


class UploadView(APIView):
    """Import an exported chat."""

    parser_classes = [MultiPartParser]
    limits: ClassVar = {"POST": (UPLOADS,)}

    @extend_schema(
        operation_id="upload_chat",
        tags=["chats"],
        summary="Upload an exported chat",
        description="Imports an export and returns the chat with its statistics. The type of a file is detected from"
        " its content. A file that is refused is not stored. Uploads are free.\n\n"
        "If you upload the same content again, the response is 200 with the existing chat. If you upload a newer export"
        " of a chat that you have, the response is 409 and `candidate` names that chat. Send the file again with"
        " `extend` to add the new messages, or with `separate` to import it as another chat. New messages are numbered"
        " after the last one; existing numbers never change.",
        parameters=idempotency.PARAMETERS,
        request={"multipart/form-data": UploadSerializer},
        responses={
            200: UploadedChatSerializer,
            201: UploadedChatSerializer,
            **problems(
                401,
                404,
                410,
                411,
                415,
                _400="The request is not well-formed multipart/form-data, or the file is empty (ERR_3002).",
                _409="Most of the messages are in one of your chats (`candidate` names it, `new_messages` counts the"
                " new ones), or too few of them are in the chat to extend. Or you have as many chats or bytes as one"
                " account may have (`limit` names which; `GET /api/me` shows the limits). Or: "
                + idempotency.STILL_RUNNING,
                _413="The file is too large, packed or unpacked, or takes too much memory or processor time to read, or"
                " to compare with the chat to extend (ERR_3004).",
                _422="The file is missing or cannot be read. The title names the cause, such as a damaged or"
                " password-protected archive, no chat text, not a chat export (ERR_3003), or only system messages"
                " (ERR_3002). If the file contains several chats, `chats` lists them: send it again with `chat` set to"
                " the id of one.",
                _503="Too many large files are being read, the process that read this one was interrupted, or nothing"
                " can be stored because of a fault on our side (ERR_2002). `Retry-After` says when to send it again.",
            ),
        },
        examples=[
            example("A chat", examples.UPLOADED, status=201),
            example("The same content again", {**examples.UPLOADED, **examples.IDENTICAL}),
            example("A chat with its new messages", {**examples.UPLOADED, **examples.EXTENDED}),
        ],
    )
    @idempotent(rebuild=_rebuild_upload)
    def post(self, request: Request) -> Response:
        """Import the file of the form, as a new chat or into an existing one."""
        form = UploadSerializer(data=parse_body(request))
        form.is_valid(raise_exception=True)
        fields = dict(form.validated_data)
        upload = fields.pop("file")
        result = importing.import_upload(
            owner=authenticated_user(request),
            upload=upload,
            options=ImportOptions(**fields),
            request_id=request_id.get(),
        )
        # The chat that is returned may be an older one.
        counting.update_statistics(result.chat)
        return Response(
            UploadedChatSerializer(result.chat, context={"result": result}).data,
            status=201 if result.outcome is Outcome.ACCEPTED else 200,
            headers={"Location": reverse("chat", kwargs={"chat_id": result.chat.pk})},
        )


@extend_schema_view(
    get=extend_schema(
        operation_id="list_chats",
        tags=["chats"],
        summary="List your chats, newest first",
        description="Returns a page of chats. Statistics are not included: read them for one chat at a time.",
        responses={200: ChatSerializer(many=True), **problems(401, 422)},
        examples=[example("A chat", examples.CHAT)],
    )
)
class ChatListView(ListAPIView[Chat]):
    """The user's chats."""

    serializer_class = ChatSerializer
    pagination_class = Pages

    def get_queryset(self) -> QuerySet[Chat]:
        """Return the user's chats without their statistics."""
        return Chat.objects.owned_by(self.request.user).defer("sealed_statistics")


class ChatDetailView(APIView):
    """Read, change or delete one chat."""

    @extend_schema(
        operation_id="get_chat",
        tags=["chats"],
        summary="Get a chat",
        description="Supports ETag and If-None-Match.",
        responses={200: ChatSerializer, **UNCHANGED, **problems(401, 404)},
        examples=[example("A chat", examples.CHAT)],
    )
    def get(self, request: Request, chat_id: UUID) -> HttpResponseBase:
        """Return the chat, or 304 if the client has this version."""
        chat = get_own_chat(request, chat_id)
        sealed = bytes(chat.sealed_title), bytes(chat.sealed_participants), *chat.content_version
        version = chat.pk, chat.status, chat.vector_status, chat.chunk_count, chat.indexed_at, *sealed
        return conditional_response(request, *version, answer=lambda: Response(ChatSerializer(chat).data))

    @extend_schema(
        operation_id="change_chat",
        tags=["chats"],
        summary="Change the title, the time zone or the people of a chat",
        description="`people` contains the names to show, and names of the export that belong to one person. Fields"
        " that are left out do not change. Messages, participants and statistics change at once. Insights that are"
        " are written later; existing insights keep their names. Every change can be undone: `title: null`,"
        " `people: []`.",
        request=ChatChangesSerializer,
        responses={
            200: ChatSerializer,
            **problems(
                401,
                404,
                410,
                413,
                415,
                _400="The request is not well-formed JSON.",
                _409="Other requests keep changing the chat. Send the request again.",
                _422="A field, time zone or name does not exist, two people would have the same name, or only one"
                " person would be left.",
            ),
        },
        examples=[
            example("A chat", examples.CHAT),
            OpenApiExample("Two names of one person", value=examples.CHANGES, request_only=True),
        ],
    )
    def patch(self, request: Request, chat_id: UUID) -> Response:
        """Change the chat and return it."""
        chat = get_own_chat(request, chat_id)
        changes = ChatChangesSerializer(data=parse_body(request))
        changes.is_valid(raise_exception=True)
        try:
            changed = editing.edit_chat(chat, **changes.validated_data)
        except InvalidPeople as error:
            # The error is nested like the value, so that its JSON pointer is the path to the value.
            detail: Any = [error.reason]
            for step in reversed(("people", *error.path)):
                detail = {str(step): detail}
            raise ValidationError(detail) from None
        return Response(ChatSerializer(changed).data)

    @extend_schema(
        operation_id="delete_chat",
        tags=["chats"],
        summary="Delete a chat permanently",
        description="Destroys the encryption key of the chat and deletes its messages, statistics and insights at once."
        " This cannot be undone. Coins that are reserved for running insights are returned; spent coins are not.",
        responses={204: None, **problems(401, 404)},
    )
    def delete(self, request: Request, chat_id: UUID) -> Response:
        """Erase the chat."""
        erasure.erase(get_own_chat(request, chat_id))
        return Response(status=204)


class MessageListView(APIView):
    """The messages of a chat."""

    @extend_schema(
        operation_id="list_messages",
        tags=["chats"],
        summary="List the messages of a chat by number",
        description="Messages are in the order of the export. Numbers start at 1, include system lines, and never"
        " change. `after` selects the page that follows a message, `around` the page that surrounds one.",
        parameters=[MessagesQuery],
        responses={200: MessagePageSerializer, **problems(401, 404, 410, 422)},
        examples=[example("A page", examples.MESSAGES)],
    )
    def get(self, request: Request, chat_id: UUID) -> Response:
        """Return a page of messages with the URLs of the pages before and after it."""
        chat = get_own_chat(request, chat_id)
        query = MessagesQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        after, limit = query.validated_data["after"], query.validated_data["limit"]
        if around := query.validated_data.get("around"):
            after = max(0, min(around, chat.line_count) - 1 - limit // 2)
        messages = transcript.read_page(chat, after=after, limit=limit)
        next_url = previous_url = None
        if messages and messages[-1].number < chat.line_count:
            next_url = _page_url(request, after=messages[-1].number, limit=limit)
        if after:
            # The first page can be shorter than the limit, so that following `previous` repeats no message.
            end = min(after, chat.line_count)
            previous_url = _page_url(request, after=max(0, end - limit), limit=min(limit, end))
        results = MessageSerializer(messages, many=True).data  # type: ignore[arg-type]
        return Response({"next": next_url, "previous": previous_url, "results": results})


def _page_url(request: Request, *, after: int, limit: int) -> str:
    url = remove_query_param(request.build_absolute_uri(), "around")
    return replace_query_param(replace_query_param(url, "after", after), "limit", limit)


class StatisticsView(APIView):
    """The statistics of a chat."""

    @extend_schema(
        operation_id="get_statistics",
        tags=["chats"],
        summary="Get the statistics of a chat",
        description="Free. Statistics are counted during the upload, and again if the chat changes. With `from` or"
        " `to`, the messages of that period are counted as if the chat had no others. Days are those of the chat's own"
        " clock. Supports ETag and If-None-Match.",
        parameters=[StatisticsQuery],
        responses={200: PeriodStatisticsSerializer, **UNCHANGED, **problems(401, 404, 410, 422)},
        examples=[
            example("Statistics", {**examples.STATISTICS, "period": None, "comparison": None}),
            example("A year, compared with the one before", examples.PERIOD_STATISTICS),
        ],
    )
    def get(self, request: Request, chat_id: UUID) -> HttpResponseBase:
        """Return the statistics, or 304 if the client has this version."""
        chat = get_own_chat(request, chat_id)
        query = StatisticsQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        period, other = query.periods(chat)
        counting.update_statistics(chat)
        version = chat.pk, bytes(chat.sealed_statistics), period, other
        return conditional_response(
            request, *version, answer=lambda: Response(counting.describe_period(chat, period, compared_with=other))
        )


class VectorStatusView(APIView):
    """The search index of a chat."""

    @extend_schema(
        operation_id="get_vector_status",
        tags=["chats"],
        summary="Get whether a chat is searchable",
        description="A chat is indexed when its first insights are unlocked.",
        responses={200: VectorStatusSerializer, **problems(401, 404)},
        examples=[example("Searchable", examples.VECTOR_STATUS)],
    )
    def get(self, request: Request, chat_id: UUID) -> Response:
        """Return the vector status."""
        return Response(VectorStatusSerializer(get_own_chat(request, chat_id)).data)


class ReindexView(APIView):
    """Request indexing of a chat."""

    @extend_schema(
        operation_id="reindex_chat",
        tags=["chats"],
        summary="Index a chat again",
        description="Requests indexing and returns immediately. `vector-status` shows when it is complete. Free.",
        request=None,
        responses={202: VectorStatusSerializer, **problems(401, 404)},
        examples=[example("Requested", {**examples.VECTOR_STATUS, **examples.NOT_YET_SEARCHABLE}, status=202)],
    )
    def post(self, request: Request, chat_id: UUID) -> Response:
        """Request indexing; a worker does it."""
        chat = get_own_chat(request, chat_id)
        indexing.request(chat)
        chat.refresh_from_db()
        location = reverse("chat-vector-status", kwargs={"chat_id": chat.pk})
        return Response(VectorStatusSerializer(chat).data, status=202, headers={"Location": location})


@extend_schema_view(
    get=extend_schema(
        operation_id="list_content_accesses",
        tags=["people"],
        summary="List when staff opened your chats, newest first",
        description="Staff see no messages. A few of them may open one chat for 15 minutes, with a reason, such as your"
        " own request for help. Every page that they open is recorded, and the record cannot be changed.",
        responses={200: ContentAccessSerializer(many=True), **problems(401, 422)},
        examples=[example("An access", examples.CONTENT_ACCESS)],
    )
)
class ContentAccessListView(ListAPIView[ContentAccess]):
    """When staff opened the user's chats."""

    serializer_class = ContentAccessSerializer
    pagination_class = Pages

    def get_queryset(self) -> QuerySet[ContentAccess]:
        """Return the accesses to the user's chats, with the pages that were opened."""
        reads = Prefetch("reads", ContentRead.objects.order_by("pk"))
        return ContentAccess.objects.of_chats_owned_by(self.request.user).prefetch_related(reads)
