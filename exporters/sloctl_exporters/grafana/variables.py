"""The variables at the top of a dashboard."""

from sloctl.telemetry.catalogue import BUILD_INFO, QUEUE_LENGTH
from sloctl_exporters.grafana.model import DATASOURCE, Json


def datasource() -> Json:
    """Which Prometheus to ask."""
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
        "regex": "",
        "hide": 0,
        "includeAll": False,
        "multi": False,
    }


def standard() -> list[Json]:
    """Data source, job, instance and model; each narrows the ones after it."""
    return [
        datasource(),
        _values("job", "Job", f"label_values({BUILD_INFO.name}, job)"),
        _values("instance", "Instance", f'label_values({BUILD_INFO.name}{{job=~"$job"}}, instance)'),
        _values("model", "Model", f'label_values({QUEUE_LENGTH.name}{{job=~"$job", instance=~"$instance"}}, model)'),
    ]


def _values(name: str, label: str, query: str) -> Json:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": f"variable-{name}"},
        "refresh": 2,  # whenever the time range changes
        "regex": "",
        "sort": 1,
        "hide": 0,
        "includeAll": True,
        "multi": True,
        "allValue": ".+",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }
