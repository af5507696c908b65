"""Rehearsed failures of jobs, insights and the model: the remedy is run as printed, and health is fine afterwards."""

from __future__ import annotations

import os
import signal

import pytest

from tests.fakes.gemini import error, quota_error
from tests.processes import eventually
from tests.stack.installed import Installed
from tests.stack.rehearsal import line_of

pytestmark = pytest.mark.slow

_A_WHILE_AGO = "now() - interval '90 seconds'"


@pytest.mark.parametrize(
    ("quota_id", "code", "level"),
    [
        ("GenerateRequestsPerMinutePerProjectPerModel", "rate_limited", "warning"),
        ("GenerateRequestsPerDayPerProjectPerModel", "quota_exhausted", "warning"),
        ("SpendLimitPerMonth", "spend_limit_reached", "critical"),
    ],
)
def test_a_used_up_quota_is_named_with_its_end_and_a_check_continues_what_waits(
    installed: Installed, quota_id: str, code: str, level: str
) -> None:
    installed.model.refusal = quota_error(quota_id, retry_delay="600s")
    job = installed.unlock_chat()
    line = installed.report("engine", level, f"is not called: {code}, for another 9 min")
    assert "1 insight waiting" in line["text"]
    _, document = installed.look()
    assert {each["cause"] for each in document["lines"]} <= {"", "engine"}
    # While the quota is used up, the remedy says so.
    assert code in installed.run(line["remedy"], statuses=(2,))
    installed.model.refusal = None
    installed.follow(line["remedy"])
    installed.expect_job(job, "completed")
    installed.expect_fine()


def test_all_failed_insights_of_a_person_keep_their_cause_and_are_retried(installed: Installed) -> None:
    installed.sql("UPDATE insights SET finished_at = finished_at - interval '1 hour' WHERE finished_at IS NOT NULL")
    installed.model.refusal = quota_error("GenerateRequestsPerDayPerProjectPerModel", retry_delay="3600s")
    job = installed.unlock_chat(category="romantic")
    check = installed.report("engine", "warning", "quota_exhausted")["remedy"]
    installed.wait_for("deferred", "fine", "quota_exhausted")
    installed.sql(f"UPDATE insight_generation_jobs SET deadline_at = {_A_WHILE_AGO} WHERE job_id = %s", job["job_id"])
    installed.wait_for("jobs", "warning", "1 stuck", cause="engine")
    installed.manage("jobs", "--recover", "--reason", "rehearsal")
    installed.expect_job(job, "failed")
    words = "of 1 job and 1 user, and none succeeded: quota_exhausted"
    installed.report("insights", "warning", words, cause="engine")
    installed.model.refusal = None
    installed.follow(check)
    _, document = installed.wait_for("insights", "warning", words)
    (retry,) = installed.follow(line_of(document, "insights")["remedy"], statuses=(1,))
    installed.follow(retry)
    installed.expect_fine()


def test_an_overdue_reservation_is_released_by_the_remedy(installed: Installed) -> None:
    installed.model.reading.clear()
    job = installed.unlock_chat()
    installed.sql(
        f"UPDATE coin_reservations SET expires_at = {_A_WHILE_AGO} FROM insight_generation_jobs AS jobs"
        " WHERE jobs.job_id = %s AND jobs.reservation_id = coin_reservations.id",
        job["job_id"],
    )
    installed.sql("UPDATE insight_generation_jobs SET deadline_at = now() WHERE job_id = %s", job["job_id"])
    line = installed.report("reservations", "warning", "1 overdue")
    reserved = installed.customer.balance()["reserved"]
    installed.follow(line["remedy"])
    assert installed.customer.balance()["reserved"] == reserved - job["coins_reserved"]
    installed.model.work()
    installed.expect_fine()


def test_a_stuck_insight_is_continued_by_the_remedy(installed: Installed) -> None:
    installed.model.writing.clear()
    job = installed.unlock_chat()
    eventually(lambda: installed.customer.job(job["job_id"])["insights"][0]["status"] == "generating")
    expire = "UPDATE insights SET lease_expires_at = {} WHERE status = 'generating'"
    os.kill(installed.pid("worker"), signal.SIGKILL)
    # The next worker recovers what has expired when it starts, so the lease has to last until it works.
    installed.sql(expire.format("now() + interval '1 hour'"))
    ((killed_at,),) = installed.sql("SELECT clock_timestamp()")
    works = "SELECT pid FROM heartbeats WHERE kind = 'canary' AND beat_at > %s"
    eventually(lambda: installed.sql(works, killed_at))
    installed.sql(expire.format(_A_WHILE_AGO))
    line = installed.report("insights", "warning", "1 stuck in generating")
    installed.model.work()
    installed.follow(line["remedy"])
    installed.expect_job(job, "completed")
    installed.expect_fine()


def test_a_job_past_its_deadline_is_ended_by_the_remedy(installed: Installed) -> None:
    installed.model.writing.clear()
    job = installed.unlock_chat()
    eventually(lambda: installed.customer.job(job["job_id"])["insights"][0]["status"] == "generating")
    installed.sql(f"UPDATE insight_generation_jobs SET deadline_at = {_A_WHILE_AGO} WHERE job_id = %s", job["job_id"])
    line = installed.report("jobs", "warning", "1 stuck")
    installed.follow(line["remedy"])
    installed.expect_job(job, "failed")
    installed.model.work()
    installed.expect_fine()


def test_a_chat_that_failed_to_index_is_indexed_by_the_remedy(installed: Installed) -> None:
    installed.model.embedding_refusal = error(400, "INVALID_ARGUMENT")
    job = installed.unlock_chat()
    line = installed.report("vectors", "warning", "1 failed to index")
    installed.expect_job(job, "failed")
    installed.model.work()
    installed.follow(line["remedy"])
    installed.expect_fine()
