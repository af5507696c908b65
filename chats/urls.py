from __future__ import annotations

from django.urls import path

from chats import views

urlpatterns = [
    path("chats", views.Chats.as_view(), name="chats"),
    path("chats/upload", views.Upload.as_view(), name="chat-upload"),
    path("chats/<uuid:chat_id>", views.OneChat.as_view(), name="chat"),
    path("chats/<uuid:chat_id>/messages", views.Messages.as_view(), name="chat-messages"),
    path("chats/<uuid:chat_id>/statistics", views.Statistics.as_view(), name="chat-statistics"),
    path("chats/<uuid:chat_id>/vector-status", views.VectorStatus.as_view(), name="chat-vector-status"),
    path("chats/<uuid:chat_id>/reindex", views.Reindex.as_view(), name="chat-reindex"),
]
