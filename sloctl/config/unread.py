"""What SLO documents say that their objectives do not hold, so that a conversion can tell that it is lost."""

from collections.abc import Iterator, Mapping

from sloctl.config.documents import OPENSLO, SLOTH, kind_of
from sloctl.config.sources import Document, Loc

_SHORT_FORM = ("sloctl/v1", "ServiceLevel")
_HELD: Mapping[tuple[str, str], tuple[Loc, ...]] = {
    (OPENSLO, "SLO"): (
        ("metadata", "labels"),
        ("metadata", "annotations"),
        ("spec", "description"),
        ("spec", "objectives", 0, "displayName"),
    ),
    (SLOTH, ""): (("slos", 0, "description"),),
    ("sloth.slok.dev/v1", "PrometheusServiceLevel"): (("spec", "slos", 0, "description"),),
    _SHORT_FORM: (("metadata", "labels"), ("spec", "objectives", 0, "description")),
}
"""Where the texts stand that objectives hold, any index for 0."""

_BODY = ("service", "model", "period", "objectives")
_OBJECTIVE = ("name", "sli", "target", "badTime", "period", "labels", "each", "minimumEvents", "alerts", "description")
"""Fields of the short form that become an objective."""


def unread(document: Document) -> Iterator[Loc]:
    """The places of what is in no objective."""
    kind = kind_of(document)
    for loc in document.spots:
        held = any(_has_shape(loc, shape) for shape in _HELD.get(kind, ()))
        if (_is_text(loc) and not held) or (kind == _SHORT_FORM and _is_more(loc)):
            yield loc


def _is_text(loc: Loc) -> bool:
    """Text for people, labels of a whole document, or where a notification goes to."""
    if loc[-1:] in (("labels",), ("annotations",)):
        return loc[-2:-1] == ("metadata",)
    return loc[-1:] in (("displayName",), ("description",), ("connectionDetails",)) or loc == ("spec", "target")


def _is_more(loc: Loc) -> bool:
    if len(loc) == 2 and loc[0] == "spec":
        return loc[1] not in _BODY
    return len(loc) == 4 and loc[:2] == ("spec", "objectives") and loc[3] not in _OBJECTIVE


def _has_shape(loc: Loc, shape: Loc) -> bool:
    return len(loc) == len(shape) and all(a == b or isinstance(a, int) for a, b in zip(loc, shape, strict=True))
