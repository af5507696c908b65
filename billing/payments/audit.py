"""The invariant of payments: orders, their refunds and their transactions agree."""

from __future__ import annotations

from billing import audit

# LATERAL sums the rows of one order at a time, by index. With _RECENT instead of the table, only changed orders are
# read, however long the history is.
_BROKEN = """
    SELECT orders.id AS order_id, NULL AS transaction_id, orders.status, orders.coins, purchases, bought,
        taken, paid, refund_lines, orders.refunded_amount, refunded
    FROM {orders} AS orders
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE lines.type = 'purchase') AS purchases,
            COALESCE(sum(lines.amount) FILTER (WHERE lines.type = 'purchase'), 0) AS bought,
            COALESCE(sum(lines.amount) FILTER (WHERE lines.type = 'refund'), 0)
                + COALESCE(sum(reversals.amount), 0) AS refund_lines,
            count(*) FILTER (WHERE lines.wallet_id <> orders.wallet_id) AS elsewhere
        FROM credit_transactions AS lines
        LEFT JOIN credit_transactions AS reversals ON reversals.reverses_id = lines.id
        WHERE lines.payment_order_id = orders.id
    ) AS moved
    CROSS JOIN LATERAL (
        SELECT COALESCE(sum(taken_coins), 0) AS taken, COALESCE(sum(coins), 0) AS due,
            COALESCE(sum(amount) FILTER (WHERE status IN ('processing', 'completed')), 0) AS refunded
        FROM payment_refunds WHERE order_id = orders.id
    ) AS refunds
    CROSS JOIN LATERAL (
        SELECT COALESCE(sum(debts.coins), 0) AS indebted, COALESCE(sum(debts.paid_coins), 0) AS paid
        FROM payment_refunds JOIN coin_debts AS debts ON debts.refund_id = payment_refunds.id
        WHERE payment_refunds.order_id = orders.id AND debts.status <> 'cancelled'
    ) AS debts
    WHERE purchases <> (orders.status IN ('completed', 'refunded'))::int
        OR bought <> CASE WHEN orders.status IN ('completed', 'refunded') THEN orders.coins ELSE 0 END
        OR elsewhere > 0 OR refund_lines <> -taken - paid OR due <> taken + indebted OR due > orders.coins
        OR refunded <> orders.refunded_amount
    UNION ALL
    SELECT NULL, id, NULL, amount, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM credit_transactions
    WHERE type = 'purchase' AND payment_order_id IS NULL AND {made}
"""

# A change of an order, of one of its refunds, or of one of its transactions. A reversal names no order itself, so it is
# found by the transaction that it reverses.
_RECENT = """(
    SELECT * FROM payment_orders WHERE id IN (
        SELECT id FROM payment_orders WHERE completed_at >= %(at)s
        UNION ALL SELECT order_id FROM payment_refunds WHERE moved_at >= %(at)s
        UNION ALL SELECT payment_order_id FROM credit_transactions WHERE created_at >= %(at)s
        UNION ALL SELECT reversed.payment_order_id FROM credit_transactions AS reversing
            JOIN credit_transactions AS reversed ON reversed.id = reversing.reverses_id
            WHERE reversing.created_at >= %(at)s
    )
)"""

audit.register(
    audit.Invariant(
        "9",
        "a paid order has one purchase of its coins in its wallet, and every purchase has an order; its refunds took"
        " the coins that they record, at most those of the order, and owe the others",
        _BROKEN.format(orders="payment_orders", made="true"),
        recent=_BROKEN.format(orders=_RECENT, made="created_at >= %(at)s"),
    )
)
