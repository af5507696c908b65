"""The addresses of the console, below /admin/."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import admin
from django.http import HttpResponse
from django.urls import path
from django.urls.resolvers import URLPattern
from django.views.decorators.http import require_safe

from ops.console import views

app_name = "console"


def page(route: str, view: Callable[..., HttpResponse], *, name: str) -> URLPattern:
    """Return the pattern of a page for staff that changes nothing."""
    return path(route, admin.site.admin_view(require_safe(view)), name=name)


urlpatterns = [
    page("overview", views.fragment, name="overview"),
    page("find", views.find, name="find"),
    page("now/<slug:name>", views.live_page, name="live"),
    page("people/<uuid:pk>", views.person, name="person"),
    page("payments/<uuid:pk>", views.payment, name="payment"),
    page("jobs/<uuid:pk>", views.job, name="job"),
]
