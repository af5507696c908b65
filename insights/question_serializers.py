"""Serializers of questions and answers. Nothing here is logged."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from insights.question_models import ChatQuestion
from insights.questions import MAX_QUESTION_LENGTH
from insights.requested_language import WrittenLanguageField
from relivchats.rest import ClosedSerializer, IdField

_CONVERSATION_HELP = "The `conversation` of an earlier question in this chat, which the new one follows."
_LANGUAGE_HELP = "The language of the answer: `en`, `hi`, `es`, `pt` or `de`; `pt-BR` is `pt`."


def _check_text(text: str) -> None:
    """Raise ValidationError for half of a surrogate pair, which is no character and cannot be stored."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise serializers.ValidationError("This contains half of a character. Send whole characters.")


class QuestionField(serializers.CharField):
    """The text of a question."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=MAX_QUESTION_LENGTH, validators=[_check_text], **kwargs)


class AskSerializer(ClosedSerializer):
    """A question about a chat."""

    question = QuestionField(help_text="In your own words. Each person is called as in the chat.")
    conversation = IdField(required=False, allow_null=True, help_text=_CONVERSATION_HELP)
    language = WrittenLanguageField(help_text=_LANGUAGE_HELP)


class RagQuerySerializer(ClosedSerializer):
    """A question about a chat, as clients of the original API send it."""

    chat_id = IdField()
    question = QuestionField(required=False)
    query = QuestionField(required=False, help_text="Another name of `question`.")
    conversation_id = IdField(required=False, allow_null=True, help_text=_CONVERSATION_HELP)
    language = WrittenLanguageField(help_text=_LANGUAGE_HELP)

    def validate(self, values: Any) -> Any:
        """Return the values with `question`. Raise ValidationError unless exactly one of the two names is used."""
        named = [values[name] for name in ("question", "query") if name in values]
        if len(named) != 1:
            raise serializers.ValidationError({"question": "Send your question as `question`, once."})
        return {**values, "question": named[0]}


class CitedMessageSerializer(serializers.Serializer[Any]):
    """A message of the chat, as it is in the transcript."""

    number = serializers.IntegerField()
    sender = serializers.CharField(help_text="The name at the time of the answer.")
    sent_at = serializers.CharField(help_text="Local time without an offset.")
    text = serializers.CharField()


class AnswerClaimSerializer(serializers.Serializer[Any]):
    """A sentence of the answer, verified, with the messages that show it."""

    sentence = serializers.CharField()
    messages = CitedMessageSerializer(many=True)


class FoundConversationSerializer(serializers.Serializer[Any]):
    """A conversation that was found."""

    messages = CitedMessageSerializer(many=True)


class AnswerSerializer(serializers.Serializer[Any]):
    """An answer."""

    outcome = serializers.ChoiceField(
        ["answered", "not_in_chat", "searched"],
        help_text="`answered`: by `claims`. `not_in_chat`: the messages that were read do not answer it. `searched`:"
        " the engine of this server only searches; `conversations` has what it found.",
    )
    answer = serializers.CharField(help_text="The whole answer as a text. It begins with `notice`.")
    notice = serializers.CharField(
        help_text="Where to find help, if the question or messages may speak of danger. Such messages are not quoted."
    )
    claims = AnswerClaimSerializer(many=True)
    conversations = FoundConversationSerializer(many=True, help_text="The best first; at most five.")
    messages_read = serializers.IntegerField(help_text="Messages that were found, or shown to the model.")
    language = serializers.CharField()


class AskedQuestionSerializer(serializers.ModelSerializer[ChatQuestion]):
    """A question with its answer."""

    chat_id = serializers.UUIDField(read_only=True)
    question = serializers.CharField(source="open_question", read_only=True)
    answer = serializers.SerializerMethodField(help_text="Null until it is answered.")

    class Meta:
        model = ChatQuestion
        fields = (
            "id",
            "chat_id",
            "conversation",
            "question",
            "language",
            "status",
            "step",
            "messages_read",
            "price",
            "error_code",
            "engine",
            "model",
            "created_at",
            "finished_at",
            "answer",
        )
        read_only_fields = fields
        extra_kwargs = {
            "conversation": {"help_text": "Send it with a question that follows this one."},
            "price": {"help_text": "Coins that an answer costs. What is not answered costs nothing."},
        }

    @extend_schema_field(AnswerSerializer(allow_null=True))
    def get_answer(self, question: ChatQuestion) -> Any:
        """Return the answer's document."""
        return question.open_answer()


class RagAnswerSerializer(serializers.ModelSerializer[ChatQuestion]):
    """A question with its answer as one text and its sources, for clients of the original API."""

    chat_id = serializers.UUIDField(read_only=True)
    conversation_id = serializers.UUIDField(source="conversation", read_only=True)
    question = serializers.CharField(source="open_question", read_only=True)
    outcome = serializers.CharField(read_only=True)
    answer = serializers.SerializerMethodField(help_text="Null until it is answered.")
    sources = serializers.SerializerMethodField(help_text="Messages that the answer cites, or that were found.")

    class Meta:
        model = ChatQuestion
        fields = ("id", "chat_id", "conversation_id", "status", "question", "outcome", "answer", "sources")
        read_only_fields = fields

    @extend_schema_field(serializers.CharField(allow_null=True))
    def get_answer(self, question: ChatQuestion) -> Any:
        """Return the answer's text."""
        document = question.open_answer()
        return document and document["answer"]

    @extend_schema_field(CitedMessageSerializer(many=True))
    def get_sources(self, question: ChatQuestion) -> Any:
        """Return the cited messages of an answer, or the found ones, each once."""
        document = question.open_answer() or {}
        parts = [*document.get("claims", ()), *document.get("conversations", ())]
        return list({message["number"]: message for part in parts for message in part["messages"]}.values())
