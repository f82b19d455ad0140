"""A daemon over a test bed in one of the settings that are compared, and load for it."""

import json
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.overload.beds import CLASSES, MODEL, Bed
from bench.overload.clients import Clients, Naive
from bench.overload.drivers import Drivers, Played, Stream
from bench.plans import ROOT, Daemon, daemon
from sloctl.load.schedule import Phase

MIX = dict(zip(CLASSES, (0.2, 0.5, 0.3), strict=True))
ONCE = Naive(retries=0)
SLO = f"{MODEL}-latency"
_LONG = "1h"


@dataclass(frozen=True)
class Setting:
    """One way to run the daemon: changes of the model's configuration, whether the policy steers, whether clients tell
    their class.
    """

    name: str
    model: Mapping[str, Any] = field(default_factory=dict)
    controller: bool = False
    classes: bool = True


OWN = Setting("sloctl")
STEERED = Setting("sloctl", controller=True)
_NOTHING = {"deadline": _LONG, "admission": {"target": "off", "limit": "off"}}
UNBOUNDED = Setting("unbounded queue", {**_NOTHING, "maxQueue": 10**6}, classes=False)
BOUNDED = Setting("queue of 100", {**_NOTHING, "maxQueue": 100}, classes=False)  # TorchServe's default
PEERS = (UNBOUNDED, BOUNDED)


@dataclass(frozen=True)
class Node:
    """A running daemon and the drivers that load it."""

    bed: Bed
    setting: Setting
    daemon: Daemon
    drivers: Drivers

    def play(self, phases: Sequence[Phase], seed: int, clients: Clients = ONCE) -> Played:
        """Plays a load of all classes to its end."""
        return self.begin([Stream(phases, MIX)], seed, clients)[1]()

    def begin(
        self, streams: Sequence[Stream], seed: int, clients: Clients = ONCE
    ) -> tuple[float, Callable[[], Played]]:
        """Starts a load; the moment of its first phase, and what waits for its end."""
        url = self.daemon.serving
        requests = self.bed.requests(url, classes=self.setting.classes)
        return self.drivers.begin(url, requests, streams, seed, self.bed.patience, clients)

    @property
    def drain(self) -> float:
        """Seconds after a load in which what is left of it ends: in a queue without a target, when clients give up."""
        return self.bed.patience if "admission" in self.setting.model else self.bed.objective

    @property
    def capacity(self) -> float:
        """Requests a second that the most accurate variant should carry, as it was measured when it was loaded.

        Raises TimeoutError where the control plane does not tell it.
        """
        end = time.monotonic() + 10.0
        while time.monotonic() < end:
            status: Any = self.daemon.status()
            found = {variant["name"]: variant["capacity"] for variant in status["variants"]}
            if found[self.bed.variants[0]]:  # none until the first tick after the load
                return float(found[self.bed.variants[0]]) / self.bed.rows
            time.sleep(0.05)
        raise TimeoutError(f"no capacity of {self.bed.variants[0]} is told")

    def order(self, variant: str, seconds: int) -> None:
        """Orders a variant by hand for some seconds."""
        body = {"kind": "variant", "value": variant, "expires": f"{seconds}s", "reason": "benchmark"}
        self._tell("overrides", body)

    def inject(self, *faults: str) -> None:
        """Breaks the engines in these ways; with none, they are well again."""
        self._tell("faults", {"faults": faults})

    def _tell(self, where: str, body: Mapping[str, object]) -> None:
        data, headers = json.dumps({"model": MODEL, **body}).encode(), {"content-type": "application/json"}
        url = f"{self.daemon.control}/api/v1/{where}"
        urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=5).close()

    def wait_for(self, variant: str, patience: float = 30.0) -> None:
        """Until a variant serves. Raises TimeoutError."""
        end = time.monotonic() + patience
        while self.daemon.status()["variant"] != variant:
            if time.monotonic() > end:
                raise TimeoutError(f"{variant} does not serve after {patience:g} s")
            time.sleep(0.1)


@contextmanager
def running(bed: Bed, setting: Setting, **model: Any) -> Iterator[Node]:
    """A daemon in this setting, ready and warm; `model` changes its model's configuration further."""
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        folder = Path(scratch)
        (folder / "slo.yaml").write_text(json.dumps(_slo(bed.objective)))
        (folder / "policy.yaml").write_text(json.dumps(_policy(bed.variants)))
        text = json.dumps(_daemon(bed, setting, model))
        node = stack.enter_context(daemon(folder, text, bed.module))
        stack.enter_context(bed.ready(node))
        drivers = Drivers(bed.drivers)
        stack.callback(drivers.close)
        found = Node(bed, setting, node, drivers)
        found.play([Phase("warm", 1.0, 0.5 * found.capacity)], seed=0)
        yield found


def _daemon(bed: Bed, setting: Setting, model: Mapping[str, Any]) -> dict[str, Any]:
    off = {"interval": "0s"}  # of profiles: they take the device's time, and their effect is measured elsewhere
    own = {"name": MODEL, "variants": bed.variants, "maxBatch": bed.max_batch, "profile": off}
    return {
        "apiVersion": "sloctl/v1",
        "kind": "Daemon",
        "serving": {"port": 0},
        "control": {"port": 0, "enabled": True},
        "device": bed.device,
        "repository": str(bed.repository.resolve()),
        "priorities": CLASSES,
        "defaultPriority": "normal",
        "slos": ["slo.yaml"],
        "policies": ["policy.yaml"] if setting.controller else [],
        "windows": str(ROOT / "rules/windows/demo.yaml"),
        "faultInjection": True,
        "preflight": "never",  # they were measured, and run, when they were imported
        "models": [{**own, **setting.model, **model}],
    }


def _slo(objective: float) -> dict[str, Any]:
    metric = {"metric": "sloctl_request_duration_seconds", "labels": {"model": MODEL}}
    source = {"metricSource": {"type": "sloctl", "spec": metric}}
    return {
        "apiVersion": "openslo/v1",
        "kind": "SLO",
        "metadata": {"name": SLO},
        "spec": {
            "service": MODEL,
            "indicator": {"metadata": {"name": SLO}, "spec": {"thresholdMetric": source}},
            "timeWindow": [{"duration": "1h", "isRolling": True}],
            "budgetingMethod": "Occurrences",
            "objectives": [{"op": "lte", "value": objective, "target": 0.99}],
        },
    }


def _policy(variants: Sequence[str]) -> dict[str, Any]:
    """The planner with a short memory, so that the next seed finds the most accurate variant serving again."""
    spec = {
        "model": MODEL,
        "ladder": variants,
        "dwell": "1s",
        "cooldown": "2s",
        "maxSwitchesPerHour": 1000,
        "planner": {"objective": SLO, "window": "5s"},
        "rules": [],
    }
    return {"apiVersion": "sloctl/v1", "kind": "Policy", "metadata": {"name": MODEL}, "spec": spec}
