from django.apps import AppConfig


class ChatsConfig(AppConfig):
    name = "chats"
    verbose_name = "Chats"

    def ready(self) -> None:
        # Their receivers must hear every deletion.
        from chats import erasure, search  # noqa: F401
