"""The audit log of staff and operators."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class AuditEntry(models.Model):
    """One action on one row by an operator or a member of staff, and the reason. Contains ids only; append-only."""

    actor = models.CharField(max_length=150, help_text="`command`, or `user ID`.")
    action = models.CharField(max_length=64)
    object_id = models.CharField(max_length=64)
    reason = models.CharField(max_length=200, blank=True)
    done = models.BooleanField(help_text="False: the action was refused, and nothing changed.")
    outcome = models.CharField(max_length=300)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "audit_entries"
        indexes = [
            models.Index(fields=["-created_at"], name="audit_entries_newest"),
            models.Index(fields=["object_id"], name="audit_entries_of_object"),
            models.Index(fields=["action", "-created_at"], name="audit_entries_of_action"),
        ]
        verbose_name_plural = "audit entries"
        permissions = [("export_lists", "Can export lists as CSV files")]

    def __str__(self) -> str:
        return f"audit entry {self.pk}"
