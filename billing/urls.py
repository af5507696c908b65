from __future__ import annotations

from django.urls import path

from billing import views

urlpatterns = [
    path("credits/balance", views.Balance.as_view(), name="balance"),
    path("credits/transactions", views.Transactions.as_view(), name="transactions"),
    path("credits/transactions.csv", views.StatementDownload.as_view(), name="statement"),
]
