"""The addresses of the console, below /admin/."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path

from ops.console import views

app_name = "console"

urlpatterns = [
    path("overview", admin.site.admin_view(views.fragment), name="overview"),
    path("find", admin.site.admin_view(views.find), name="find"),
    path("now/<slug:name>", admin.site.admin_view(views.live_page), name="live"),
    path("people/<uuid:pk>", admin.site.admin_view(views.person), name="person"),
    path("payments/<uuid:pk>", admin.site.admin_view(views.payment), name="payment"),
    path("jobs/<uuid:pk>", admin.site.admin_view(views.job), name="job"),
]
