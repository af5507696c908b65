"""Users, their API tokens and their idempotency keys."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models, transaction
from django.db.models.functions import Lower, Now


class UserManager(BaseUserManager["User"]):
    """Creates users and finds them by e-mail address, in lower case."""

    def create_user(self, email: str | None, password: str | None = None, **fields: Any) -> User:
        """Create a user with a lower-case address. Without a password, only tokens can be used."""
        user = self.model(email=email.strip().lower() if email else None, **fields)
        user.set_password(password)
        user.full_clean(exclude=["password"])
        user.save()
        return user

    def create_superuser(self, email: str, password: str, **fields: Any) -> User:
        """Create a user with all permissions."""
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    def get_by_natural_key(self, username: str | None) -> User:
        """Return the user with this address. Raise User.DoesNotExist."""
        return self.get(email=(username or "").strip().lower())


class User(AbstractBaseUser, PermissionsMixin):
    """A person who uses RelivChats, or a member of staff. Identified by e-mail address or by an identity provider."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    email = models.EmailField(unique=True, null=True, blank=True)
    external_id = models.CharField(
        max_length=255, unique=True, null=True, blank=True, help_text="The id of this user at the identity provider."
    )
    is_staff = models.BooleanField(default=False, help_text="Can open the admin.")
    is_active = models.BooleanField(default=True)
    password_set_by = models.UUIDField(
        null=True, editable=False, help_text="The other user who last set the password, and so may know it."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = UserManager()

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        db_table = "users"
        indexes = [models.Index(fields=["-created_at"], name="users_newest")]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(email=Lower("email")) | models.Q(email=None), name="user_email_is_lower_case"
            )
        ]

    def __str__(self) -> str:
        return f"user {self.pk}"

    @property
    def is_privileged(self) -> bool:
        """Whether the user is staff, or has permissions for when they become staff."""
        if self.is_staff or self.is_superuser:
            return True
        return self.groups.exists() or self.user_permissions.exists()

    @transaction.atomic
    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save in a transaction, so that a signal creates the user's wallet in the same one."""
        super().save(*args, **kwargs)


class AccessToken(models.Model):
    """An API token that we issued. Only its SHA-256 digest is stored, which suffices for 256 random bits."""

    user = models.ForeignKey(User, models.CASCADE, related_name="access_tokens")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "access_tokens"
        indexes = [models.Index(fields=["-created_at"], name="access_tokens_newest")]

    def __str__(self) -> str:
        return f"access token {self.pk}"


class IdempotencyKey(models.Model):
    """A request under an Idempotency-Key. It is running until it has a `status`; its response is stored for 24 hours.

    Only `relivchats.idempotency` writes it. Key and request are stored as digests, the response is sealed.
    """

    RETENTION = timedelta(hours=24)

    user = models.ForeignKey(User, models.CASCADE, related_name="idempotency_keys")
    digest = models.CharField(max_length=64, editable=False)
    fingerprint = models.CharField(max_length=64, editable=False)
    token = models.UUIDField(
        editable=False, help_text="Identifies the process that handles the request, while its lease lasts."
    )
    lease_expires_at = models.DateTimeField()
    status = models.PositiveSmallIntegerField(
        null=True, help_text="Of the response; empty while the request is running."
    )
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
