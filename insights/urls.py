"""Routes of the catalogue, quotes, unlocks, jobs and insights."""

from __future__ import annotations

from django.urls import path

from insights import question_views, views
from insights.timeline_view import TimelineView

urlpatterns = [
    path("categories", views.CategoryListView.as_view(), name="categories"),
    path("categories/<slug:category_id>/insights", views.CategoryInsightsView.as_view(), name="category-insights"),
    path("chats/<uuid:chat_id>/disclosure", views.DisclosureView.as_view(), name="chat-disclosure"),
    path("chats/<uuid:chat_id>/timeline", TimelineView.as_view(), name="chat-timeline"),
    path("chats/<uuid:chat_id>/ask", question_views.AskView.as_view(), name="ask"),
    path("chats/<uuid:chat_id>/questions", question_views.QuestionListView.as_view(), name="questions"),
    path(
        "chats/<uuid:chat_id>/questions/<uuid:question_id>",
        question_views.QuestionDetailView.as_view(),
        name="question",
    ),
    path("rag/query", question_views.RagQueryView.as_view(), name="rag-query"),
    path("insights/quote", views.QuoteView.as_view(), name="quote"),
    path("insights/unlock", views.UnlockView.as_view(), name="unlock"),
    path("insights/jobs/<uuid:job_id>/status", views.JobStatusView.as_view(), name="job-status"),
    path("insights/chats/<uuid:chat_id>", views.ChatInsightsView.as_view(), name="chat-insights"),
    path("insights/<uuid:insight_id>/retry", views.RetryView.as_view(), name="insight-retry"),
]
