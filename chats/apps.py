from django.apps import AppConfig


class ChatsConfig(AppConfig):
    """Imported chats: parsing, statistics, storage and search."""

    name = "chats"
    verbose_name = "Chats"

    def ready(self) -> None:
        """Connect signal receivers. Let the application add accesses to chats, and neither change nor delete them."""
        from chats import erasure  # noqa: F401
        from relivchats import database_roles

        database_roles.restrict("content_accesses", "content_reads", to="SELECT, INSERT")
