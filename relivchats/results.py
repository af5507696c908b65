"""The result backend: the task history that operators see, without the messages of exceptions."""

from __future__ import annotations

from typing import Any

from django_celery_results.backends import DatabaseBackend


class PrivateDatabaseBackend(DatabaseBackend):  # type: ignore[misc]
    """Stores the type of an exception only: its message and traceback may quote the text of a chat."""

    def prepare_exception(self, exc: BaseException, serializer: str | None = None) -> dict[str, Any]:
        """Return the exception as it is stored."""
        return {"exc_type": type(exc).__name__, "exc_message": [], "exc_module": type(exc).__module__}

    def store_result(self, task_id: str, result: Any, state: str, traceback: Any = None, **options: Any) -> Any:
        """Store the result without its traceback."""
        return super().store_result(task_id, result, state, traceback=None, **options)
