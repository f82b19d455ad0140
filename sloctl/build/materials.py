"""What all precisions of a build share: target and builder, shapes, samples and reference, each made when asked for."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sloctl.build.builder import Builder, Inspection
from sloctl.build.calibration import doubts
from sloctl.build.gate import Reference, Standard
from sloctl.build.progress import Report
from sloctl.build.settings import BuildSettings, Sizes
from sloctl.build.store import Hosting
from sloctl.build.traffic import profile_of, read_histogram
from sloctl.engines.base import EngineError, Tensor, TensorSpec
from sloctl.engines.loading import load_engine
from sloctl.engines.manifest import ShapeProfile, read_manifest
from sloctl.engines.measure import Evaluation, outputs_of, read_arrays
from sloctl.engines.onnx import OnnxEngine


@dataclass(frozen=True)
class Materials:
    """Of one source model on its way into `repository/model`. Everything here raises EngineError."""

    source: Path
    model: str
    repository: Path
    settings: BuildSettings
    report: Report

    @cached_property
    def target(self) -> str:
        """The target asked for; with auto, TensorRT where its builder and a GPU are, else ONNX Runtime."""
        if self.settings.target != "auto":
            return self.settings.target
        try:
            there = Builder("tensorrt", self.settings.builder_python).inspect().compute_capability
        except EngineError:
            there = None
        return "tensorrt" if there else "onnxruntime"

    @cached_property
    def builder(self) -> Builder:
        """The builder in its process."""
        return Builder(self.target, self.settings.builder_python)

    @cached_property
    def inspection(self) -> Inspection:
        """Which builder that is."""
        return self.builder.inspect()

    @property
    def builder_name(self) -> str:
        """What makes the variants, with its version."""
        return self.source_engine.runtime if self.target == "onnxruntime" else self.inspection.name

    @cached_property
    def source_engine(self) -> OnnxEngine:
        """The source model on ONNX Runtime: the reference, unless a variant is named."""
        return OnnxEngine(self.source, threads=0, max_batch=self.largest)

    @cached_property
    def sizes(self) -> list[Sizes]:
        """Batch sizes of each optimisation profile, as set or as recorded."""
        if self.settings.traffic is None:
            return self.settings.sizes
        found = profile_of(read_histogram(self.settings.traffic, self.model))
        self.report.say("batch sizes by {}: {}/{}/{}".format(self.settings.traffic, *found))
        return [found]

    @property
    def largest(self) -> int:
        """The largest batch of any profile."""
        return max(largest for _, _, largest in self.sizes)

    @cached_property
    def profiles(self) -> list[ShapeProfile]:
        """The optimisation profiles."""
        inputs = self.source_engine.inputs
        return [{spec.name: _profile(spec, sizes, self.settings) for spec in inputs} for sizes in self.sizes]

    @property
    def hosting(self) -> Hosting:
        """Where variants are measured."""
        settings = self.settings
        return Hosting(settings.device, settings.threads, self.largest, settings.lean_runtime)

    @cached_property
    def standard(self) -> Standard | None:
        """The data set, metric and floors; None without an evaluation set."""
        settings = self.settings
        if settings.evaluate is None:
            return None
        data = Evaluation.read(Path(settings.evaluate))
        return Standard(data, settings.metric, settings.floor, settings.max_drop)

    def reference(self, precision: str, data: Evaluation) -> Reference:
        """What a precision is compared with: the variant that was named, but for that variant itself the source."""
        name = self.settings.reference
        if name is None or name == precision:
            return self._source_reference(data)
        folder = self.repository / self.model / name
        if read_manifest(folder).unmeasured:
            self.report.say(f"  {name} was never run; the reference is the source model")
            return self._source_reference(data)
        if name not in self._references:
            device = "cpu" if self.target == "onnxruntime" else self.settings.device
            hosting = self.hosting
            engine, _ = load_engine(folder, device=device, threads=hosting.threads, max_batch=hosting.max_batch)
            with closing(engine):
                self._references[name] = Reference(name, outputs_of(engine, data))
        return self._references[name]

    def _source_reference(self, data: Evaluation) -> Reference:
        engine, name = self.source_engine, self.source.name
        if name not in self._references:
            self._references[name] = Reference(f"{name} on {engine.runtime}", outputs_of(engine, data))
        return self._references[name]

    @cached_property
    def _references(self) -> dict[str, Reference]:
        return {}

    @cached_property
    def calibration(self) -> Mapping[str, Tensor] | None:
        """Calibration samples by input."""
        if self.settings.calibrate is None:
            return None
        arrays = read_arrays(Path(self.settings.calibrate))
        names = [spec.name for spec in self.source_engine.inputs]
        missing = [name for name in names if name not in arrays or not len(arrays[name])]
        if missing:
            raise EngineError(f"{self.settings.calibrate}: there are no samples of {', '.join(missing)}")
        return {name: arrays[name] for name in names}

    @property
    def samples(self) -> int:
        """How many calibration samples there are."""
        return len(next(iter(self.calibration.values()))) if self.calibration else 0

    @cached_property
    def doubts(self) -> Sequence[str]:
        """What is to be said against the calibration set."""
        if self.calibration is None:
            return []
        observed: Mapping[str, Tensor] | None = None
        if self.settings.traffic_inputs:
            observed = read_arrays(Path(self.settings.traffic_inputs))
        elif self.standard:
            observed = self.standard.data.inputs
        return list(doubts(self.calibration, observed))

    def timing_cache(self, capability: str) -> Path:
        """One file for each builder version and kind of GPU, beside the repository."""
        folder = Path(self.settings.timing_cache or f"{self.repository}.timing-cache")
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{self.inspection.module}-{self.inspection.version}-sm{capability.replace('.', '')}.cache"


def _profile(spec: TensorSpec, sizes: Sizes, settings: BuildSettings) -> list[list[int]]:
    """Smallest, best and largest shape of an input. Raises EngineError where its free dimensions have no sizes."""
    given = settings.shapes.get(spec.name)
    shapes = (given.min, given.best, given.max) if given else tuple([n, *spec.shape[1:]] for n in sizes)
    if spec.shape and spec.shape[0] > 0:
        shapes = tuple([spec.shape[0], *shape[1:]] for shape in shapes)
    for shape in shapes:
        if len(shape) != len(spec.shape) or min(shape) < 1:
            raise EngineError(
                f"input {spec.name} has shape {list(spec.shape)}; give min, best and max of all its dimensions "
                "under `shapes` of the file that --config names"
            )
    return [list(shape) for shape in shapes]
