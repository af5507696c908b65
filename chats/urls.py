from __future__ import annotations

from django.urls import path

from chats import views

urlpatterns = [
    path("chats", views.ChatListView.as_view(), name="chats"),
    path("me/content-accesses", views.ContentAccessListView.as_view(), name="content-accesses"),
    path("chats/upload", views.UploadView.as_view(), name="chat-upload"),
    path("chats/<uuid:chat_id>", views.ChatDetailView.as_view(), name="chat"),
    path("chats/<uuid:chat_id>/messages", views.MessageListView.as_view(), name="chat-messages"),
    path("chats/<uuid:chat_id>/statistics", views.StatisticsView.as_view(), name="chat-statistics"),
    path("chats/<uuid:chat_id>/vector-status", views.VectorStatusView.as_view(), name="chat-vector-status"),
    path("chats/<uuid:chat_id>/reindex", views.ReindexView.as_view(), name="chat-reindex"),
]
