"""Queries of the series that `sloctl rules` has Prometheus record: SLOs over all instances, which know no job."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Recorded:
    """Recorded series of the SLOs that `matcher` chooses."""

    matcher: str
    EMPTY: ClassVar[str] = "Prometheus records nothing: give it the rules of `sloctl rules`"

    def series(self, what: str) -> str:
        """A recorded ratio's series."""
        return f"sloctl:{what}:ratio{{{self.matcher}}}"

    def gauge(self, what: str, by: str, how: str) -> str:
        """A recorded ratio, kept apart by the labels `by`."""
        return f"{how} by ({by}) ({self.series(what)})"

    def alerts(self) -> str:
        """1 while an alert is pending, 2 while it fires."""
        by = "alertname, sloctl_service, sloctl_slo, severity"
        firing = f'ALERTS{{alertstate="firing", {self.matcher}}}'
        return f'max by ({by}) (2 * {firing} or ignoring (alertstate) ALERTS{{alertstate="pending", {self.matcher}}})'
