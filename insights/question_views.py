"""The API of questions about a chat."""

from __future__ import annotations

import threading
import time
from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.urls import reverse
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.generics import ListAPIView
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from chats.models import Chat
from chats.views import get_own_chat
from insights import api_examples, questions, unlocking
from insights.question_models import ChatQuestion
from insights.question_serializers import (
    AskedQuestionSerializer,
    AskSerializer,
    RagAnswerSerializer,
    RagQuerySerializer,
)
from relivchats import following, idempotency
from relivchats.errors import NotFound
from relivchats.idempotency import idempotent
from relivchats.openapi import example, problems
from relivchats.rest import LineRenderer, Pages, authenticated_user, parse_body
from relivchats.throttling import Limit

#: The Retry-After of an open question, in seconds.
POLL_SECONDS = 2
#: Requests of this process that may wait for an answer at once. The others get a 202 at once: a request that waits
#: occupies one of the process's few threads.
MAX_WAITING = 3
_waiting = threading.BoundedSemaphore(MAX_WAITING)
#: How long after its deadline a question may be failed by recovery.
_SETTLING_SECONDS = 20
_SERIALIZERS = {"ask": AskedQuestionSerializer, "rag": RagAnswerSerializer}
_FIRST_LOOK_SECONDS, _LAST_LOOK_SECONDS = 0.05, 0.5

_DESCRIPTION = (
    "Answers a question from the messages of the chat: each sentence was verified and cites its messages. If the"
    " messages do not contain the answer, `outcome` is `not_in_chat`. With the engine `local`, nothing is read or"
    " judged: `outcome` is `searched`, and the best conversations are returned.\n\n"
    "The response is 200 with the answer, or 202 if it takes longer: then read the question under `Location` until its"
    " `status` is `answered` or `failed`. With `Accept: text/event-stream`, the response is a stream of events:"
    " `progress` (`step`, `messages_read`), a `claim` for each verified sentence, then `done` with the question, or"
    " `error` with a problem document. Free unless the operator sets a price; only an answer costs coins."
)
_ERRORS: dict[str, str] = {
    "_402": "An answer costs coins, and too few are free to spend.",
    "_404": "There is no such chat of yours, or no such conversation in it.",
    "_409": "The chat is not indexed yet (`not-searchable`); indexing was requested, and Retry-After says when to ask"
    " again. Or: " + idempotency.STILL_RUNNING,
    "_422": "A value is missing or not valid, the engine does not write this language, or the language model refuses"
    " the question.",
    "_410": "The chat can no longer be opened: its key is gone.",
    "_429": "You asked too many questions within a minute. Retry-After says when you may continue.",
    "_503": "The language model does not answer, or not in time (`questions-unavailable`, with a `reason`), or the"
    " database did not. Nothing was charged; Retry-After says when to ask again.",
}


def _replay_question(request: Request, question_id: str) -> Response:
    """Return the response to a replayed question, as it is now."""
    return _show(_get_own_question(request, UUID(question_id)), purpose="ask")


def _replay_rag_query(request: Request, question_id: str) -> Response:
    """Return the response to a replayed query, as it is now."""
    return _show(_get_own_question(request, UUID(question_id)), purpose="rag")


def _get_own_question(request: Request, question_id: UUID) -> ChatQuestion:
    """Return the user's question. Raise NotFound."""
    rows = ChatQuestion.objects.filter(chat__owner=authenticated_user(request), pk=question_id)
    question = rows.select_related("chat").first()
    if question is None:
        raise NotFound("There is no such question of yours.")
    return question


def _event_example(value: str, *, status: int = 200) -> OpenApiExample:
    return OpenApiExample(
        "As events", value=value, response_only=True, status_codes=[str(status)], media_type="text/event-stream"
    )


class EventStreamRenderer(BaseRenderer):
    """Server-sent events: one `claim` for each verified sentence of an answer, then `done` with the whole question."""

    media_type = "text/event-stream"
    format = "events"
    charset = "utf-8"

    def render(self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None) -> bytes:
        """Return the events of a question; of an open one, its progress."""
        json = JSONRenderer()

        def event(name: str, content: Any) -> bytes:
            return f"event: {name}\ndata: ".encode() + json.render(content) + b"\n\n"

        answer = data.get("answer")
        if data.get("status") not in (ChatQuestion.Status.ANSWERED, ChatQuestion.Status.FAILED):
            return event("progress", {name: data[name] for name in ("step", "messages_read") if name in data})
        claims = answer["claims"] if isinstance(answer, dict) else ()
        return b"".join([*(event("claim", claim) for claim in claims), event("done", data)])


def _ask(request: Request, chat: Chat, *, text: str, language: str, conversation: UUID | None) -> ChatQuestion:
    """Ask, wait for the answer unless the server does, and return the question. Raise its failure."""
    unlocking.check_language(language)
    questions.require_answerable(chat)
    asked = questions.ask(
        user=authenticated_user(request),
        chat=chat,
        text=text,
        language=language,
        conversation=conversation,
        # Stored with the question too: the response of @idempotent is lost if this process dies in between.
        idempotency_key=request.headers.get(idempotency.HEADER, ""),
    )
    if following.can_follow(request._request):
        return asked
    question = _wait_for(asked)
    if question.status == ChatQuestion.Status.FAILED:
        questions.raise_failure(question)
    return question


def _wait_for(asked: ChatQuestion) -> ChatQuestion:
    """Return the question when it is finished, or at once if too many requests wait already."""
    if _waiting.acquire(blocking=False):
        try:
            give_up_at = time.monotonic() + settings.ASK_TIMEOUT_SECONDS
            seconds = _FIRST_LOOK_SECONDS
            while time.monotonic() < give_up_at and _is_open(asked):
                time.sleep(seconds)
                seconds = min(seconds * 1.5, _LAST_LOOK_SECONDS)
        finally:
            _waiting.release()
    question = ChatQuestion.objects.select_related("chat").filter(pk=asked.pk).first()
    if question is None:
        raise NotFound("This question was deleted before it was answered.")
    return question


def _is_open(asked: ChatQuestion) -> bool:
    return ChatQuestion.objects.open().filter(pk=asked.pk).exists()


def _respond(request: Request, question: ChatQuestion, *, purpose: str) -> Response:
    """Return the question. If it is open and the server can wait, it follows the question.

    `purpose` says what its repeated request gets.
    """
    response = _show(question, purpose=purpose)
    if question.is_open and following.can_follow(request._request):
        seconds = settings.ASK_TIMEOUT_SECONDS + _SETTLING_SECONDS
        following.follow(response, source=questions.SOURCE, row_id=question.pk, seconds=seconds, purpose=purpose)
    return response


def _show(question: ChatQuestion, *, purpose: str) -> Response:
    """Return 200 with a finished question, or 202 with an open one and where to find it."""
    body = _SERIALIZERS[purpose](question).data
    if not question.is_open:
        return Response(body)
    location = reverse("question", kwargs={"chat_id": question.chat_id, "question_id": question.pk})
    return Response(body, status=202, headers={"Location": location, "Retry-After": str(POLL_SECONDS)})


_LIMITS = {"POST": (Limit("asks", "ASKS_PER_MINUTE"),)}


class AskView(APIView):
    """POST /api/chats/{id}/ask: a question about a chat."""

    renderer_classes = [LineRenderer, EventStreamRenderer]
    limits: ClassVar = _LIMITS

    @extend_schema(
        operation_id="ask_chat",
        tags=["questions"],
        summary="Ask a question about a chat",
        description=_DESCRIPTION,
        parameters=idempotency.PARAMETERS,
        request=AskSerializer,
        responses={
            200: AskedQuestionSerializer,
            202: AskedQuestionSerializer,
            **problems(400, 401, 411, 413, 415, **_ERRORS),
        },
        examples=[
            OpenApiExample("A question", value={"question": "Where did we want to move to?"}, request_only=True),
            example("An answer", api_examples.ANSWERED_QUESTION),
            example("Not answered yet", api_examples.OPEN_QUESTION, status=202),
            _event_example(api_examples.EVENTS),
            _event_example(api_examples.PROGRESS_EVENT, status=202),
        ],
    )
    @idempotent(rebuild=_replay_question)
    def post(self, request: Request, chat_id: UUID) -> Response:
        """Ask and return the answer."""
        chat = get_own_chat(request, chat_id)
        query = AskSerializer(data=parse_body(request))
        query.is_valid(raise_exception=True)
        values = query.validated_data
        question = _ask(
            request,
            chat,
            text=values["question"],
            language=values["language"],
            conversation=values.get("conversation"),
        )
        return _respond(request, question, purpose="ask")


class RagQueryView(APIView):
    """POST /api/rag/query: the same, for clients of the original API."""

    renderer_classes = [LineRenderer, EventStreamRenderer]
    limits: ClassVar = _LIMITS

    @extend_schema(
        operation_id="rag_query",
        tags=["questions"],
        summary="Ask a question about a chat, with the chat in the body",
        description=_DESCRIPTION + "\n\nThis is `POST /api/chats/{chat_id}/ask` for clients of the original API. The"
        " answer is one text, and `sources` are its messages.",
        parameters=idempotency.PARAMETERS,
        request=RagQuerySerializer,
        responses={
            200: RagAnswerSerializer,
            202: RagAnswerSerializer,
            **problems(400, 401, 411, 413, 415, **_ERRORS),
        },
        examples=[
            OpenApiExample(
                "A question",
                value={"chat_id": api_examples.CHAT_ID, "question": "Where did we want to move to?"},
                request_only=True,
            ),
            example("An answer", api_examples.RAG_ANSWER),
            example("Not answered yet", api_examples.OPEN_RAG_ANSWER, status=202),
            _event_example(api_examples.EVENTS),
            _event_example(api_examples.PROGRESS_EVENT, status=202),
        ],
    )
    @idempotent(rebuild=_replay_rag_query)
    def post(self, request: Request) -> Response:
        """Ask and return the answer."""
        query = RagQuerySerializer(data=parse_body(request))
        query.is_valid(raise_exception=True)
        values = query.validated_data
        question = _ask(
            request,
            get_own_chat(request, values["chat_id"]),
            text=values["question"],
            language=values["language"],
            conversation=values.get("conversation_id"),
        )
        return _respond(request, question, purpose="rag")


class QuestionListView(ListAPIView[ChatQuestion]):
    """GET and DELETE /api/chats/{id}/questions: the questions about a chat."""

    serializer_class = AskedQuestionSerializer
    pagination_class = Pages

    @extend_schema(
        operation_id="list_questions",
        tags=["questions"],
        summary="The questions about a chat and their answers, newest first",
        description="Questions and answers are stored encrypted with the key of the chat, until you delete them or the"
        " chat. Questions of one `conversation` follow each other.",
        responses={200: AskedQuestionSerializer(many=True), **problems(401, 404, 422)},
        examples=[example("An answer", api_examples.ANSWERED_QUESTION)],
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return a page of questions."""
        return super().get(request, *args, **kwargs)

    @extend_schema(
        operation_id="delete_questions",
        tags=["questions"],
        summary="Delete all questions about a chat",
        description="Deletes the questions and their answers. One that is being answered is ended and costs nothing;"
        " spent coins are not returned.",
        responses={204: None, **problems(401, 404)},
    )
    def delete(self, request: Request, chat_id: UUID) -> Response:
        """Delete the questions."""
        questions.delete(ChatQuestion.objects.filter(chat=get_own_chat(request, chat_id)))
        return Response(status=204)

    def get_queryset(self) -> QuerySet[ChatQuestion]:
        """Return the questions of the chat. Raise NotFound."""
        chat = get_own_chat(self.request, self.kwargs["chat_id"])
        return ChatQuestion.objects.filter(chat=chat)

    def paginate_queryset(self, queryset: Any) -> Any:
        """Return the questions of a page, which share one chat: its key is unwrapped once."""
        rows = super().paginate_queryset(queryset) or []
        for row in rows[1:]:
            row.chat = rows[0].chat
        return rows


class QuestionDetailView(APIView):
    """GET and DELETE /api/chats/{id}/questions/{question_id}."""

    renderer_classes = [LineRenderer, EventStreamRenderer]

    @extend_schema(
        operation_id="get_question",
        tags=["questions"],
        summary="A question and its answer",
        description="While the question is open, `step` says what is done now, and Retry-After when to ask again.",
        responses={200: AskedQuestionSerializer, **problems(401, 404)},
        examples=[example("An answer", api_examples.ANSWERED_QUESTION), _event_example(api_examples.EVENTS)],
    )
    def get(self, request: Request, chat_id: UUID, question_id: UUID) -> Response:
        """Return the question."""
        question = _find(request, chat_id, question_id).select_related("chat").first()
        if question is None:
            raise NotFound("There is no such question in this chat.")
        if purpose := following.followed(request._request):
            # The end of a request that waited: it fails as the question did.
            if question.status == ChatQuestion.Status.FAILED:
                questions.raise_failure(question)
            return Response(_SERIALIZERS[purpose](question).data)
        headers = {"Retry-After": str(POLL_SECONDS)} if question.is_open else {}
        return Response(AskedQuestionSerializer(question).data, headers=headers)

    @extend_schema(
        operation_id="delete_question",
        tags=["questions"],
        summary="Delete a question and its answer",
        description="One that is being answered is ended and costs nothing; spent coins are not returned.",
        responses={204: None, **problems(401, 404)},
    )
    def delete(self, request: Request, chat_id: UUID, question_id: UUID) -> Response:
        """Delete the question."""
        if not questions.delete(_find(request, chat_id, question_id)):
            raise NotFound("There is no such question in this chat.")
        return Response(status=204)


def _find(request: Request, chat_id: UUID, question_id: UUID) -> QuerySet[ChatQuestion]:
    return ChatQuestion.objects.filter(chat=get_own_chat(request, chat_id), pk=question_id)
