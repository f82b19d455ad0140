"""When only a new process helps: the device is lost to this one, or every variant of a model hangs for good."""

from collections.abc import Callable, Iterable

from sloctl.board import Ending
from sloctl.serving.model import ModelService
from sloctl.serving.variant import Variant

Verdict = tuple[Ending, str]


class Liveness:
    """Watches for what no retry within this process mends."""

    def __init__(
        self, models: Iterable[ModelService], hung_since: Callable[[Variant], float | None], limit: float
    ) -> None:
        """`limit` is how long, in seconds, all loaded variants of a model may hang."""
        self._models = list(models)
        self._hung_since = hung_since
        self._limit = limit
        self._lost = ""

    def lose(self, why: str) -> None:
        """The device is lost to this process."""
        self._lost = self._lost or why

    def verdict(self, now: float) -> Verdict | None:
        """How this process should end, and why; None while it should live."""
        if self._lost:
            return Ending.DEVICE_LOST, f"the device is lost to this process: {self._lost}"
        for model in self._models:
            since = [self._hung_since(variant) for variant in model.variants if variant.loaded is not None]
            latest = max((at for at in since if at is not None), default=now)
            if since and None not in since and now - latest > self._limit:
                return Ending.ENGINE_HANGS, f"every variant of model {model.name} hangs, for {now - latest:.0f} s now"
        return None
