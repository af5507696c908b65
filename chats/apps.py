from django.apps import AppConfig


class ChatsConfig(AppConfig):
    """Imported chats: parsing, statistics, storage and search."""

    name = "chats"
    verbose_name = "Chats"

    def ready(self) -> None:
        """Import the modules that connect signal receivers."""
        from chats import erasure, search  # noqa: F401
