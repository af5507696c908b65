"""The catalogue of insights, the job of each unlock, and the insights that jobs deliver."""

from __future__ import annotations

import uuid
from typing import Any, Self

import orjson
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F, Q, Value
from django.db.models.functions import Now

from billing.models import CoinReservation
from chats.models import Chat
from insights.engines import ENGINES
from insights.question_models import ChatQuestion  # noqa: F401 (Django finds the models of an app here)


class EnginePriced(models.Model):
    """A row of the catalogue with a price, and with other prices for some engines."""

    MIN_PRICE = 1

    price: models.PositiveIntegerField[int, int]
    engine_prices: models.JSONField[dict[str, int], dict[str, int]]

    class Meta:
        abstract = True

    @property
    def current_price(self) -> int:
        """The price in coins with this server's engine: what is shown, reserved and charged."""
        price: int = self.engine_prices.get(settings.INSIGHT_ENGINE, self.price)
        return price

    def clean(self) -> None:
        """Raise ValidationError if an engine's price is not one."""
        prices = self.engine_prices
        if not isinstance(prices, dict):
            raise ValidationError({"engine_prices": 'Enter an object, such as {"local": 20}.'})
        for engine, price in prices.items():
            if engine not in ENGINES:
                raise ValidationError({"engine_prices": f"{engine!r} is none of {', '.join(sorted(ENGINES))}."})
            if type(price) is not int or price < self.MIN_PRICE:
                raise ValidationError({"engine_prices": f"The price for {engine} must be at least {self.MIN_PRICE}."})


class Category(EnginePriced):
    """A group of insight types that is sold as a whole for `price`, in coins."""

    MIN_PRICE = 50

    id = models.SlugField(primary_key=True, max_length=64)
    title = models.CharField(max_length=100)
    description = models.TextField(blank=True)
    icon = models.CharField(max_length=16, blank=True)
    price = models.PositiveIntegerField(
        validators=[MinValueValidator(MIN_PRICE)], help_text="Coins for the whole category, split over its insights."
    )
    engine_prices = models.JSONField(
        default=dict,
        db_default=Value({}, models.JSONField()),
        blank=True,
        help_text='Other prices by engine, such as {"local": 80}.',
    )
    not_for = models.JSONField(
        default=list,
        db_default=Value([], models.JSONField()),
        blank=True,
        help_text='Relationships that its insights are refused for, such as ["family", "colleagues"].',
    )
    display_order = models.PositiveSmallIntegerField(default=0)
    active = models.BooleanField(default=True)
    loaded_digest = models.CharField(max_length=64, blank=True, editable=False)

    class Meta:
        db_table = "analysis_categories"
        ordering = ["display_order", "id"]
        verbose_name_plural = "categories"

    def __str__(self) -> str:
        return self.id


class InsightType(EnginePriced):
    """An insight that can be unlocked. A change of `definition`, the table of its sections, creates a new version."""

    id = models.SlugField(primary_key=True, max_length=64)
    category = models.ForeignKey(Category, models.PROTECT, related_name="types")
    title = models.CharField(max_length=100)
    icon = models.CharField(max_length=16, blank=True)
    purpose = models.TextField()
    price = models.PositiveIntegerField(help_text="Coins for this insight alone.")
    engine_prices = models.JSONField(
        default=dict,
        db_default=Value({}, models.JSONField()),
        blank=True,
        help_text='Other prices by engine, such as {"local": 20}.',
    )
    groups = models.BooleanField(help_text="Available for chats of more than two people.")
    min_messages = models.PositiveIntegerField(
        help_text="A chat with fewer messages is rejected before coins are reserved."
    )
    display_order = models.PositiveSmallIntegerField(default=0)
    active = models.BooleanField(default=True)
    definition = models.JSONField(help_text="Sections, scales, facts and queries. Validated when saved.")
    version = models.PositiveIntegerField(default=1, editable=False)
    loaded_digest = models.CharField(max_length=64, blank=True, editable=False)

    class Meta:
        db_table = "insight_types"
        ordering = ["category", "display_order", "id"]
        constraints = [models.CheckConstraint(condition=Q(price__gt=0), name="insight_type_has_a_price")]

    def __str__(self) -> str:
        return self.id


class InsightTypeVersion(models.Model):
    """One version of a definition; each insight refers to the one it was generated with. Rows never change."""

    insight_type = models.ForeignKey(InsightType, models.CASCADE, related_name="versions")
    version = models.PositiveIntegerField()
    definition = models.JSONField()
    saved_by = models.CharField(
        max_length=150, blank=True, db_default="", help_text="`user ID`, or `catalogue`. Empty for early versions."
    )
    reason = models.CharField(max_length=200, blank=True, db_default="")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "insight_type_versions"
        constraints = [models.UniqueConstraint(fields=["insight_type", "version"], name="one_definition_per_version")]

    def __str__(self) -> str:
        return f"{self.insight_type_id} v{self.version}"


class PromptVersion(models.Model):
    """One text of a prompt for language models, recorded when a release first has it. Rows never change."""

    name = models.CharField(max_length=32)
    digest = models.CharField(max_length=64, help_text="SHA-256 of the text.")
    text = models.TextField()
    first_seen_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "prompt_versions"
        constraints = [models.UniqueConstraint(fields=["name", "digest"], name="one_row_per_text_of_a_prompt")]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def version(self) -> str:
        """The first digits of the digest."""
        return self.digest[:12]


class PromptSet(models.Model):
    """The prompts of a release. Insights name its version as their `prompt_version`. Rows never change."""

    version = models.CharField(primary_key=True, max_length=32)
    prompts = models.ManyToManyField(PromptVersion, related_name="sets")
    first_seen_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "prompt_sets"

    def __str__(self) -> str:
        return self.version


class JobQuerySet(models.QuerySet["GenerationJob"]):
    """Jobs by what they wait for."""

    def open(self) -> Self:
        """Return the jobs that are not finished."""
        return self.filter(status__in=GenerationJob.OPEN)

    def overdue(self) -> Self:
        """Return the open jobs past their deadline by the database's clock."""
        return self.open().filter(deadline_at__lt=Now())

    def unsettled(self) -> Self:
        """Return the open jobs without an open insight: a crash came between the last insight and the settlement."""
        return self.open().exclude(insights__status__in=Insight.OPEN)


class GenerationJob(models.Model):
    """One unlock: its insights, its reservation and its deadline. Only `settlement` closes it.

    insights/deadlines.py says what `deadline_at` is before and after the start.
    """

    class Status(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        COMPLETED = "completed"
        PARTIAL_FAILURE = "partial_failure"
        FAILED = "failed"

    OPEN = (Status.QUEUED, Status.RUNNING)

    job_id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    chat = models.ForeignKey(Chat, models.SET_NULL, null=True, related_name="jobs")
    category = models.ForeignKey(Category, models.PROTECT, related_name="jobs")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="jobs")
    reservation = models.OneToOneField(CoinReservation, models.PROTECT, related_name="job")
    status = models.CharField(max_length=16, choices=Status, default=Status.QUEUED)
    total_insights = models.PositiveSmallIntegerField()
    completed_insights = models.PositiveSmallIntegerField(default=0)
    failed_insights = models.PositiveSmallIntegerField(default=0)
    started_at = models.DateTimeField(null=True)
    deadline_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = JobQuerySet.as_manager()

    class Meta:
        db_table = "insight_generation_jobs"
        indexes = [
            models.Index(
                fields=["deadline_at"], name="jobs_open_deadline", condition=Q(status__in=["queued", "running"])
            ),
            models.Index(fields=["chat", "-created_at"], name="jobs_of_chat"),
            models.Index(fields=["user", "-created_at"], name="jobs_of_user"),
            models.Index(fields=["-created_at"], name="jobs_newest"),
            models.Index(fields=["-finished_at"], name="jobs_last_finished"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=["queued", "running"], finished_at__isnull=True)
                | Q(status__in=["completed", "partial_failure", "failed"], finished_at__isnull=False),
                name="job_finished_iff_not_open",
            ),
            models.CheckConstraint(
                condition=Q(total_insights__gte=F("completed_insights") + F("failed_insights")),
                name="job_counts_within_total",
            ),
            models.CheckConstraint(condition=Q(total_insights__gt=0), name="job_has_insights"),
        ]

    def __str__(self) -> str:
        return f"job {self.pk}"

    @property
    def is_open(self) -> bool:
        """Whether the job is not finished."""
        return self.status in self.OPEN


class InsightQuerySet(models.QuerySet["Insight"]):
    """Insights by owner, status and lease."""

    def owned_by(self, user: Any) -> Self:
        """Return the insights that this user unlocked."""
        return self.filter(job__user=user)

    def open(self) -> Self:
        """Return the insights that are pending or being generated."""
        return self.filter(status__in=Insight.OPEN)

    def due(self) -> Self:
        """Return the pending insights whose next attempt is due by the database's clock."""
        return self.filter(status=Insight.Status.PENDING, next_attempt_at__lte=Now())

    def lease_expired(self) -> Self:
        """Return the insights whose worker stopped renewing its lease."""
        return self.filter(status=Insight.Status.GENERATING, lease_expires_at__lt=Now())

    def leased(self) -> Self:
        """Return the insights that a worker is generating now."""
        return self.filter(status=Insight.Status.GENERATING, lease_expires_at__gte=Now())

    def failed(self) -> Self:
        """Return the failed insights, retried or not."""
        return self.filter(status=Insight.Status.FAILED)


class Insight(models.Model):
    """One insight of one chat. A failed row remains as history; a retry is a new row in a new job."""

    class Status(models.TextChoices):
        PENDING = "pending"
        GENERATING = "generating"
        COMPLETED = "completed"
        FAILED = "failed"

    OPEN = (Status.PENDING, Status.GENERATING)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    job = models.ForeignKey(GenerationJob, models.CASCADE, related_name="insights")
    chat = models.ForeignKey(Chat, models.SET_NULL, null=True, related_name="insights")
    insight_type = models.ForeignKey(InsightType, models.PROTECT, related_name="insights")
    type_version = models.ForeignKey(InsightTypeVersion, models.PROTECT, related_name="insights")
    status = models.CharField(max_length=16, choices=Status, default=Status.PENDING)
    price = models.PositiveIntegerField(help_text="Coins of the job's reservation that this insight costs.")
    language = models.CharField(max_length=8, default="en")
    attempt = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(db_default=Now())
    lease_token = models.UUIDField(null=True, editable=False)
    lease_expires_at = models.DateTimeField(null=True, editable=False)
    dispatched_at = models.DateTimeField(null=True, editable=False)
    started_at = models.DateTimeField(null=True, editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)
    error_code = models.CharField(max_length=64, blank=True)
    error_message = models.CharField(max_length=300, blank=True, help_text="For operators. Never contains chat text.")
    sealed_document = models.BinaryField(null=True, editable=False)
    up_to_message = models.PositiveIntegerField(
        null=True, editable=False, help_text="The chat's last message number when this was generated."
    )
    voided = models.BooleanField(
        default=False,
        db_default=False,
        editable=False,
        help_text="Delivered but not charged: it has no rating, or withholds them next to a danger.",
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = InsightQuerySet.as_manager()

    class Meta:
        db_table = "insights"
        indexes = [
            models.Index(fields=["next_attempt_at"], name="insights_due", condition=Q(status="pending")),
            models.Index(fields=["lease_expires_at"], name="insights_leased", condition=Q(status="generating")),
            models.Index(fields=["-created_at"], name="insights_failed_newest", condition=Q(status="failed")),
            models.Index(
                fields=["-created_at"], name="insights_open_newest", condition=Q(status__in=["pending", "generating"])
            ),
            models.Index(fields=["-created_at"], name="insights_newest"),
            # Covers the key metrics, which then read a day of insights without access to the table.
            models.Index(fields=["-finished_at"], include=["status", "started_at", "price"], name="insights_finished"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["chat", "insight_type"],
                condition=~Q(status="failed"),
                name="one_insight_per_chat_and_type_unless_failed",
            ),
            models.CheckConstraint(
                condition=Q(status="generating", lease_token__isnull=False, lease_expires_at__isnull=False)
                | (~Q(status="generating") & Q(lease_token__isnull=True, lease_expires_at__isnull=True)),
                name="insight_leased_iff_generating",
            ),
            models.CheckConstraint(
                condition=Q(status__in=["completed", "failed"], finished_at__isnull=False)
                | Q(status__in=["pending", "generating"], finished_at__isnull=True),
                name="insight_finished_iff_not_open",
            ),
            models.CheckConstraint(condition=Q(price__gt=0), name="insight_has_a_price"),
            models.CheckConstraint(
                condition=~Q(status="failed") | ~Q(error_code=""), name="failed_insight_has_an_error_code"
            ),
        ]

    def __str__(self) -> str:
        return f"insight {self.pk}"

    @property
    def is_open(self) -> bool:
        """Whether the insight is pending or being generated."""
        return self.status in self.OPEN

    @property
    def is_outdated(self) -> bool:
        """Whether messages were added to the chat after this was generated."""
        chat = self.chat
        return chat is not None and self.up_to_message is not None and self.up_to_message < chat.line_count

    def open_document(self) -> dict[str, Any] | None:
        """Return the decrypted document (insights/document.py gives its shape), or None until it is completed."""
        if self.sealed_document is None or self.chat is None:
            return None
        context = self.chat.context(f"insight:{self.pk}")
        document: dict[str, Any] = orjson.loads(self.chat.key.open(self.sealed_document, context=context))
        return document


class InsightAttempt(models.Model):
    """One attempt at generating an insight: its cost and outcome. Contains no text of the chat."""

    class Outcome(models.TextChoices):
        COMPLETED = "completed"
        RETRY = "retry"
        FAILED = "failed"
        DISCARDED = "discarded"

    insight = models.ForeignKey(Insight, models.CASCADE, related_name="attempts")
    number = models.PositiveSmallIntegerField()
    engine = models.CharField(max_length=32)
    model = models.CharField(max_length=64)
    prompt_version = models.CharField(max_length=32, blank=True)
    tokens_in = models.PositiveIntegerField(default=0)
    tokens_out = models.PositiveIntegerField(default=0)
    milliseconds = models.PositiveIntegerField()
    outcome = models.CharField(max_length=16, choices=Outcome)
    error_code = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "insight_attempts"
        indexes = [models.Index(fields=["-created_at"], name="insight_attempts_newest")]

    def __str__(self) -> str:
        return f"attempt {self.number} of insight {self.insight_id}"


class ReadingQuerySet(models.QuerySet["ChatReading"]):
    """Readings by status and lease."""

    def due(self) -> Self:
        """Return the pending readings of indexed chats whose next attempt is due by the database's clock."""
        return self.filter(
            status=ChatReading.Status.PENDING,
            next_attempt_at__lte=Now(),
            chat__vector_status=Chat.VectorStatus.COMPLETED,
        )

    def lease_expired(self) -> Self:
        """Return the readings whose worker stopped renewing its lease."""
        return self.filter(status=ChatReading.Status.READING, lease_expires_at__lt=Now())


class ChatReading(models.Model):
    """What a language model found when it read a chat, once, before any insight. Its windows are in ReadWindow.

    `engine`, `model` and `version` say what read the chat; a reading by another one is not used. `up_to_message` is the
    last message that the windows were planned for: after an extension of the chat, only later messages are read.
    `sealed_totals` has the number of text messages of each month up to there. `sealed_summary` is there once the chat
    was read: what its people are to each other, and the danger in messages that no model read.
    """

    class Status(models.TextChoices):
        PENDING = "pending"
        READING = "reading"
        COMPLETED = "completed"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    chat = models.OneToOneField(Chat, models.CASCADE, related_name="reading")
    status = models.CharField(max_length=16, choices=Status, default=Status.PENDING)
    engine = models.CharField(max_length=32)
    model = models.CharField(max_length=64)
    version = models.PositiveSmallIntegerField()
    up_to_message = models.PositiveIntegerField(null=True, editable=False)
    sealed_totals = models.BinaryField(null=True, editable=False)
    sealed_summary = models.BinaryField(null=True, editable=False)
    attempt = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(db_default=Now())
    lease_token = models.UUIDField(null=True, editable=False)
    lease_expires_at = models.DateTimeField(null=True, editable=False)
    dispatched_at = models.DateTimeField(null=True, editable=False)
    started_at = models.DateTimeField(null=True, editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)
    error_code = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = ReadingQuerySet.as_manager()

    class Meta:
        db_table = "chat_readings"
        indexes = [
            models.Index(fields=["next_attempt_at"], name="readings_due", condition=Q(status="pending")),
            models.Index(fields=["lease_expires_at"], name="readings_leased", condition=Q(status="reading")),
            models.Index(fields=["-created_at"], name="readings_newest"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(status="reading", lease_token__isnull=False, lease_expires_at__isnull=False)
                | (~Q(status="reading") & Q(lease_token__isnull=True, lease_expires_at__isnull=True)),
                name="reading_leased_iff_being_read",
            ),
            models.CheckConstraint(
                condition=~Q(status="failed") | ~Q(error_code=""), name="failed_reading_has_an_error_code"
            ),
        ]

    def __str__(self) -> str:
        return f"reading {self.pk}"


class ReadWindow(models.Model):
    """A part of a chat that is read in one call. Its episodes are sealed; it contains no message.

    A window that was read stays read when a worker dies, so nothing is paid twice. `spans` are the ranges of message
    numbers that it consists of: several if the budget left out what is between them. `sample_spans` are those of them
    that were selected whatever they contain, from which rates of the whole chat are estimated; None if all was read.
    """

    class Status(models.TextChoices):
        PENDING = "pending"
        READ = "read"
        FAILED = "failed"

    reading = models.ForeignKey(ChatReading, models.CASCADE, related_name="windows")
    first_number = models.PositiveIntegerField()
    last_number = models.PositiveIntegerField()
    spans = models.JSONField(default=list, editable=False)
    sample_spans = models.JSONField(null=True, editable=False)
    status = models.CharField(max_length=16, choices=Status, default=Status.PENDING)
    sealed_result = models.BinaryField(null=True, editable=False)
    message_count = models.PositiveIntegerField(default=0, help_text="Text messages that the model is shown.")
    token_count = models.PositiveIntegerField(default=0, help_text="Tokens of these messages, as estimated.")
    dropped_count = models.PositiveIntegerField(default=0, help_text="Entries of the answer that were invalid.")
    model = models.CharField(max_length=64, blank=True, help_text="As the provider names it.")
    tokens_in = models.PositiveIntegerField(default=0)
    tokens_out = models.PositiveIntegerField(default=0)
    milliseconds = models.PositiveIntegerField(default=0)
    error_code = models.CharField(max_length=64, blank=True)

    class Meta:
        db_table = "chat_reading_windows"
        ordering = ["reading", "first_number"]
        constraints = [
            models.UniqueConstraint(fields=["reading", "first_number"], name="one_window_per_first_message"),
            models.CheckConstraint(condition=Q(last_number__gte=F("first_number")), name="window_ends_after_it_begins"),
            models.CheckConstraint(
                condition=Q(status="read", sealed_result__isnull=False)
                | (~Q(status="read") & Q(sealed_result__isnull=True)),
                name="window_has_a_result_iff_read",
            ),
        ]

    def __str__(self) -> str:
        return f"window {self.first_number}-{self.last_number} of reading {self.reading_id}"


class PauseQuerySet(models.QuerySet[Any]):
    """Pauses by whether they last."""

    def active(self) -> Self:
        """Return the pause that lasts, if there is one."""
        return self.filter(resumed_at=None)


class DispatchPause(models.Model):
    """A time in which no insight is given to a worker, because an operator stopped that. Unlocks are refused too."""

    reason = models.CharField(max_length=200, help_text="For operators, in the audit log too.")
    paused_by = models.CharField(max_length=150, help_text="`command`, or `user ID`.")
    paused_at = models.DateTimeField(db_default=Now(), editable=False)
    resumed_by = models.CharField(max_length=150, blank=True)
    resumed_at = models.DateTimeField(null=True)

    objects = PauseQuerySet.as_manager()

    class Meta:
        db_table = "dispatch_pauses"
        indexes = [models.Index(fields=["-paused_at"], name="dispatch_pauses_newest")]
        constraints = [
            models.UniqueConstraint(
                fields=["resumed_at"], nulls_distinct=False, name="at_most_one_active_pause_of_dispatch"
            ),
            models.CheckConstraint(
                condition=Q(resumed_at=None, resumed_by="") | (Q(resumed_at__isnull=False) & ~Q(resumed_by="")),
                name="dispatch_pause_has_resumed_by_iff_resumed",
            ),
        ]

    def __str__(self) -> str:
        return f"pause of dispatch {self.pk}"


class UnlockPause(models.Model):
    """A time in which nobody can unlock or retry an insight, because staff switched that off. Open jobs continue."""

    reason = models.CharField(
        max_length=200, help_text="For staff, in the audit log too. Do not write names or text from a chat."
    )
    paused_by = models.CharField(max_length=150, editable=False, help_text="`command`, or `user ID`.")
    paused_at = models.DateTimeField(db_default=Now(), editable=False)
    resumed_by = models.CharField(max_length=150, blank=True, editable=False)
    resumed_at = models.DateTimeField(null=True, editable=False)

    objects = PauseQuerySet.as_manager()

    class Meta:
        db_table = "unlock_pauses"
        indexes = [models.Index(fields=["-paused_at"], name="unlock_pauses_newest")]
        constraints = [
            models.UniqueConstraint(
                fields=["resumed_at"], nulls_distinct=False, name="at_most_one_active_pause_of_unlocks"
            ),
            models.CheckConstraint(
                condition=Q(resumed_at=None, resumed_by="") | (Q(resumed_at__isnull=False) & ~Q(resumed_by="")),
                name="pause_has_resumed_by_iff_resumed",
            ),
        ]

    def __str__(self) -> str:
        return f"pause {self.pk}"
