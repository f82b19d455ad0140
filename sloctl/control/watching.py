"""The daemon's alerts on itself, its engines and GPUs, evaluated on its own metrics as a Prometheus would."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from sloctl.control.builtin import JOB, AlertRule, inside
from sloctl.slo.alerting import Active
from sloctl.slo.conditions import Sample
from sloctl.slo.templates import rendered
from sloctl.telemetry.families import Family


class Watch:
    """Reads the conditions of the built-in alerts, by default of those that can be seen from inside.

    `instance` is the label that a Prometheus would give the daemon.
    """

    def __init__(self, runbooks: str, instance: str, rules: Sequence[AlertRule] | None = None) -> None:
        self._identity = {"job": JOB, "instance": instance}
        chosen = inside() if rules is None else rules
        self._rules = [(rule, rule.condition.reader(), rule.annotations(runbooks)) for rule in chosen]

    @property
    def names(self) -> list[tuple[str, str]]:
        """(alertname, severity) of every alert."""
        return [(rule.name, rule.severity) for rule, _, _ in self._rules]

    def read(self, now: float, families: Iterable[Family]) -> list[Active]:
        """The alerts whose condition holds at `now`, in seconds."""
        samples = {family.metric.name: list(_samples(family)) for family in families}
        return [
            self._active(rule, annotations, *found)
            for rule, reader, annotations in self._rules
            for found in reader.read(now, samples)
        ]

    def _active(
        self, rule: AlertRule, annotations: Mapping[str, str], series: Sequence[tuple[str, str]], value: float
    ) -> Active:
        labels = self._identity | dict(series)
        texts = {name: rendered(text, labels, value) for name, text in annotations.items()}
        return Active(labels | {"alertname": rule.name, "severity": rule.severity}, texts, value, rule.hold)


def _samples(family: Family) -> Iterator[Sample]:
    for labels, value in family.samples:
        if isinstance(value, int | float):
            yield tuple(zip(family.metric.labels, labels, strict=True)), float(value)
