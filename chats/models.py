"""What a person uploaded. Columns named `sealed_…` hold what is private, under the chat's own data key."""

from __future__ import annotations

import uuid
from typing import Any, Self

import orjson
from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

# Not functools': in Python 3.11 that one takes a lock which all instances share, so chats would wait for each other.
from django.utils.functional import cached_property

from chats.people import People, Person
from chats.projection import Projection
from relivchats.crypto import DataKey, keyring


class ChatQuerySet(models.QuerySet["Chat"]):
    def owned_by(self, user: Any) -> Self:
        return self.filter(owner=user)

    def unchanged_since(self, chat: Chat) -> Self:
        """That chat, while it is as it was loaded: whatever changes people or messages seals the statistics anew."""
        return self.filter(pk=chat.pk, sealed_title=chat.sealed_title, sealed_statistics=chat.sealed_statistics)

    def index_due(self) -> Self:
        """Asked to be searchable, and nobody is at it."""
        return self.filter(vector_status=Chat.VectorStatus.PENDING, index_requested_at__isnull=False)

    def index_lease_expired(self) -> Self:
        """Being indexed by a process that stopped renewing its lease."""
        return self.filter(vector_status=Chat.VectorStatus.INDEXING, index_lease_expires_at__lt=Now())


class Chat(models.Model):
    class Status(models.TextChoices):
        PROCESSING = "processing"
        COMPLETED = "completed"
        FAILED = "failed"

    class VectorStatus(models.TextChoices):
        PENDING = "pending"
        INDEXING = "indexing"
        COMPLETED = "completed"
        FAILED = "failed"

    class Clock(models.TextChoices):
        LOCAL = "local"
        UTC = "utc"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="chats")
    status = models.CharField(max_length=16, choices=Status, default=Status.COMPLETED)
    platform = models.CharField(max_length=16)
    dialect = models.CharField(max_length=64)
    date_order = models.CharField(max_length=3)
    ambiguous_dates = models.BooleanField(default=False)
    clock = models.CharField(
        max_length=8, choices=Clock, default=Clock.LOCAL, help_text="Whether times are the wall clock's or instants."
    )
    time_zone = models.CharField(max_length=64, blank=True, help_text="Where the wall clock is; its owner's choice.")
    message_count = models.PositiveIntegerField(help_text="What people sent; system lines are not counted.")
    line_count = models.PositiveIntegerField(help_text="The last message number: messages and system lines.")
    participant_count = models.PositiveIntegerField()
    first_message_on = models.DateField()
    last_message_on = models.DateField()
    wrapped_key = models.BinaryField(editable=False)
    sealed_title = models.BinaryField(editable=False)
    sealed_participants = models.BinaryField(editable=False)
    sealed_people = models.BinaryField(null=True, editable=False)
    sealed_statistics = models.BinaryField(editable=False)
    #: Of the file that it was made from, under a key of the keyring. Those of files that extended it stand with them.
    content_fingerprint = models.BinaryField(null=True, editable=False)

    vector_status = models.CharField(max_length=16, choices=VectorStatus, default=VectorStatus.PENDING)
    chunk_count = models.PositiveIntegerField(default=0)
    indexed_at = models.DateTimeField(null=True, editable=False)
    index_requested_at = models.DateTimeField(null=True, editable=False)
    index_dispatched_at = models.DateTimeField(null=True, editable=False)
    index_lease_token = models.UUIDField(null=True, editable=False)
    index_lease_expires_at = models.DateTimeField(null=True, editable=False)
    index_attempt = models.PositiveSmallIntegerField(default=0, editable=False)
    index_error_code = models.CharField(max_length=64, blank=True, editable=False)
    index_from_number = models.PositiveIntegerField(
        null=True, editable=False, help_text="The chunks of what stands before this message are kept."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = ChatQuerySet.as_manager()

    class Meta:
        db_table = "chats"
        indexes = [
            models.Index(fields=["owner", "-created_at", "-id"], name="chats_of_owner"),
            models.Index(fields=["-created_at"], name="chats_newest"),
            models.Index(
                fields=["index_requested_at"],
                name="chats_index_wanted",
                condition=Q(vector_status__in=["pending", "indexing"], index_requested_at__isnull=False),
            ),
            models.Index(
                fields=["index_lease_expires_at"], name="chats_index_leased", condition=Q(vector_status="indexing")
            ),
            models.Index(fields=["vector_status"], name="chats_vector_failed", condition=Q(vector_status="failed")),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(vector_status="indexing", index_lease_token__isnull=False)
                | (~Q(vector_status="indexing") & Q(index_lease_token__isnull=True)),
                name="chat_index_lease_iff_indexing",
            ),
            models.CheckConstraint(condition=Q(message_count__gte=1), name="chat_has_messages"),
            models.UniqueConstraint(fields=["owner", "content_fingerprint"], name="one_chat_per_owner_and_content"),
        ]

    def __str__(self) -> str:
        return f"chat {self.pk}"

    @cached_property
    def key(self) -> DataKey:
        return keyring().unwrap(self.wrapped_key, context=self.context("key"))

    @cached_property
    def title(self) -> str:
        return self.key.open(self.sealed_title, context=self.context("title")).decode()

    @cached_property
    def export_names(self) -> list[str]:
        """Names as the export prints them, in order of first appearance; a stored sender is an index into them."""
        names: list[str] = orjson.loads(self.key.open(self.sealed_participants, context=self.context("participants")))
        return names

    @cached_property
    def chosen_people(self) -> list[Person]:
        """Whom its owner named or put together; empty when nobody was."""
        if self.sealed_people is None:
            return []
        chosen: list[Person] = orjson.loads(self.key.open(self.sealed_people, context=self.context("people")))
        return chosen

    @cached_property
    def people(self) -> People:
        return People.resolve(self.export_names, chosen=self.chosen_people)

    @property
    def participants(self) -> list[str]:
        """The people's names as their owner wants them shown; the sender of a message that was read indexes them."""
        return self.people.names

    @property
    def projection(self) -> Projection:
        return Projection.for_people(self.people, clock=self.clock, time_zone=self.time_zone)

    @cached_property
    def statistics(self) -> dict[str, Any]:
        """As `chats.statistics` counted them."""
        counted: dict[str, Any] = orjson.loads(
            self.key.open(self.sealed_statistics, context=self.context("statistics"))
        )
        return counted

    @property
    def content_version(self) -> tuple[object, ...]:
        """Another whenever messages were added, or are read in another way."""
        return self.line_count, self.time_zone, None if self.sealed_people is None else bytes(self.sealed_people)

    @property
    def is_group(self) -> bool:
        return self.participant_count > 2

    @property
    def is_searchable(self) -> bool:
        """Once it was indexed, what was is searched until it is indexed anew."""
        return self.indexed_at is not None

    def context(self, column: str) -> str:
        """Where a sealed value of this chat belongs; crypto refuses it anywhere else."""
        return f"chat:{self.pk}:{column}"


class ChatUploadQuerySet(models.QuerySet["ChatUpload"]):
    def unsuccessful(self) -> Self:
        return self.filter(outcome__in=[ChatUpload.Outcome.REFUSED, ChatUpload.Outcome.FAILED])


class ChatUpload(models.Model):
    """What became of one upload. Nothing of a refused file stays but this row."""

    class Outcome(models.TextChoices):
        ACCEPTED = "accepted"
        IDENTICAL = "identical"
        EXTENDED = "extended"
        UNCHANGED = "unchanged"
        REFUSED = "refused"
        FAILED = "failed"

    #: Outcomes after which the response contains a chat.
    SUCCESSFUL = (Outcome.ACCEPTED, Outcome.IDENTICAL, Outcome.EXTENDED, Outcome.UNCHANGED)

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="uploads")
    chat = models.ForeignKey(Chat, models.SET_NULL, null=True, blank=True, related_name="uploads")
    outcome = models.CharField(max_length=16, choices=Outcome)
    error_code = models.CharField(max_length=64, blank=True)
    reason = models.CharField(max_length=64, blank=True, help_text="The refusal's short name.")
    platform = models.CharField(max_length=16, blank=True)
    dialect = models.CharField(max_length=64, blank=True)
    header_shape = models.CharField(max_length=80, blank=True, help_text="Digits as 9, letters as a.")
    size_bytes = models.PositiveBigIntegerField()
    message_count = models.PositiveIntegerField(default=0, help_text="How many messages it brought.")
    older_left_out = models.PositiveIntegerField(
        default=0, help_text="Its messages from before the chat's last that the chat lacks."
    )
    #: Of a file that was added to the chat, under a key of the keyring. It goes with the chat.
    content_fingerprint = models.BinaryField(null=True, editable=False)
    milliseconds = models.PositiveIntegerField()
    stages = models.JSONField(default=dict, help_text="Milliseconds by stage.")
    request_id = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = ChatUploadQuerySet.as_manager()

    class Meta:
        db_table = "chat_uploads"
        indexes = [
            models.Index(fields=["-created_at"], name="chat_uploads_newest"),
            models.Index(fields=["outcome", "-created_at"], name="chat_uploads_by_outcome"),
            models.Index(
                fields=["reason", "header_shape"],
                name="chat_uploads_failures",
                condition=Q(outcome__in=["refused", "failed"]),
            ),
            models.Index(
                fields=["owner", "content_fingerprint"],
                name="chat_uploads_by_content",
                condition=Q(content_fingerprint__isnull=False),
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(content_fingerprint__isnull=True) | Q(chat__isnull=False),
                name="no_fingerprint_without_its_chat",
            ),
        ]

    def __str__(self) -> str:
        return f"upload {self.pk}"


class TranscriptBlock(models.Model):
    """About 500 consecutive messages of a chat, sealed together. Only `transcript` reads and writes them."""

    chat = models.ForeignKey(Chat, models.CASCADE, related_name="blocks")
    first_number = models.PositiveIntegerField()
    last_number = models.PositiveIntegerField()
    sealed = models.BinaryField(editable=False)

    class Meta:
        db_table = "transcript_blocks"
        constraints = [
            models.UniqueConstraint(fields=["chat", "first_number"], name="one_block_per_first_number"),
            models.CheckConstraint(condition=Q(last_number__gte=F("first_number")), name="block_is_not_empty"),
        ]

    def __str__(self) -> str:
        return f"block {self.pk} of chat {self.chat_id}"


class Chunk(models.Model):
    """A range of messages that retrieval handles as one: part of a conversation. Holds no text."""

    chat = models.ForeignKey(Chat, models.CASCADE, related_name="chunks")
    number = models.PositiveIntegerField()
    conversation = models.PositiveIntegerField(help_text="Chunks of one conversation share this number.")
    first_number = models.PositiveIntegerField()
    last_number = models.PositiveIntegerField()
    token_count = models.PositiveIntegerField()
    vector_count = models.PositiveSmallIntegerField(help_text="Rows of the chat's matrix that belong to it.")

    class Meta:
        db_table = "chunks"
        constraints = [
            models.UniqueConstraint(fields=["chat", "number"], name="one_chunk_per_number"),
            models.CheckConstraint(condition=Q(last_number__gte=F("first_number")), name="chunk_is_not_empty"),
        ]

    def __str__(self) -> str:
        return f"chunk {self.number} of chat {self.chat_id}"


class VectorMatrix(models.Model):
    """The chunks' vectors of one chat, in chunk order: a sealed little-endian float16 matrix."""

    chat = models.OneToOneField(Chat, models.CASCADE, related_name="vectors")
    engine = models.CharField(max_length=64)
    dimensions = models.PositiveSmallIntegerField()
    sealed = models.BinaryField(editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "vector_matrices"

    def __str__(self) -> str:
        return f"vectors of chat {self.chat_id}"
