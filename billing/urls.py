from __future__ import annotations

from django.urls import path

from billing import views
from billing.payments import views as payments
from billing.payments.providers import REGISTRY

urlpatterns = [
    path("credits/balance", views.Balance.as_view(), name="balance"),
    path("credits/transactions", views.Transactions.as_view(), name="transactions"),
    path("credits/transactions.csv", views.StatementDownload.as_view(), name="statement"),
    path("credits/packages", payments.PackageListView.as_view(), name="packages"),
    path("payments/orders", payments.OrderCreateView.as_view(), name="orders"),
    path("payments/orders/<uuid:order_id>", payments.OrderDetailView.as_view(), name="order"),
    *(
        path(
            f"payments/webhooks/{provider.name}",
            payments.webhook_view(provider).as_view(),
            name=f"{provider.name}-webhook",
        )
        for provider in REGISTRY.values()
        if provider.signature_header
    ),
]
