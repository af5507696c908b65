"""Questions about chats. The question and the answer are encrypted with the data key of the chat."""

from __future__ import annotations

import uuid
from typing import Any, Self

import orjson
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing.models import CoinReservation
from chats.models import Chat


class QuestionQuerySet(models.QuerySet["ChatQuestion"]):
    """Questions by status, deadline and lease."""

    def open(self) -> Self:
        """Return the questions that are pending or being answered."""
        return self.filter(status__in=ChatQuestion.OPEN)

    def due(self) -> Self:
        """Return the pending questions before their deadline, by the database's clock."""
        return self.filter(status=ChatQuestion.Status.PENDING, deadline_at__gt=Now())

    def lease_expired(self) -> Self:
        """Return the questions whose worker stopped renewing its lease."""
        return self.filter(status=ChatQuestion.Status.ANSWERING, lease_expires_at__lt=Now())

    def lost(self) -> Self:
        """Return the open questions that nobody will answer: past their deadline, or of a worker that is gone."""
        return self.open().filter(Q(deadline_at__lt=Now()) | Q(lease_expires_at__lt=Now()))


class ChatQuestion(models.Model):
    """A question about a chat and its answer. Each is answered in one attempt, before its deadline.

    `conversation` groups the questions that follow each other. `reservation` is null if the question is free. Deleting
    the row deletes both texts. All other columns are numbers, times and codes.
    """

    class Status(models.TextChoices):
        PENDING = "pending"
        ANSWERING = "answering"
        ANSWERED = "answered"
        FAILED = "failed"

    class Step(models.TextChoices):
        WAITING = "waiting"
        SEARCHING = "searching"
        READING = "reading"
        VERIFYING = "verifying"
        DONE = "done"

    OPEN = (Status.PENDING, Status.ANSWERING)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    chat = models.ForeignKey(Chat, models.CASCADE, related_name="questions")
    conversation = models.UUIDField(default=uuid.uuid4, editable=False)
    status = models.CharField(max_length=16, choices=Status, default=Status.PENDING)
    step = models.CharField(max_length=16, choices=Step, default=Step.WAITING, help_text="What is done now.")
    language = models.CharField(max_length=8, default="en")
    sealed_question = models.BinaryField(editable=False)
    sealed_answer = models.BinaryField(null=True, editable=False)
    price = models.PositiveIntegerField(default=0, help_text="Coins that an answer costs.")
    reservation = models.OneToOneField(CoinReservation, models.PROTECT, null=True, related_name="question")
    outcome = models.CharField(max_length=16, blank=True, help_text="answered, not_in_chat or searched.")
    engine = models.CharField(max_length=32, blank=True)
    model = models.CharField(max_length=64, blank=True)
    prompt_version = models.CharField(max_length=32, blank=True)
    rounds = models.PositiveSmallIntegerField(default=0, help_text="Calls that answered or asked for searches.")
    messages_read = models.PositiveIntegerField(default=0, help_text="Messages that were found, or shown to the model.")
    claims = models.PositiveSmallIntegerField(default=0, help_text="Verified sentences of the answer.")
    tokens_in = models.PositiveIntegerField(default=0)
    tokens_out = models.PositiveIntegerField(default=0)
    milliseconds = models.PositiveIntegerField(default=0)
    error_code = models.CharField(max_length=64, blank=True)
    retry_after_seconds = models.PositiveIntegerField(default=0, help_text="When the provider answers again.")
    attempt = models.PositiveSmallIntegerField(default=0)
    lease_token = models.UUIDField(null=True, editable=False)
    lease_expires_at = models.DateTimeField(null=True, editable=False)
    dispatched_at = models.DateTimeField(null=True, editable=False)
    deadline_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = QuestionQuerySet.as_manager()

    class Meta:
        db_table = "chat_questions"
        indexes = [
            models.Index(fields=["chat", "-created_at", "-id"], name="questions_of_chat"),
            models.Index(
                fields=["deadline_at"], name="questions_open", condition=Q(status__in=["pending", "answering"])
            ),
            models.Index(fields=["-created_at"], name="questions_newest"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(status="answering", lease_token__isnull=False, lease_expires_at__isnull=False)
                | (~Q(status="answering") & Q(lease_token__isnull=True, lease_expires_at__isnull=True)),
                name="question_leased_iff_being_answered",
            ),
            models.CheckConstraint(
                condition=Q(status__in=["pending", "answering"], finished_at__isnull=True)
                | Q(status__in=["answered", "failed"], finished_at__isnull=False),
                name="question_finished_iff_not_open",
            ),
            models.CheckConstraint(
                condition=Q(status="answered", sealed_answer__isnull=False)
                | (~Q(status="answered") & Q(sealed_answer__isnull=True)),
                name="question_has_an_answer_iff_answered",
            ),
            models.CheckConstraint(
                condition=Q(price=0, reservation__isnull=True) | Q(price__gt=0, reservation__isnull=False),
                name="question_has_a_reservation_iff_it_costs",
            ),
            models.CheckConstraint(
                condition=~Q(status="failed") | ~Q(error_code=""), name="failed_question_has_an_error_code"
            ),
        ]

    def __str__(self) -> str:
        return f"question {self.pk}"

    @property
    def is_open(self) -> bool:
        """Whether the question is not answered and did not fail."""
        return self.status in self.OPEN

    def seal_question(self, text: str) -> bytes:
        """Return the question as it is stored."""
        return self.chat.key.seal(text.encode(), context=self._context("question"))

    def open_question(self) -> str:
        """Return the question. Raise CannotOpen."""
        return self.chat.key.open(self.sealed_question, context=self._context("question")).decode()

    def seal_answer(self, document: Any) -> bytes:
        """Return the answer's document as it is stored."""
        return self.chat.key.seal(orjson.dumps(document), context=self._context("answer"))

    def open_answer(self) -> dict[str, Any] | None:
        """Return the answer's document (insights/asking.py gives its shape), or None until it is answered."""
        if self.sealed_answer is None:
            return None
        document: dict[str, Any] = orjson.loads(self.chat.key.open(self.sealed_answer, context=self._context("answer")))
        return document

    def _context(self, part: str) -> str:
        return self.chat.context(f"question:{self.pk}:{part}")
