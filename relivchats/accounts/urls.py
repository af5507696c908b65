"""The API's addresses of users."""

from __future__ import annotations

from django.urls import path

from relivchats.accounts import views

urlpatterns = [path("me", views.Me.as_view(), name="me")]
