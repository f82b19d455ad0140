"""The names that shape the board: which models, variants and priority classes there are."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ModelTopology:
    """A model and its variants, most accurate first."""

    name: str
    variants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Topology:
    """Everything that the layout of the board depends on besides the metric catalogue.

    `priorities` are highest first; `bounds` are the duration histograms' upper bounds in seconds and
    `exported` the subset that exporters show; `layers` is how many layer slots a variant has,
    the last of them for all layers that have none of their own; `tenants` have series of their own.
    """

    models: tuple[ModelTopology, ...]
    priorities: tuple[str, ...]
    bounds: tuple[float, ...]
    exported: tuple[float, ...]
    layers: int = 65
    tenants: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready form; `Topology.from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> "Topology":
        """Reads what `as_dict` wrote."""
        models = tuple(ModelTopology(m["name"], tuple(m["variants"])) for m in raw["models"])
        return cls(
            models=models,
            priorities=tuple(raw["priorities"]),
            bounds=tuple(raw["bounds"]),
            exported=tuple(raw["exported"]),
            layers=raw["layers"],
            tenants=tuple(raw["tenants"]),
        )

    def model(self, name: str) -> ModelTopology:
        """The model of that name; KeyError if there is none."""
        for model in self.models:
            if model.name == name:
                return model
        raise KeyError(name)
