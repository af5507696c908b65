from __future__ import annotations

from django.urls import path

from billing.payments import pages

urlpatterns = [path("sandbox/<str:link>", pages.checkout, name="sandbox-checkout")]
