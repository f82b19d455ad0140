"""References between OpenSLO documents: what they name, and SLOs with what they name put in its place."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sloctl.config.base import Metadata
from sloctl.slo.openslo_alerting import (
    AlertConditionDocument,
    AlertPolicyDocument,
    AlertPolicySpec,
    AlertTargetDocument,
    DataSourceDocument,
    ServiceDocument,
)
from sloctl.slo.openslo_model import PolicyItem, SliDocument, SloDocument, SloIndicator

Loc = tuple[str | int, ...]
Shared = (
    SliDocument
    | AlertPolicyDocument
    | AlertConditionDocument
    | AlertTargetDocument
    | DataSourceDocument
    | ServiceDocument
)
REFERENCES = {
    "indicatorRef": "SLI",
    "metricSourceRef": "DataSource",
    "alertPolicyRef": "AlertPolicy",
    "conditionRef": "AlertCondition",
    "targetRef": "AlertNotificationTarget",
}


def references(value: Any, loc: Loc = ()) -> Iterator[tuple[Loc, str, str]]:
    """Place, kind and name of everything that a document, as written, refers to."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in REFERENCES and isinstance(inner, str):
                yield (*loc, key), REFERENCES[key], inner
            elif key != "connectionDetails":
                yield from references(inner, (*loc, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from references(inner, (*loc, index))


@dataclass(frozen=True)
class Library:
    """Documents that others refer to, by kind and name."""

    documents: Mapping[tuple[str, str], Shared] = field(default_factory=dict)

    def resolved(self, document: SloDocument) -> SloDocument | None:
        """The SLO with its indicator and alert policies in place; None where one is missing."""
        spec = document.spec
        changes: dict[str, Any] = {}
        if spec.indicator_ref is not None:
            sli = self.documents.get(("SLI", spec.indicator_ref))
            if not isinstance(sli, SliDocument):
                return None
            changes["indicator"] = SloIndicator(metadata=sli.metadata, spec=sli.spec)
        if spec.alert_policies is not None:
            policies = [self._policy(item) for item in spec.alert_policies]
            if None in policies:
                return None
            changes["alert_policies"] = policies
        return document.model_copy(update={"spec": spec.model_copy(update=changes)})

    def _policy(self, item: PolicyItem) -> PolicyItem | None:
        spec, metadata = item.spec, item.metadata
        if item.alert_policy_ref is not None:
            found = self.documents.get(("AlertPolicy", item.alert_policy_ref))
            if not isinstance(found, AlertPolicyDocument):
                return None
            spec, metadata = found.spec, found.metadata
        inlined = self._conditions(spec) if spec is not None else None
        return _written(metadata, inlined) if inlined is not None else None

    def _conditions(self, spec: AlertPolicySpec) -> AlertPolicySpec | None:
        (item,) = spec.conditions
        if item.condition_ref is None:
            return spec
        found = self.documents.get(("AlertCondition", item.condition_ref))
        if not isinstance(found, AlertConditionDocument):
            return None
        whole = item.model_copy(update={"condition_ref": None, "metadata": found.metadata, "spec": found.spec})
        return spec.model_copy(update={"conditions": [whole]})


def _written(metadata: Metadata | None, spec: AlertPolicySpec) -> PolicyItem:
    return PolicyItem(kind="AlertPolicy", metadata=metadata, spec=spec)
