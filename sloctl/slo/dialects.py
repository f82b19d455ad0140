"""The documents that SLOs are written in, behind one interface: their names, their mistakes, their objectives."""

from collections.abc import Sequence

from sloctl.slo import openslo, service_level, sloth
from sloctl.slo.objective import Objective
from sloctl.slo.openslo_model import SloDocument
from sloctl.slo.service_level import ServiceLevel
from sloctl.slo.sloth_model import SlothDocument, SlothResource
from sloctl.slo.windows import AlertWindow

Loc = openslo.Loc
SloModel = SloDocument | SlothDocument | SlothResource | ServiceLevel


def objectives(model: SloModel) -> tuple[Objective, ...]:
    """The objectives of a document that `check` finds nothing wrong with."""
    if isinstance(model, SloDocument):
        return openslo.objectives(model)
    return service_level.objectives(model) if isinstance(model, ServiceLevel) else sloth.objectives(model)


def names(model: SloModel) -> list[tuple[Loc, str]]:
    """The name of every objective, in order, and where it is written."""
    if isinstance(model, SloDocument):
        return [(("metadata", "name"), name) for name in openslo.names(model)]
    if isinstance(model, ServiceLevel):
        return service_level.names(model)
    at: Loc = ("slos",) if isinstance(model, SlothDocument) else ("spec", "slos")
    return [((*at, index, "name"), name) for index, name in enumerate(sloth.names(model))]


def check(model: SloModel, windows: Sequence[AlertWindow], *, whole: bool = True) -> list[openslo.Problem]:
    """What is wrong with a document that fits its format; of one that is not `whole`, what is missing is not."""
    if isinstance(model, SloDocument):
        return openslo.check(model, windows, whole=whole)
    return service_level.check(model, windows, whole=whole) if isinstance(model, ServiceLevel) else []


def places(model: SloModel) -> list[Loc]:
    """For every objective, in order, where its threshold is written."""
    if isinstance(model, SloDocument):
        return [("spec", "objectives", index, "value") for index in range(len(model.spec.objectives))]
    return [(*loc[:-1], "sli") for loc, _ in names(model)]
