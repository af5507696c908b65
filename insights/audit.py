"""The invariants between coins, jobs and insights. Each is a query that returns the rows that violate it.

The second query of an invariant checks only what changed since `at`; the health check runs it every few minutes.
"""

from __future__ import annotations

from billing.audit import Invariant, register

register(
    Invariant(
        "6a",
        "an open job's reservation is active",
        """
        SELECT job_id, jobs.status, reservations.status AS reservation_status
        FROM insight_generation_jobs jobs JOIN coin_reservations reservations ON reservations.id = jobs.reservation_id
        WHERE (jobs.status IN ('queued', 'running')) <> (reservations.status = 'active')
        """,
        """
        SELECT job_id, jobs.status, reservations.status AS reservation_status
        FROM insight_generation_jobs jobs JOIN coin_reservations reservations ON reservations.id = jobs.reservation_id
        WHERE (jobs.status IN ('queued', 'running') OR jobs.finished_at >= %(at)s)
            AND (jobs.status IN ('queued', 'running')) <> (reservations.status = 'active')
        """,
    ),
    Invariant(
        "6b",
        "a job is finished if and only if none of its insights is pending or generating",
        """
        SELECT jobs.job_id, jobs.status, count(insights.id) AS open_insights
        FROM insight_generation_jobs jobs
        LEFT JOIN insights ON insights.job_id = jobs.job_id AND insights.status IN ('pending', 'generating')
        GROUP BY jobs.job_id, jobs.status
        HAVING (jobs.status IN ('queued', 'running')) <> (count(insights.id) > 0)
        """,
        """
        SELECT jobs.job_id, jobs.status, count(insights.id) AS open_insights
        FROM insight_generation_jobs jobs
        LEFT JOIN insights ON insights.job_id = jobs.job_id AND insights.status IN ('pending', 'generating')
        WHERE jobs.status IN ('queued', 'running') OR jobs.finished_at >= %(at)s
        GROUP BY jobs.job_id, jobs.status
        HAVING (jobs.status IN ('queued', 'running')) <> (count(insights.id) > 0)
        """,
    ),
    Invariant(
        "6c",
        "an open question's reservation is active, and a finished one's was captured if and only if it was answered",
        """
        SELECT questions.id AS question_id, questions.status, outcome, reservations.status AS reservation_status
        FROM chat_questions questions JOIN coin_reservations reservations ON reservations.id = questions.reservation_id
        WHERE reservations.status <> CASE
            WHEN questions.status IN ('pending', 'answering') THEN 'active'
            WHEN outcome = 'answered' THEN 'captured' ELSE 'released' END
        """,
        """
        SELECT questions.id AS question_id, questions.status, outcome, reservations.status AS reservation_status
        FROM chat_questions questions JOIN coin_reservations reservations ON reservations.id = questions.reservation_id
        WHERE (questions.finished_at IS NULL OR questions.finished_at >= %(at)s) AND reservations.status <> CASE
            WHEN questions.status IN ('pending', 'answering') THEN 'active'
            WHEN outcome = 'answered' THEN 'captured' ELSE 'released' END
        """,
    ),
    Invariant(
        "7",
        "the captured coins are the sum of the prices of the completed insights that are not voided",
        """
        SELECT jobs.job_id, reservations.captured_coins, COALESCE(sum(insights.price), 0) AS delivered_coins
        FROM insight_generation_jobs jobs
        JOIN coin_reservations reservations ON reservations.id = jobs.reservation_id
        LEFT JOIN insights ON insights.job_id = jobs.job_id AND insights.status = 'completed' AND NOT insights.voided
        WHERE jobs.status NOT IN ('queued', 'running')
        GROUP BY jobs.job_id, reservations.captured_coins
        HAVING reservations.captured_coins <> COALESCE(sum(insights.price), 0)
        """,
        """
        SELECT jobs.job_id, reservations.captured_coins, COALESCE(sum(insights.price), 0) AS delivered_coins
        FROM insight_generation_jobs jobs
        JOIN coin_reservations reservations ON reservations.id = jobs.reservation_id
        LEFT JOIN insights ON insights.job_id = jobs.job_id AND insights.status = 'completed' AND NOT insights.voided
        WHERE jobs.finished_at >= %(at)s AND jobs.status NOT IN ('queued', 'running')
        GROUP BY jobs.job_id, reservations.captured_coins
        HAVING reservations.captured_coins <> COALESCE(sum(insights.price), 0)
        """,
    ),
    Invariant(
        "8b",
        "no lease of a generating insight expired more than two minutes ago",
        """
        SELECT id AS insight_id, job_id, lease_expires_at FROM insights
        WHERE status = 'generating' AND lease_expires_at < clock_timestamp() - interval '2 minutes'
        """,
        is_of_late_work=True,
    ),
    Invariant(
        "10",
        "a job's counters equal the counts of its insights, and their prices sum up to the reserved coins",
        """
        SELECT jobs.job_id, total_insights, completed_insights, failed_insights, reservations.coins
        FROM insight_generation_jobs jobs
        JOIN coin_reservations reservations ON reservations.id = jobs.reservation_id
        JOIN insights ON insights.job_id = jobs.job_id
        GROUP BY jobs.job_id, reservations.coins
        HAVING total_insights <> count(*) OR reservations.coins <> sum(insights.price)
            OR completed_insights <> count(*) FILTER (WHERE insights.status = 'completed')
            OR failed_insights <> count(*) FILTER (WHERE insights.status = 'failed')
        """,
        """
        SELECT jobs.job_id, total_insights, completed_insights, failed_insights, reservations.coins
        FROM insight_generation_jobs jobs
        JOIN coin_reservations reservations ON reservations.id = jobs.reservation_id
        JOIN insights ON insights.job_id = jobs.job_id
        WHERE jobs.status IN ('queued', 'running') OR jobs.finished_at >= %(at)s
        GROUP BY jobs.job_id, reservations.coins
        HAVING total_insights <> count(*) OR reservations.coins <> sum(insights.price)
            OR completed_insights <> count(*) FILTER (WHERE insights.status = 'completed')
            OR failed_insights <> count(*) FILTER (WHERE insights.status = 'failed')
        """,
    ),
)
