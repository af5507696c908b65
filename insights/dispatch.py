"""Due rows become Celery messages. A message is only a wake-up call: losing or doubling one costs nothing."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from insights.models import Insight
from relivchats.wakeups import CoalescingThread, publish

# Rows in flight count against the free places, so that jobs which come later are not queued behind one big
# job: each round takes the first due insight of every job, then the second, and so on.
_CHOOSE = """
WITH taken AS (
    SELECT count(*) AS places FROM insights
    WHERE (status = 'generating' AND lease_expires_at >= clock_timestamp())
       OR (status = 'pending' AND dispatched_at >= clock_timestamp() - make_interval(secs => %(republish)s))
), due AS (
    SELECT insights.id, row_number() OVER (PARTITION BY job_id ORDER BY next_attempt_at, insights.id) AS turn,
           insights.next_attempt_at
    FROM insights JOIN chats ON chats.id = insights.chat_id
    WHERE insights.status = 'pending' AND next_attempt_at <= clock_timestamp()
      AND (dispatched_at IS NULL OR dispatched_at < clock_timestamp() - make_interval(secs => %(republish)s))
      AND chats.vector_status = 'completed'
), chosen AS (
    SELECT insights.id FROM insights JOIN due ON due.id = insights.id
    WHERE insights.status = 'pending'
    ORDER BY due.turn, due.next_attempt_at
    LIMIT GREATEST(0, %(places)s - (SELECT places FROM taken))
    FOR UPDATE OF insights SKIP LOCKED
)
UPDATE insights SET dispatched_at = clock_timestamp() FROM chosen WHERE insights.id = chosen.id
RETURNING insights.id
"""


def dispatch() -> int:
    """Publish the ids of due insights whose chat is searchable, as many as there are free places. Returns how many.

    With the broker out of reach the rest waits for the next round, which beat asks for every few seconds.
    """
    chosen = _choose()
    published = 0
    for insight_id in chosen:
        if not publish("insights.tasks.generate_insight", insight_id):
            unpublished = Insight.objects.filter(pk__in=chosen[published:], status=Insight.Status.PENDING)
            unpublished.update(dispatched_at=None)
            break
        published += 1
    return published


def _choose() -> list[UUID]:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_CHOOSE, {"republish": settings.REDISPATCH_SECONDS, "places": settings.MAX_CONCURRENT_INSIGHTS})
        return [row[0] for row in cursor.fetchall()]


dispatch_soon = CoalescingThread(dispatch, name="dispatch-insights").run_soon
