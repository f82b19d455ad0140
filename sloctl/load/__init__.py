"""Open-loop load: a schedule made beforehand, a driver that keeps to it, and what became of each request.

Open-loop means that requests leave when the schedule says so, however slow the answers are, and that each
latency counts from the scheduled moment. A driver that waits for answers measures a slow server too kindly
(Gil Tene's "coordinated omission").
"""
