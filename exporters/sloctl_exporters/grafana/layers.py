"""The dashboard 'sloctl: layers': where an engine's time goes, what changed, and how variants compare."""

from sloctl.telemetry import catalogue as c
from sloctl_exporters.grafana import marks, variables
from sloctl_exporters.grafana.model import GREEN, YELLOW, Dashboard, Panel, Row, Target
from sloctl_exporters.grafana.panels import bars, lines, matrix
from sloctl_exporters.grafana.queries import RANGE, Queries

OTHER = "(other)"  # the layer that stands for all without a name, as the daemon calls it
_NAME = "{{model}} {{variant}}"
_VARIANT = "model, variant"
_NO_PROFILES = "No layer was profiled in this time (`profile.interval`)"
_NO_BASELINE = "No layer has a baseline yet: that takes some profiles"

_q = Queries(variables.BY_MODEL)
_LAYER = "model, variant, layer, kind"


def layers() -> Dashboard:
    """The dashboard."""
    return Dashboard(
        "sloctl-layers",
        "sloctl: TensorRT layers",
        "Sampled layer times of TensorRT and ONNX Runtime engines: the slowest, their kinds, drift, variants compared.",
        [*variables.standard(), variables.model()],
        [
            Row("Where the time goes", _slowest()),
            Row("Variants side by side", _compared()),
            Row("What changed", _changed()),
        ],
        [marks.decisions(_q), marks.restarts(_q)],
    )


def _mean(window: str, function: str) -> str:
    return _q.mean(c.LAYER_DURATION, _LAYER, function=function, window=window)


def _in_all() -> str:
    return f"sum by ({_VARIANT}) ({_mean(RANGE, 'increase')})"


def _slowest() -> list[Panel]:
    return [
        bars(
            "Slowest layers",
            f"Mean sampled time of a layer in the time shown, the twenty slowest; `{OTHER}` is all without a name.",
            "s",
            Target(f"topk(20, {_mean(RANGE, 'increase')})", f"{_NAME} {{{{layer}}}} ({{{{kind}}}})", instant=True),
            width=24,
            height=14,
            empty=_NO_PROFILES,
        ),
        bars(
            "Time by kind",
            "Time of a profile by the kind of its layers: compute, or reformat and copy, which compute nothing.",
            "s",
            Target(f"sum by ({_VARIANT}, kind) ({_mean(RANGE, 'increase')})", f"{_NAME} {{{{kind}}}}", instant=True),
            width=12,
            empty=_NO_PROFILES,
        ),
        bars(
            "Share of the other layers",
            f"Share of a profile's time in `{OTHER}`; where it is large, raise `profile.topLayers`.",
            "percentunit",
            Target(f"{_others()} / {_in_all()}", _NAME, instant=True),
            high=1,
            width=12,
            empty="Every layer has a name of its own, or none was profiled in this time",
        ),
    ]


def _others() -> str:
    extra = f'layer="{OTHER}"'
    total, count = (
        f"sum by ({_VARIANT}) (increase({_q.series(c.LAYER_DURATION, suffix, extra=extra)}[{RANGE}]))"
        for suffix in ("_sum", "_count")
    )
    return f"({total} / ({count} > 0))"


def _compared() -> list[Panel]:
    joined = 'label_join(sum by ({by}) ({mean}), "engine", " ", "model", "variant")'
    return [
        matrix(
            "Layers by variant",
            "Mean time of each layer; a layer that one variant lacks was fused or split otherwise there.",
            "s",
            joined.format(by="model, variant, layer", mean=_mean(RANGE, "increase")),
            "layer",
            "engine",
            width=16,
            height=14,
            empty=_NO_PROFILES,
        ),
        matrix(
            "Kinds by variant",
            "Time of a profile by the kind of its layers: what a lower precision loses in reformatting.",
            "s",
            joined.format(by="model, variant, kind", mean=_mean(RANGE, "increase")),
            "kind",
            "engine",
            height=14,
            empty=_NO_PROFILES,
        ),
    ]


def _changed() -> list[Panel]:
    drift = _q.gauge(c.LAYER_DRIFT, "model, variant, layer", "max")
    return [
        lines(
            "Layer drift",
            "Latest time of a layer over its own baseline, the ten highest at each moment; the alert is above 1.25.",
            "percentunit",
            Target(f"topk(10, {drift})", f"{_NAME} {{{{layer}}}}"),
            low=None,
            width=16,
            steps=[(None, GREEN), (1.25, YELLOW)],
            empty=_NO_BASELINE,
        ),
        lines(
            "Layers of the last profile",
            "Mean time of a layer in the last profile, the ten slowest at each moment; `layer_time` of SLOs reads it.",
            "s",
            Target(f"topk(10, {_q.gauge(c.LAYER_LAST, 'model, variant, layer', 'max')})", f"{_NAME} {{{{layer}}}}"),
            width=16,
            empty=_NO_PROFILES,
        ),
        lines(
            "Profiles",
            "Layer profiles sampled a second.",
            "cps",
            Target(_q.rate(c.PROFILES, _VARIANT), _NAME),
        ),
        lines(
            "Time of a profile",
            "Sum of the layers' mean times.",
            "s",
            Target(f"sum by ({_VARIANT}) ({_mean('$__rate_interval', 'rate')})", _NAME),
            width=16,
            empty=_NO_PROFILES,
        ),
        lines(
            "Layers in (other)",
            f"How many layers have no series of their own and are summed under `{OTHER}`.",
            "short",
            Target(_q.gauge(c.LAYERS_OTHER, _VARIANT, "max"), _NAME),
        ),
    ]
