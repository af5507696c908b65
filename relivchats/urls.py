"""The URL configuration."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularSwaggerSplitView

from relivchats.accounts.passwords import change_own_password
from relivchats.openapi import SchemaView

# Registers the pages of all apps; `relivchats.staff.admin_config` does not.
admin.autodiscover()

urlpatterns = [
    # Without APPEND_SLASH, people who type /admin would get a 404.
    path("admin", RedirectView.as_view(pattern_name="admin:index", query_string=True)),
    path("admin/password_change/", admin.site.admin_view(change_own_password, cacheable=True)),
    path("admin/", include("ops.console.urls")),
    path("admin/", admin.site.urls),
    path("api/", include("relivchats.accounts.urls")),
    path("api/", include("chats.urls")),
    path("api/", include("billing.urls")),
    path("api/", include("insights.urls")),
    path("", include("billing.payments.urls")),
    path("api/schema", SchemaView.as_view(), name="schema"),
    path("api/docs", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    path("", include("ops.urls")),
]

handler400 = "relivchats.problems.bad_request"
handler403 = "relivchats.problems.forbidden"
handler404 = "relivchats.problems.not_found"
handler500 = "relivchats.problems.server_error"
