"""Who of the staff was allowed to read a chat, and what they opened. Append-only: ids, and the reason that is given."""

from __future__ import annotations

import uuid
from typing import Any, Self

from django.conf import settings
from django.db import models
from django.db.models.functions import Now


class ContentAccessQuerySet(models.QuerySet["ContentAccess"]):
    """Filters of accesses."""

    def active(self) -> Self:
        """Return the accesses that have not ended, by the database clock."""
        return self.filter(expires_at__gt=Now())

    def of_chats_owned_by(self, user: Any) -> Self:
        """Return the accesses to the chats of a user."""
        return self.filter(owner=user)


class ContentAccess(models.Model):
    """One member of staff may read one chat until `expires_at`. The rows outlive the chat and its owner."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    chat = models.ForeignKey("chats.Chat", models.DO_NOTHING, db_constraint=False, related_name="+")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.DO_NOTHING, db_constraint=False, related_name="+")
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.DO_NOTHING,
        db_constraint=False,
        related_name="+",
        help_text="The member of staff.",
    )
    reason = models.CharField(max_length=200, help_text="The owner of the chat can read it.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField()

    objects = ContentAccessQuerySet.as_manager()

    class Meta:
        db_table = "content_accesses"
        verbose_name_plural = "content accesses"
        indexes = [models.Index(fields=["-created_at"], name="content_accesses_newest")]

    def __str__(self) -> str:
        return f"content access {self.pk}"


class ContentRead(models.Model):
    """A page of messages that was opened, by the numbers of its first and last message."""

    access = models.ForeignKey(ContentAccess, models.PROTECT, related_name="reads")
    first_number = models.PositiveIntegerField()
    last_number = models.PositiveIntegerField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "content_reads"
        verbose_name = "opened page"
        verbose_name_plural = "opened pages"
        indexes = [models.Index(fields=["-created_at"], name="content_reads_newest")]

    def __str__(self) -> str:
        return f"opened page {self.pk}"
