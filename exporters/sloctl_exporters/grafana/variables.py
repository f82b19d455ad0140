"""The variables at the top of a dashboard, and the matchers that use them."""

from sloctl.telemetry import catalogue as c
from sloctl_exporters import nvml_metrics as n
from sloctl_exporters.grafana.model import Json

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
BY_MODEL = {"model": 'model=~"$model"'}
BY_GPU = {"gpu": 'gpu=~"$gpu"'}
ONE_SLO = {"slo": 'slo="$slo"'}
SEARCHED_SLOS = {"slo": 'slo=~".*$search.*"'}

_SCRAPED = 'job=~"$job", instance=~"$instance"'


def standard(known_by: str = c.BUILD_INFO.name) -> list[Json]:
    """Data source, job and instance; each narrows the ones after it. `known_by` is a series that they all have."""
    return [
        _datasource(),
        _values("job", "Job", f"label_values({known_by}, job)"),
        _values("instance", "Instance", f'label_values({known_by}{{job=~"$job"}}, instance)'),
    ]


def model() -> Json:
    """Which models; all by default."""
    return _values("model", "Model", f"label_values({c.QUEUE_LENGTH.name}{{{_SCRAPED}}}, model)")


def gpu() -> Json:
    """Which GPUs; all by default."""
    return _values("gpu", "GPU", f"label_values({n.MEMORY_TOTAL.name}{{{_SCRAPED}}}, gpu)")


def slo() -> Json:
    """Which SLO: one."""
    query = f"label_values({c.SLO_OBJECTIVE.name}{{{_SCRAPED}}}, slo)"
    return _query("slo", "SLO", query, includeAll=False, multi=False)


def search() -> Json:
    """A part of SLOs' names, as a regular expression; empty for all. A list of hundreds would help nobody."""
    return {
        "name": "search",
        "label": "SLO's name has",
        "type": "textbox",
        "query": "",
        "hide": 0,
        "current": {"selected": False, "text": "", "value": ""},
        "options": [],
    }


def pace() -> Json:
    """Over how long the pace is taken at which a budget is spent."""
    values = ("10m", "1h", "6h", "1d")
    chosen = "1h"
    return {
        "name": "pace",
        "label": "Pace of",
        "type": "custom",
        "query": ",".join(values),
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "current": {"selected": True, "text": chosen, "value": chosen},
        "options": [{"selected": value == chosen, "text": value, "value": value} for value in values],
    }


def _datasource() -> Json:
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


def _values(name: str, label: str, query: str) -> Json:
    everything = {"selected": True, "text": ["All"], "value": ["$__all"]}
    return _query(name, label, query, includeAll=True, multi=True, allValue=".+", current=everything)


def _query(name: str, label: str, query: str, **more: object) -> Json:
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
        **more,
    }
