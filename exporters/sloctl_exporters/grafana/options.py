"""How each type of panel looks: Grafana's options, whole, as its published schemas of panels ask for them."""

from sloctl_exporters.grafana.model import Json, Panel

_LEGEND = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
_TOOLTIP = {"mode": "multi", "sort": "desc"}
_LAST = {"calcs": ["lastNotNull"], "fields": "", "values": False}
_PALETTE = {
    "mode": "scheme",
    "scheme": "Oranges",
    "steps": 64,
    "exponent": 0.5,
    "fill": "dark-orange",
    "reverse": False,
}

_OPTIONS: dict[str, Json] = {
    "timeseries": {"legend": _LEGEND, "tooltip": _TOOLTIP},
    "state-timeline": {
        "legend": _LEGEND,
        "tooltip": _TOOLTIP,
        "mergeValues": True,
        "rowHeight": 0.8,
        "showValue": "auto",
        "alignValue": "left",
    },
    "stat": {
        "reduceOptions": _LAST,
        "colorMode": "value",
        "graphMode": "area",
        "textMode": "auto",
        "justifyMode": "auto",
        "orientation": "auto",
        "wideLayout": True,
        "showPercentChange": False,
        "percentChangeColorMode": "standard",
    },
    "bargauge": {
        "reduceOptions": _LAST,
        "displayMode": "basic",
        "orientation": "horizontal",
        "valueMode": "color",
        "namePlacement": "auto",
        "showUnfilled": True,
        "sizing": "auto",
        "minVizWidth": 8,
        "minVizHeight": 16,
        "maxVizHeight": 300,
        "legend": _LEGEND | {"showLegend": False},
    },
    "table": {
        "frameIndex": 0,
        "showHeader": True,
        "cellHeight": "sm",
        "footer": {"show": False, "reducer": ["sum"], "enablePagination": True},
    },
    "heatmap": {
        "calculate": False,
        "cellGap": 1,
        "color": _PALETTE,
        "rowsFrame": {"layout": "auto"},
        "showValue": "never",
        "legend": {"show": True},
        "tooltip": {"mode": "single", "yHistogram": False},
        "filterValues": {"le": 1e-9},
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
    },
}
_CUSTOM: dict[str, Json] = {
    "timeseries": {"lineWidth": 1, "showPoints": "never"},
    "state-timeline": {"lineWidth": 0, "fillOpacity": 80},
    "table": {"align": "auto", "inspect": False, "filterable": True, "cellOptions": {"type": "auto"}},
    "heatmap": {"scaleDistribution": {"type": "linear"}},
}


def options(panel: Panel) -> Json:
    """The panel's `options`."""
    if panel.type == "heatmap":
        return _OPTIONS[panel.type] | {"yAxis": {"axisPlacement": "left", "unit": panel.unit}}
    return _OPTIONS[panel.type]


def custom(panel: Panel) -> Json:
    """The part of the panel's field configuration that only its type has."""
    found = _CUSTOM.get(panel.type, {})
    if panel.type == "timeseries":
        found = found | {
            "fillOpacity": 30 if panel.stack else 10,
            "stacking": {"mode": "normal" if panel.stack else "none", "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if panel.steps else "off"},
        }
    return found
