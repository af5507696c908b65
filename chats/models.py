"""Chats, uploads, transcripts and vectors. Columns named `sealed_…` are encrypted with the data key of the chat."""

from __future__ import annotations

import uuid
from typing import Any, Self

import orjson
from django.conf import settings
from django.db import models
from django.db.models import F, Q, Value
from django.db.models.functions import Now

# Not functools.cached_property: in Python 3.11 it takes a lock that all instances share, so threads would wait.
from django.utils.functional import cached_property

from chats.access_models import ContentAccess, ContentRead  # noqa: F401 (Django finds the models of an app here)
from chats.embedding import get_engine
from chats.key_models import (  # noqa: F401 (Django finds the models of an app here)
    KeyDestruction,
    KeyStoreIdentity,
    is_file_gone,
)
from chats.people import People, Person
from chats.projection import Projection
from relivchats import key_store
from relivchats.crypto import CannotOpen, DataKey
from relivchats.key_store import KeyFileGone, KeyFileMissing

MAX_INDEX_ATTEMPTS = 3


class ChatQuerySet(models.QuerySet["Chat"]):
    """Filters of chats."""

    def owned_by(self, user: Any) -> Self:
        """Return the user's chats."""
        return self.filter(owner=user)

    def unchanged_since(self, chat: Chat) -> Self:
        """Return this chat, or nothing if its title, people or messages were changed since it was loaded.

        Each of these changes seals the title or the statistics again, and sealing twice never gives the same bytes.
        """
        return self.filter(pk=chat.pk, sealed_title=chat.sealed_title, sealed_statistics=chat.sealed_statistics)

    def index_due(self) -> Self:
        """Return chats whose indexing was requested, whose time has come and that a worker can claim."""
        requested = self.filter(
            vector_status=Chat.VectorStatus.PENDING,
            index_requested_at__isnull=False,
            index_attempt__lt=MAX_INDEX_ATTEMPTS,
        )
        return requested.filter(Q(index_not_before=None) | Q(index_not_before__lte=Now()))

    def indexed_by_another_engine(self, name: str) -> Self:
        """Return indexed chats whose vectors are not those of the engine with this name."""
        # Not `exclude`, which reads every chat: for these two comparisons there is an index.
        other = Q(index_engine__lt=name) | Q(index_engine__gt=name)
        return self.filter(other, vector_status=Chat.VectorStatus.COMPLETED)

    def index_lease_expired(self) -> Self:
        """Return chats whose worker stopped renewing its lease."""
        return self.filter(vector_status=Chat.VectorStatus.INDEXING, index_lease_expires_at__lt=Now())


class Chat(models.Model):
    """One imported chat of one owner. Its messages are in `transcript_blocks`."""

    class Status(models.TextChoices):
        """The status of the import. Chats are stored when they are complete, so this is always COMPLETED."""

        PROCESSING = "processing"
        COMPLETED = "completed"
        FAILED = "failed"

    class VectorStatus(models.TextChoices):
        """The status of indexing. A chat whose indexing was never requested is PENDING as well."""

        PENDING = "pending"
        INDEXING = "indexing"
        COMPLETED = "completed"
        FAILED = "failed"

    class Clock(models.TextChoices):
        """LOCAL: times are as printed by the phone. UTC: times are instants."""

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
        max_length=8,
        choices=Clock,
        default=Clock.LOCAL,
        help_text="local: times as printed by the phone. utc: instants.",
    )
    time_zone = models.CharField(max_length=64, blank=True, help_text="IANA name, chosen by the owner.")
    message_count = models.PositiveIntegerField(help_text="Messages that people sent, without system lines.")
    line_count = models.PositiveIntegerField(help_text="The last message number. Counts messages and system lines.")
    participant_count = models.PositiveIntegerField()
    stored_bytes = models.PositiveBigIntegerField(
        default=0, db_default=0, editable=False, help_text="Bytes of its sealed messages."
    )
    first_message_on = models.DateField()
    last_message_on = models.DateField()
    recorded_details = models.JSONField(
        default=list,
        db_default=Value([], models.JSONField()),
        blank=True,
        help_text="What its exports contain besides texts, such as replies and reactions.",
    )
    unreadable_count = models.PositiveIntegerField(
        default=0, db_default=0, help_text="Values that were left out because the messenger wrote them wrongly."
    )
    future_count = models.PositiveIntegerField(
        default=0, db_default=0, help_text="Messages that were dated later than their upload."
    )
    wrapped_key = models.BinaryField(editable=False)
    sealed_title = models.BinaryField(editable=False)
    sealed_participants = models.BinaryField(editable=False)
    sealed_people = models.BinaryField(null=True, editable=False)
    sealed_statistics = models.BinaryField(editable=False)
    statistics_version = models.PositiveSmallIntegerField(
        default=0,
        db_default=0,
        editable=False,
        help_text="The version of the rules by which the statistics were counted.",
    )
    #: HMAC of the export that the chat was made from. Those of exports that extended it are in their ChatUpload rows.
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
    index_not_before = models.DateTimeField(
        null=True, editable=False, help_text="The next attempt waits until then: the provider accepts no calls."
    )
    index_engine = models.CharField(
        max_length=64,
        blank=True,
        db_default="",
        default="",
        editable=False,
        help_text="The embedding engine of the finished index, with its model, size and prefix version.",
    )
    index_from_number = models.PositiveIntegerField(
        null=True, editable=False, help_text="Chunks that end before this message are kept."
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
            models.Index(fields=["index_engine"], name="chats_by_index_engine", condition=Q(vector_status="completed")),
            models.Index(fields=["vector_status"], name="chats_vector_failed", condition=Q(vector_status="failed")),
            # Each unlock asks whether one was indexed recently.
            models.Index(fields=["-indexed_at"], name="chats_last_indexed", condition=Q(indexed_at__isnull=False)),
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
        """Return the data key of the chat. Raise CannotOpen if the key store or the keyring does not unwrap it.

        That is KeyFileGone if the chat's file is missing while its key store is there.
        """
        try:
            return key_store.unwrap(self.wrapped_key, chat_id=self.pk, context=self.context("key"))
        except KeyFileMissing as error:
            if is_file_gone(self.pk):
                raise KeyFileGone(str(error)) from None
            raise

    @property
    def is_openable(self) -> bool:
        """Return whether its title and people can be read. False if a key is missing or the row was damaged."""
        try:
            return bool(self.title and self.participants)
        except CannotOpen:
            return False

    @property
    def is_key_gone(self) -> bool:
        """Return whether its key was destroyed or lost, so that it can only be deleted."""
        try:
            _ = self.key
        except KeyFileGone:
            return True
        except CannotOpen:
            pass
        return False

    @cached_property
    def title(self) -> str:
        """Return the title: the owner's, or the default title."""
        return self.key.open(self.sealed_title, context=self.context("title")).decode()

    @cached_property
    def export_names(self) -> list[str]:
        """Return the names as the export prints them, in order of first appearance. A stored sender is an index."""
        names: list[str] = orjson.loads(self.key.open(self.sealed_participants, context=self.context("participants")))
        return names

    @cached_property
    def chosen_people(self) -> list[Person]:
        """Return the people whom the owner renamed or merged; empty if there are none."""
        if self.sealed_people is None:
            return []
        chosen: list[Person] = orjson.loads(self.key.open(self.sealed_people, context=self.context("people")))
        return chosen

    @cached_property
    def people(self) -> People:
        """Return who is who, according to the export and the owner's choice."""
        return People.resolve(self.export_names, chosen=self.chosen_people)

    @property
    def participants(self) -> list[str]:
        """Return the names to show. The sender of a message that was read is an index into this list."""
        return self.people.names

    @property
    def person_of_name(self) -> dict[str, int]:
        """Return the index in `participants` of each name of the export; renamed and merged people have other names."""
        return dict(zip(self.export_names, self.people.person_of_sender, strict=True))

    @property
    def projection(self) -> Projection:
        """Return how stored messages are shown to the owner."""
        return Projection.for_people(
            self.people, export_names=self.export_names, clock=self.clock, time_zone=self.time_zone
        )

    @cached_property
    def statistics(self) -> dict[str, Any]:
        """Return the statistics as `chats.statistics` counted them."""
        counted: dict[str, Any] = orjson.loads(
            self.key.open(self.sealed_statistics, context=self.context("statistics"))
        )
        return counted

    @property
    def content_version(self) -> tuple[object, ...]:
        """Return a value that changes whenever messages are added, or are shown in another way."""
        return self.line_count, self.time_zone, None if self.sealed_people is None else bytes(self.sealed_people)

    @property
    def is_group(self) -> bool:
        """Return whether the chat has more than two people."""
        return self.participant_count > 2

    @property
    def is_searchable(self) -> bool:
        """Return whether a part of the chat was indexed by the embedding engine in use.

        That part stays searchable while the chat is indexed again.
        """
        return self.indexed_at is not None and self.index_engine == get_engine().name

    @property
    def needs_index(self) -> bool:
        """Return whether its index is missing, not finished, or of another embedding engine."""
        return self.vector_status != Chat.VectorStatus.COMPLETED or not self.is_searchable

    def context(self, column: str) -> str:
        """Return the seal context of a column of this chat. A value moved to another column or chat does not open."""
        return f"chat:{self.pk}:{column}"


class ChatUploadQuerySet(models.QuerySet["ChatUpload"]):
    """Filters of uploads."""

    def unsuccessful(self) -> Self:
        """Return uploads that were refused or failed."""
        return self.filter(outcome__in=[ChatUpload.Outcome.REFUSED, ChatUpload.Outcome.FAILED])


class ChatUpload(models.Model):
    """The log entry of one upload. Of a refused file nothing else is kept."""

    class Outcome(models.TextChoices):
        """How the upload ended. IDENTICAL: the owner has this content. UNCHANGED: it had no new messages to add."""

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
    reason = models.CharField(max_length=64, blank=True, help_text="The name of the error.")
    platform = models.CharField(max_length=16, blank=True)
    dialect = models.CharField(max_length=64, blank=True)
    header_shape = models.CharField(
        max_length=80, blank=True, help_text="The first line, with digits as 9 and letters as a."
    )
    size_bytes = models.PositiveBigIntegerField()
    message_count = models.PositiveIntegerField(default=0, help_text="Messages that the upload added.")
    older_left_out = models.PositiveIntegerField(
        default=0, help_text="Messages that the chat lacks but that are older than its last one."
    )
    #: HMAC of an export that was merged into the chat. It is removed when the chat is erased.
    content_fingerprint = models.BinaryField(null=True, editable=False)
    milliseconds = models.PositiveIntegerField()
    stages = models.JSONField(default=dict, help_text="Milliseconds by stage of the import.")
    request_id = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = ChatUploadQuerySet.as_manager()

    class Meta:
        db_table = "chat_uploads"
        indexes = [
            models.Index(fields=["-created_at"], name="chat_uploads_newest"),
            models.Index(fields=["request_id"], name="chat_uploads_of_request", condition=~Q(request_id="")),
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
    """Up to 500 consecutive messages of a chat, sealed together. Only `chats.transcript` reads and writes them."""

    chat = models.ForeignKey(Chat, models.CASCADE, related_name="blocks")
    first_number = models.PositiveIntegerField()
    last_number = models.PositiveIntegerField()
    min_day = models.IntegerField(
        null=True, editable=False, help_text="The earliest day of a message, in days of the chat's clock since 1970."
    )
    max_day = models.IntegerField(null=True, editable=False, help_text="The latest day, in the same unit.")
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
    """A range of messages of one conversation that retrieval returns as a unit. Contains no text."""

    chat = models.ForeignKey(Chat, models.CASCADE, related_name="chunks")
    number = models.PositiveIntegerField()
    conversation = models.PositiveIntegerField(help_text="The number of the conversation that the chunk is part of.")
    first_number = models.PositiveIntegerField()
    last_number = models.PositiveIntegerField()
    token_count = models.PositiveIntegerField()
    vector_count = models.PositiveSmallIntegerField(
        help_text="Rows of the chat's vector matrix that belong to this chunk."
    )

    class Meta:
        db_table = "chunks"
        constraints = [
            models.UniqueConstraint(fields=["chat", "number"], name="one_chunk_per_number"),
            models.CheckConstraint(condition=Q(last_number__gte=F("first_number")), name="chunk_is_not_empty"),
        ]

    def __str__(self) -> str:
        return f"chunk {self.number} of chat {self.chat_id}"


class VectorMatrix(models.Model):
    """The vectors of one chat in chunk order, as a sealed matrix of little-endian float16."""

    chat = models.OneToOneField(Chat, models.CASCADE, related_name="vectors")
    engine = models.CharField(max_length=64)
    dimensions = models.PositiveSmallIntegerField()
    row_count = models.PositiveIntegerField(default=0, db_default=0)
    sealed = models.BinaryField(editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "vector_matrices"

    def __str__(self) -> str:
        return f"vectors of chat {self.chat_id}"
