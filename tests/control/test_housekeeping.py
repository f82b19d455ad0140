"""Housekeeping: every night, and not now."""

from datetime import datetime, timedelta

from sloctl.control.housekeeping import housekeeper


def test_tasks_are_due_in_the_coming_night() -> None:
    done: list[int] = []
    scheduler = housekeeper(lambda: done.append(1))
    scheduler.start(paused=True)
    try:
        (job,) = scheduler.get_jobs()
        due = job.next_run_time
        assert (due.hour, due.minute) == (3, 17)
        assert timedelta(0) < due - datetime.now(due.tzinfo) <= timedelta(hours=25)
        job.func()
        assert done == [1]
    finally:
        scheduler.shutdown(wait=False)
