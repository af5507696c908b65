from __future__ import annotations

from django.urls import path

from billing import views
from billing.payments import views as payments

urlpatterns = [
    path("credits/balance", views.Balance.as_view(), name="balance"),
    path("credits/transactions", views.Transactions.as_view(), name="transactions"),
    path("credits/transactions.csv", views.StatementDownload.as_view(), name="statement"),
    path("credits/packages", payments.Packages.as_view(), name="packages"),
    path("payments/orders", payments.Orders.as_view(), name="orders"),
    path("payments/orders/<uuid:order_id>", payments.Order.as_view(), name="order"),
    path("payments/webhooks/razorpay", payments.RazorpayWebhook.as_view(), name="razorpay-webhook"),
    path("payments/webhooks/stripe", payments.StripeWebhook.as_view(), name="stripe-webhook"),
]
