"""Lints of the PromQL inside SLOs: its syntax, ranges that stay, and buckets that are not there.

The parser knows the PromQL of Prometheus 2.45; what later versions or other servers add is a warning, no error.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import promql_parser as promql
from prometheus_client.utils import floatToGoString

from sloctl.config.base import format_duration
from sloctl.config.problems import Code, Problem
from sloctl.config.sources import Document
from sloctl.slo.promql import WINDOW
from sloctl.telemetry.buckets import exported_bounds
from sloctl.telemetry.catalogue import BATCH_BOUNDS, Kind, find

_QUERIES = ("query", "error_query", "total_query", "error_ratio_query", "errorQuery", "totalQuery", "errorRatioQuery")
_STANDS_FOR = timedelta(seconds=7919)  # the window, while a query is looked at: nobody writes a prime of seconds
_SHORT = 40  # characters of a query that are shown

Finding = tuple[Code, str, str, str]
"""Code, message, what was expected, and the part of the query that is meant."""


def lint_queries(document: Document, thresholds: Sequence[float]) -> Iterator[Problem]:
    """Every warning about the queries of a document; `thresholds` are bounds that SLOs add to sloctl's histograms."""
    for loc in document.spots:
        query = document.get(loc)
        if loc and loc[-1] in _QUERIES and "connectionDetails" not in loc and isinstance(query, str):
            for code, message, expected, part in _findings(query, thresholds):
                column = query.find(part) + 1 if part else 1
                yield document.problem(loc, code, message, expected, column=max(column, 1))


def _findings(query: str, thresholds: Sequence[float]) -> Iterator[Finding]:
    try:
        tree = promql.parse(WINDOW.sub(f"{_STANDS_FOR.seconds}s", query))
    except ValueError as error:
        yield Code.INVALID_QUERY, f"not PromQL: {error}", "a query as Prometheus 2.45 or later takes it", ""
        return
    nodes: list[Any] = []
    promql.walk(tree, pre_visit=nodes.append)
    if WINDOW.search(query):
        yield from _fixed_ranges(nodes)
    grouped = any(_keeps_buckets(node) for node in nodes)
    for node in nodes:
        selector = node.vector_selector if isinstance(node, promql.MatrixSelector) else node
        if isinstance(selector, promql.VectorSelector):
            yield from _buckets(selector, thresholds, grouped=grouped)


def _fixed_ranges(nodes: Sequence[Any]) -> Iterator[Finding]:
    if any(isinstance(node, promql.SubqueryExpr) and node.range == _STANDS_FOR for node in nodes):
        return  # inside a subquery over the window a range of its own is right
    for node in nodes:
        if isinstance(node, promql.MatrixSelector) and node.range != _STANDS_FOR:
            span = format_duration(node.range.total_seconds())
            message = f"a range of {span} whatever the window: all windows would see the same {span}"
            yield Code.FIXED_RANGE, message, "[{{.window}}]", f"[{span}]"


def _keeps_buckets(node: Any) -> bool:
    """Whether a part of a query works on all buckets together."""
    if isinstance(node, promql.Call):
        return str(node.func.name).startswith("histogram_")
    modifier = node.modifier if isinstance(node, promql.AggregateExpr) else None
    return modifier is not None and (modifier.type == promql.AggModifierType.By) == ("le" in modifier.labels)


def _buckets(selector: Any, thresholds: Sequence[float], *, grouped: bool) -> Iterator[Finding]:
    name = selector.name or ""
    bounds = [matcher for matcher in selector.matchers.matchers if matcher.name == "le"]
    if not name.endswith("_bucket"):
        if bounds:
            message = f"{name or 'the selector'} is no series of buckets, and has no label le"
            yield Code.BUCKET_BOUND, message, f"{name}_bucket", name
        return
    if not bounds and not grouped:
        message = f"{name} without le adds up all buckets, each holding the ones below it"
        yield Code.BUCKET_BOUND, message, f'one bucket, such as {name}{{le="0.1"}}, or {_count(name)}', name
    for matcher in bounds:
        if matcher.op == promql.MatchOp.Equal:
            yield from _bound(name, matcher.value, thresholds)


def _count(name: str) -> str:
    return f"{name.removesuffix('_bucket')}_count"


def _bound(name: str, text: str, thresholds: Sequence[float]) -> Iterator[Finding]:
    try:
        bound = float(text)
    except ValueError:
        yield Code.BUCKET_BOUND, f'no bucket ends at le="{text}", which is no number', 'one such as le="0.05"', text
        return
    written = str(floatToGoString(bound))  # type: ignore[no-untyped-call]
    if text not in (written, repr(bound)):
        whole = re.fullmatch(r"\d+", text) is not None
        what = "Prometheus 3 keeps" if whole else "a server keeps"
        expected = f'le=~"{text}|{text}\\\\.0", which any version has' if whole else f'le="{written}"'
        message = f'{what} this bucket as le="{written}", so le="{text}" matches nothing'
        yield Code.BUCKET_BOUND, message, expected, f'le="{text}"'
    metric = find(name.removesuffix("_bucket"))
    if metric is None or metric.kind is not Kind.HISTOGRAM:
        return  # the bounds of others are not known here
    known = exported_bounds(thresholds) if metric.unit == "seconds" else BATCH_BOUNDS
    if bound not in (*known, float("inf")):
        near = sorted(known, key=lambda other: abs(other - bound))[:2]
        expected = (
            f"one such as {' or '.join(f'{other:g}' for other in sorted(near))}, or a thresholdMetric at {bound:g}"
        )
        yield Code.BUCKET_BOUND, f"{name} has no bucket that ends at {text}", expected, f'le="{text}"'
