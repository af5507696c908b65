"""The API of chats. Each view sees its caller's own chats and no others."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpResponseBase
from django.urls import reverse
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_view
from rest_framework.generics import ListAPIView
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import remove_query_param, replace_query_param
from rest_framework.views import APIView

from chats import editing, erasure, examples, importing, indexing, transcript
from chats.exports.parsed import Message
from chats.importing import ImportOptions
from chats.models import Chat
from chats.people import InvalidPeople
from chats.serializers import (
    ChatChangesSerializer,
    ChatSerializer,
    MessagePageSerializer,
    MessageSerializer,
    MessagesQuery,
    UploadedChatSerializer,
    UploadSerializer,
    VectorStatusSerializer,
    not_people,
)
from chats.statistics_schema import StatisticsSerializer
from chats.upload_log import Outcome, last_import
from relivchats import idempotency
from relivchats.errors import NotFound
from relivchats.idempotency import idempotent
from relivchats.logs import request_id
from relivchats.openapi import UNCHANGED, example, problems
from relivchats.rest import Pages, body, conditional, person


def get_own_chat(request: Request, chat_id: UUID) -> Chat:
    """Raises NotFound for an unknown chat and for somebody else's alike."""
    chat = Chat.objects.owned_by(request.user).filter(pk=chat_id).first()
    if chat is None:
        raise NotFound("You have no chat with this id. GET /api/chats lists yours.")
    return chat


def _uploaded(request: Request, chat_id: str) -> Any:
    """The answer to an upload, made anew: its statistics are kept under the chat's key alone."""
    chat = get_own_chat(request, UUID(chat_id))
    return UploadedChatSerializer(chat, context={"imported": last_import(chat)}).data


class Upload(APIView):
    parser_classes = [MultiPartParser]

    @extend_schema(
        operation_id="upload_chat",
        tags=["chats"],
        summary="Upload an exported chat",
        description="Reads an export and answers at once with the chat and its statistics. A file is judged by its"
        " content; of a refused file nothing is kept. Nothing is charged.\n\n"
        "The same content again answers 200 with the chat that it became. A newer export of a chat you have answers"
        " 409 and names that chat as `candidate`: send the file again with `extend` to add what is new, or with"
        " `separate` to keep it apart. Added messages get the numbers after the last; none changes its own.",
        parameters=idempotency.PARAMETERS,
        request={"multipart/form-data": UploadSerializer},
        responses={
            200: UploadedChatSerializer,
            201: UploadedChatSerializer,
            **problems(
                401,
                404,
                411,
                415,
                _400="The request is not well-formed multipart/form-data, or the file is empty (ERR_3002).",
                _409="Most of it stands in a chat of yours (`candidate` names it, `new_messages` counts what is new),"
                " or too little of it stands in the chat to extend. Or: " + idempotency.STILL_RUNNING,
                _413="The file is too large, packed or unpacked (ERR_3004).",
                _422="The file is missing, or it is no chat that can be read: the title names the cause, such as a"
                " damaged or password-protected archive, no chat text, not a chat export (ERR_3003), or only system"
                " messages (ERR_3002). Of an upload that holds several chats `chats` lists them: send it again with"
                " `chat` set to the id of one.",
            ),
        },
        examples=[
            example("A chat", examples.UPLOADED, status=201),
            example("The same content again", {**examples.UPLOADED, **examples.IDENTICAL}),
            example("A chat with its new messages", {**examples.UPLOADED, **examples.EXTENDED}),
        ],
    )
    @idempotent(rebuild=_uploaded)
    def post(self, request: Request) -> Response:
        fields = UploadSerializer(data=body(request))
        fields.is_valid(raise_exception=True)
        options = dict(fields.validated_data)
        upload = options.pop("file")
        imported = importing.import_upload(
            owner=person(request), upload=upload, options=ImportOptions(**options), request_id=request_id.get()
        )
        answer = UploadedChatSerializer(imported.chat, context={"imported": imported}).data
        status = 201 if imported.outcome is Outcome.ACCEPTED else 200
        location = reverse("chat", kwargs={"chat_id": imported.chat.pk})
        return Response(answer, status=status, headers={"Location": location})


@extend_schema_view(
    get=extend_schema(
        operation_id="list_chats",
        tags=["chats"],
        summary="Your chats, newest first",
        description="A page of them. Statistics are read one chat at a time.",
        responses={200: ChatSerializer(many=True), **problems(401, 422)},
        examples=[example("A chat", examples.CHAT)],
    )
)
class Chats(ListAPIView[Chat]):
    serializer_class = ChatSerializer
    pagination_class = Pages

    def get_queryset(self) -> QuerySet[Chat]:
        return Chat.objects.owned_by(self.request.user).defer("sealed_statistics")


class OneChat(APIView):
    @extend_schema(
        operation_id="get_chat",
        tags=["chats"],
        summary="One chat",
        description="Supports ETag and If-None-Match.",
        responses={200: ChatSerializer, **UNCHANGED, **problems(401, 404)},
        examples=[example("A chat", examples.CHAT)],
    )
    def get(self, request: Request, chat_id: UUID) -> HttpResponseBase:
        chat = get_own_chat(request, chat_id)
        sealed = bytes(chat.sealed_title), bytes(chat.sealed_participants), *chat.content_version
        version = chat.pk, chat.status, chat.vector_status, chat.chunk_count, chat.indexed_at, *sealed
        return conditional(request, *version, answer=lambda: Response(ChatSerializer(chat).data))

    @extend_schema(
        operation_id="change_chat",
        tags=["chats"],
        summary="Name a chat and its people",
        description="Sets the title, the time zone, and who is who: names to show, and several of the export's names"
        " that are one person. What is left out stays. Messages, participants and statistics follow at once, and"
        " insights that are written from now on; insights that are written keep their names. Everything can be"
        " undone: `title: null`, `people: []`.",
        request=ChatChangesSerializer,
        responses={
            200: ChatSerializer,
            **problems(
                401,
                404,
                413,
                415,
                _400="The request is not well-formed JSON.",
                _409="The chat was changed by others all the while. Send it again.",
                _422="There is no such field, time zone or name, two people would have one name, or one person would be"
                " left.",
            ),
        },
        examples=[
            example("A chat", examples.CHAT),
            OpenApiExample("Two names of one person", value=examples.CHANGES, request_only=True),
        ],
    )
    def patch(self, request: Request, chat_id: UUID) -> Response:
        chat = get_own_chat(request, chat_id)
        changes = ChatChangesSerializer(data=body(request))
        changes.is_valid(raise_exception=True)
        try:
            changed = editing.edit_chat(chat, **changes.validated_data)
        except InvalidPeople as fault:
            raise not_people(fault) from None
        return Response(ChatSerializer(changed).data)

    @extend_schema(
        operation_id="delete_chat",
        tags=["chats"],
        summary="Delete a chat for good",
        description="Destroys the chat's key and removes its messages, statistics and insights at once. There is no"
        " way back. Coins held for insights that are still being written return; those spent do not.",
        responses={204: None, **problems(401, 404)},
    )
    def delete(self, request: Request, chat_id: UUID) -> Response:
        erasure.erase(get_own_chat(request, chat_id))
        return Response(status=204)


class Messages(APIView):
    @extend_schema(
        operation_id="list_messages",
        tags=["chats"],
        summary="The messages of a chat, by number",
        description="In the export's order. Numbers start at 1, count messages and system lines, and never change."
        " `after` pages through them; `around` shows one among those beside it.",
        parameters=[MessagesQuery],
        responses={200: MessagePageSerializer, **problems(401, 404, 422)},
        examples=[example("A page", examples.MESSAGES)],
    )
    def get(self, request: Request, chat_id: UUID) -> Response:
        chat = get_own_chat(request, chat_id)
        query = MessagesQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        after, limit = query.validated_data["after"], query.validated_data["limit"]
        if around := query.validated_data.get("around"):
            after = max(0, min(around, chat.line_count) - 1 - limit // 2)
        found = transcript.read_page(chat, after=after, limit=limit)
        return Response(
            {
                "next": _page(request, after=found[-1].number, limit=limit) if _has_more(chat, found) else None,
                "previous": _page_before(request, end=min(after, chat.line_count), limit=limit) if after else None,
                "results": MessageSerializer(found, many=True).data,  # type: ignore[arg-type]
            }
        )


def _has_more(chat: Chat, found: list[Message]) -> bool:
    return bool(found) and found[-1].number < chat.line_count


def _page(request: Request, *, after: int, limit: int) -> str:
    address = remove_query_param(request.build_absolute_uri(), "around")
    return replace_query_param(replace_query_param(address, "after", after), "limit", limit)


def _page_before(request: Request, *, end: int, limit: int) -> str:
    """The page that ends with message `end`: shorter at the chat's beginning, so that no message comes twice."""
    return _page(request, after=max(0, end - limit), limit=min(limit, end))


class Statistics(APIView):
    @extend_schema(
        operation_id="get_statistics",
        tags=["chats"],
        summary="What was counted in a chat",
        description="Free, and counted once at upload. Supports ETag and If-None-Match.",
        responses={200: StatisticsSerializer, **UNCHANGED, **problems(401, 404)},
        examples=[example("Statistics", examples.STATISTICS)],
    )
    def get(self, request: Request, chat_id: UUID) -> HttpResponseBase:
        chat = get_own_chat(request, chat_id)
        version = chat.pk, bytes(chat.sealed_statistics)
        return conditional(request, *version, answer=lambda: Response(chat.statistics))


class VectorStatus(APIView):
    @extend_schema(
        operation_id="get_vector_status",
        tags=["chats"],
        summary="Whether a chat is searchable",
        description="A chat becomes searchable when insights are first unlocked for it.",
        responses={200: VectorStatusSerializer, **problems(401, 404)},
        examples=[example("Searchable", examples.VECTOR_STATUS)],
    )
    def get(self, request: Request, chat_id: UUID) -> Response:
        return Response(VectorStatusSerializer(get_own_chat(request, chat_id)).data)


class Reindex(APIView):
    @extend_schema(
        operation_id="reindex_chat",
        tags=["chats"],
        summary="Make a chat searchable, again",
        description="Asks for it and answers at once; `vector-status` says when it is done. Costs nothing.",
        request=None,
        responses={202: VectorStatusSerializer, **problems(401, 404)},
        examples=[example("Under way", {**examples.VECTOR_STATUS, **examples.NOT_YET_SEARCHABLE}, status=202)],
    )
    def post(self, request: Request, chat_id: UUID) -> Response:
        chat = get_own_chat(request, chat_id)
        indexing.request(chat)
        chat.refresh_from_db()
        location = reverse("chat-vector-status", kwargs={"chat_id": chat.pk})
        return Response(VectorStatusSerializer(chat).data, status=202, headers={"Location": location})
