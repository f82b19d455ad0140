"""What is done by the wall clock, at night: old rows leave the store. APScheduler does it.

Ticks are not done by APScheduler: it waits by the wall clock, which stands still for it while it is set back (see
`schedule`, and docs/adr/0015-two-clocks.md). Housekeeping that comes an hour late harms nobody.
"""

from collections.abc import Callable

from apscheduler.schedulers.background import BackgroundScheduler

_AT = {"hour": 3, "minute": 17}  # local time, when few look


def housekeeper(*tasks: Callable[[], object]) -> BackgroundScheduler:
    """Does tasks every night, once it is started; one that was missed while the machine slept is done on waking."""
    defaults = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
    scheduler = BackgroundScheduler(job_defaults=defaults)
    for task in tasks:
        scheduler.add_job(task, "cron", **_AT)
    return scheduler
