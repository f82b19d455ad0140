"""The documents that SLOs are written in, behind one interface: their names, their mistakes, their objectives."""

from collections.abc import Sequence

from sloctl.slo import openslo, sloth
from sloctl.slo.objective import Objective
from sloctl.slo.openslo_model import SloDocument
from sloctl.slo.sloth_model import SlothDocument, SlothResource
from sloctl.slo.windows import AlertWindow

Loc = openslo.Loc
SloModel = SloDocument | SlothDocument | SlothResource


def objectives(model: SloModel) -> tuple[Objective, ...]:
    """The objectives of a document that `check` finds nothing wrong with."""
    return openslo.objectives(model) if isinstance(model, SloDocument) else sloth.objectives(model)


def names(model: SloModel) -> list[tuple[Loc, str]]:
    """The name of every objective, in order, and where it is written."""
    if isinstance(model, SloDocument):
        return [(("metadata", "name"), name) for name in openslo.names(model)]
    at: Loc = ("slos",) if isinstance(model, SlothDocument) else ("spec", "slos")
    return [((*at, index, "name"), name) for index, name in enumerate(sloth.names(model))]


def check(model: SloModel, windows: Sequence[AlertWindow], *, whole: bool = True) -> list[openslo.Problem]:
    """What is wrong with a document that fits its format; of one that is not `whole`, what is missing is not."""
    return openslo.check(model, windows, whole=whole) if isinstance(model, SloDocument) else []
