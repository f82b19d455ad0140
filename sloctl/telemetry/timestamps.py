"""Times for other programs."""

from datetime import UTC, datetime


def rfc3339(wall: float) -> str:
    """Unix seconds as Prometheus and Alertmanager write them."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
