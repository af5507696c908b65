"""The URLs of the health endpoints."""

from __future__ import annotations

from django.urls import path
from django.urls.resolvers import URLPattern

from ops import views

urlpatterns: list[URLPattern] = [
    path("", views.home, name="home"),
    path("health", views.summary, name="health"),
    path("health/live", views.live, name="health-live"),
    path("health/ready", views.ready, name="health-ready"),
    path("metrics", views.metrics, name="metrics"),
    path("health/db-pool", views.pool, name="health-db-pool"),
]
