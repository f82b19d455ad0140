"""`sloctl build`: convert, build, hold against the reference, measure, and put into the repository, by precision."""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from sloctl.build.convert import convert
from sloctl.build.gate import RefusedError, describe, judge
from sloctl.build.materials import Materials
from sloctl.build.recipes import Conversion, Recipe, UnavailableError, for_cpu, for_tensorrt, stand_in
from sloctl.build.settings import Precision
from sloctl.build.store import FILES, beside, host, measure, publish
from sloctl.engines.base import Engine, EngineError, TensorSpec
from sloctl.engines.loading import check_device
from sloctl.engines.manifest import (
    Accuracy,
    Build,
    Calibration,
    Gate,
    Manifest,
    TensorEntry,
    digest,
    write_manifest,
)
from sloctl.engines.measure import FINE, outputs_of
from sloctl.engines.onnx import OnnxEngine


class Fate(IntEnum):
    """What became of a precision, and the exit status that it asks for."""

    BUILT = 0
    FAILED = 1
    REFUSED = 3
    UNAVAILABLE = 4


@dataclass(frozen=True, slots=True)
class Outcome:
    """One precision's end."""

    precision: Precision
    fate: Fate
    message: str
    manifest: Manifest | None = None


@dataclass(frozen=True, slots=True)
class _Made:
    """A model file in its draft folder, and how it was made."""

    path: Path
    recipe: Recipe
    builder: str
    version: str
    seconds: float
    flags: list[str] = field(default_factory=list)
    capability: str | None = None


@dataclass(frozen=True)
class Pipeline:
    """One source model into its place in the repository. Raises EngineError for what concerns all precisions."""

    use: Materials

    def run(self) -> Iterator[Outcome]:
        """Builds the reference first, where it is among the precisions, then the others in order."""
        self._prepare()
        wanted = self.use.settings.precisions
        for precision in sorted(wanted, key=lambda each: (each != self.use.settings.reference, wanted.index(each))):
            self.use.report.say(f"{precision}:")
            yield self._one(precision)

    def _prepare(self) -> None:
        """Everything that can be wrong without a single build."""
        settings = self.use.settings
        self.use.report.say(f"building {self.use.source} for {self.use.target} ({self.use.builder_name})")
        if self.use.target == "onnxruntime" and settings.compute_capability:
            raise EngineError("a compute capability is for TensorRT; this builds for ONNX Runtime on a CPU")
        if self.use.target != "onnxruntime":
            self.use.profiles  # noqa: B018  raises where a shape is missing
        for text in self.use.doubts:
            self.use.report.say(f"warning: {text}")
        if self.use.standard is None:
            self.use.report.say(
                "warning: no evaluation set is given, so nothing holds the variants against the reference"
            )

    def _one(self, precision: Precision) -> Outcome:
        folder = self.use.repository / self.use.model / precision
        try:
            with beside(folder) as draft:
                manifest = self._manifest(precision, self._make(precision, draft))
                write_manifest(draft, manifest)
                aside = publish(draft, folder)
        except UnavailableError as error:
            return Outcome(precision, Fate.UNAVAILABLE, f"not available: {error}")
        except RefusedError as error:
            return Outcome(precision, Fate.REFUSED, f"refused: {error}")
        except (EngineError, OSError) as error:
            return Outcome(precision, Fate.FAILED, f"failed: {error}")
        kept = f"; the variant that was there is now {aside}" if aside else ""
        return Outcome(precision, Fate.BUILT, f"{folder}{kept}", manifest)

    # -- making

    def _make(self, precision: Precision, draft: Path) -> _Made:
        if self.use.target == "onnxruntime":
            return self._make_onnx(for_cpu(precision), draft)
        found = self.use.inspection
        capability = self.use.settings.compute_capability or found.compute_capability
        if capability is None:
            raise EngineError("there is no GPU here; name the one to build for with --compute-capability, such as 8.6")
        return self._make_plan(precision, for_tensorrt(precision, found, capability), capability, draft)

    def _make_onnx(self, recipe: Recipe, draft: Path) -> _Made:
        begin, path = time.monotonic(), draft / FILES["onnxruntime"]
        self._convert(path, recipe.conversion)
        version = self.use.source_engine.runtime.rpartition(" ")[2]
        return _Made(path, recipe, f"onnxruntime {version}", version, time.monotonic() - begin)

    def _make_plan(self, precision: Precision, recipe: Recipe, capability: str, draft: Path) -> _Made:
        model, path = draft / "converted.onnx", draft / FILES["tensorrt"]
        self._convert(model, recipe.conversion)
        request = {
            "model": str(model),
            "plan": str(path),
            "precision": precision,
            "profiles": self.use.profiles,
            "compute_capability": capability,
            "timing_cache": str(self.use.timing_cache(capability)),
            **self.use.settings.model_dump(
                include={"workspace_bytes", "optimization_level", "version_compatible", "exclude_lean_runtime"}
            ),
        }
        found = self.use.builder.build(request, self.use.report.watch)
        model.unlink()
        return _Made(
            path,
            recipe,
            self.use.inspection.name,
            self.use.inspection.version,
            found["seconds"],
            found["set_flags"],
            found["target"],
        )

    def _convert(self, target: Path, conversion: Conversion) -> None:
        convert(self.use.source, target, conversion, self.use.calibration, self.use.settings.calibration)

    # -- judging

    def _manifest(self, precision: Precision, made: _Made) -> Manifest:
        runtime = "onnxruntime" if self.use.target == "onnxruntime" else "tensorrt"
        reason = self._cannot_run(made) if runtime == "tensorrt" else None
        if reason is not None:
            self.use.report.say(f"  not measured: {reason}")
            gate = self._stand_in_gate(precision)
            return self._unmeasured(precision, made, reason, self._record(precision, made, gate))
        with closing(host(made.path, runtime, self.use.hosting)) as engine:
            gate = self._gate(precision, engine, engine.runtime)
            measured = _accuracy(gate) if gate else None
            manifest = measure(
                made.path,
                engine,
                runtime,
                precision,
                self.use.hosting,
                measured=measured,
                build=self._record(precision, made, gate),
                sizes=FINE,
                budget=self.use.settings.measure_seconds,
            )
        # What a plan needs is the version that built it, not that of the host which loads an older runtime for it.
        return manifest.model_copy(update={"runtime_version": made.version})

    def _cannot_run(self, made: _Made) -> str | None:
        """Why this machine cannot run the plan; None where it can."""
        from sloctl.engines import cuda
        from sloctl.engines.tensorrt_runtime import check_version

        try:
            check_device(self.use.settings.device)
            check_version(made.version, self.use.settings.lean_runtime)
            here = cuda.compute_capability(self.use.settings.device)
        except EngineError as error:
            return f"built for compute capability {made.capability}, and this machine cannot run it: {error}"
        return None if here == made.capability else f"built for compute capability {made.capability}; here is {here}"

    def _gate(self, precision: Precision, engine: Engine, ran_on: str) -> Gate | None:
        standard = self.use.standard
        if standard is None:
            return None
        reference = self.use.reference(precision, standard.data)
        found = standard.measure(outputs_of(engine, standard.data), reference, ran_on)
        judge(found)
        self.use.report.say(f"  {describe(found)}")
        return found

    def _stand_in_gate(self, precision: Precision) -> Gate | None:
        """The gate on the same conversion of the model, run by ONNX Runtime."""
        if self.use.standard is None:
            return None
        with beside(self.use.repository / self.use.model / precision) as scratch:
            path = scratch / "stand-in.onnx"
            self._convert(path, stand_in(precision))
            with closing(OnnxEngine(path, threads=0, max_batch=self.use.hosting.max_batch)) as engine:
                return self._gate(precision, engine, f"{engine.runtime}, as a stand-in for the plan")

    def _record(self, precision: Precision, made: _Made, gate: Gate | None) -> Build:
        return Build(
            source=self.use.source.name,
            source_sha256=digest(self.use.source),
            builder=made.builder,
            method=made.recipe.method,
            flags=made.flags,
            profiles=self.use.profiles if made.path.suffix == ".plan" else [],
            seconds=made.seconds,
            calibration=self._calibration(precision),
            gate=gate,
            warnings=list(self.use.doubts) if precision == "int8" else [],
        )

    def _calibration(self, precision: Precision) -> Calibration | None:
        settings = self.use.settings
        if precision != "int8" or settings.calibrate is None:
            return None
        return Calibration(method=settings.calibration, samples=self.use.samples, data=Path(settings.calibrate).stem)

    def _unmeasured(self, precision: Precision, made: _Made, reason: str, build: Build) -> Manifest:
        """The manifest of a plan that no device has run: what is known of it, and nothing else."""
        return Manifest(
            file=made.path.name,
            sha256=digest(made.path),
            size=made.path.stat().st_size,
            precision=precision,
            runtime="tensorrt",
            runtime_version=made.version,
            lean_runtime=self.use.settings.lean_runtime,
            compute_capability=made.capability,
            inputs=[_entry(spec) for spec in self.use.source_engine.inputs],
            outputs=[_entry(spec) for spec in self.use.source_engine.outputs],
            max_batch=max(min(shape[2][0] for shape in profile.values()) for profile in self.use.profiles),
            build=build,
            unmeasured=reason,
        )


def _entry(spec: TensorSpec) -> TensorEntry:
    return TensorEntry(name=spec.name, datatype=spec.datatype, shape=list(spec.shape))


def _accuracy(gate: Gate) -> Accuracy:
    return Accuracy(value=gate.value, samples=gate.samples, data=gate.data, agreement=gate.agreement)
