"""Buying coins: packages, orders, what the providers report, and money back. Coins move in `billing.ledger` only."""
