"""Payments: packages, orders, refunds, webhooks and providers. Only `billing.ledger` moves coins."""
