"""People who use RelivChats, and the tokens by which their clients speak for them."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models, transaction
from django.db.models.functions import Lower, Now


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str | None, password: str | None = None, **fields: Any) -> User:
        """A person with a lower-cased address; without a password they sign in by token only."""
        user = self.model(email=email.strip().lower() if email else None, **fields)
        user.set_password(password)
        user.full_clean(exclude=["password"])
        user.save()
        return user

    def create_superuser(self, email: str, password: str, **fields: Any) -> User:
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(email=(username or "").strip().lower())


class User(AbstractBaseUser, PermissionsMixin):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    email = models.EmailField(unique=True, null=True, blank=True)
    external_id = models.CharField(
        max_length=255, unique=True, null=True, blank=True, help_text="The identity provider's name for this person."
    )
    is_staff = models.BooleanField(default=False, help_text="May open the admin.")
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = UserManager()

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        db_table = "users"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(email=Lower("email")) | models.Q(email=None), name="user_email_is_lower_case"
            )
        ]

    def __str__(self) -> str:
        return f"user {self.pk}"

    @transaction.atomic
    def save(self, *args: Any, **kwargs: Any) -> None:
        """What is made together with a person (their wallet) is made in the same transaction."""
        super().save(*args, **kwargs)


class AccessToken(models.Model):
    """A bearer token of our own. Only its SHA-256 digest is kept: the token is 256 random bits."""

    user = models.ForeignKey(User, models.CASCADE, related_name="access_tokens")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "access_tokens"

    def __str__(self) -> str:
        return f"access token {self.pk}"


class IdempotencyKey(models.Model):
    """A request that its client may send again: running until it has a `status`, then its answer, for a day.

    Only `relivchats.idempotency` writes it. The key and the request are kept as digests, the answer sealed.
    """

    user = models.ForeignKey(User, models.CASCADE, related_name="idempotency_keys")
    digest = models.CharField(max_length=64, editable=False)
    fingerprint = models.CharField(max_length=64, editable=False)
    token = models.UUIDField(editable=False, help_text="Of the process that answers, while its lease lasts.")
    lease_expires_at = models.DateTimeField()
    status = models.PositiveSmallIntegerField(null=True, help_text="Of the answer; none while it is being made.")
    sealed_answer = models.BinaryField(null=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "idempotency_keys"
        indexes = [models.Index(fields=["expires_at"], name="idempotency_keys_expiry")]
        constraints = [
            models.UniqueConstraint(fields=["user", "digest"], name="one_request_per_idempotency_key"),
            models.CheckConstraint(
                condition=models.Q(status__isnull=True, sealed_answer__isnull=True)
                | models.Q(status__isnull=False, sealed_answer__isnull=False),
                name="idempotency_key_answered_iff_status",
            ),
        ]

    def __str__(self) -> str:
        return f"idempotency key {self.pk}"
