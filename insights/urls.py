from __future__ import annotations

from django.urls import path

from insights import views

urlpatterns = [
    path("categories", views.Categories.as_view(), name="categories"),
    path("categories/<slug:category_id>/insights", views.CategoryInsights.as_view(), name="category-insights"),
    path("insights/quote", views.Quote.as_view(), name="quote"),
    path("insights/unlock", views.Unlock.as_view(), name="unlock"),
    path("insights/jobs/<uuid:job_id>/status", views.JobStatus.as_view(), name="job-status"),
    path("insights/chats/<uuid:chat_id>", views.InsightsOfChat.as_view(), name="chat-insights"),
    path("insights/<uuid:insight_id>/retry", views.Retry.as_view(), name="insight-retry"),
]
