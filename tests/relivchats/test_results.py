"""The history of tasks contains no text of an exception."""

from __future__ import annotations

import pytest
from django_celery_results.models import TaskResult

from relivchats.celery import app
from relivchats.results import PrivateDatabaseBackend

PRIVATE = "Meera said the password is swordfish"


@pytest.mark.django_db
def test_a_failed_task_is_stored_with_the_type_of_its_exception_only() -> None:
    assert isinstance(app.backend, PrivateDatabaseBackend)
    app.backend.mark_as_failure("a-task", ValueError(PRIVATE), traceback=f"ValueError: {PRIVATE}")
    stored = TaskResult.objects.get(task_id="a-task")
    assert stored.status == "FAILURE"
    assert "ValueError" in stored.result
    assert "swordfish" not in str(vars(stored))
