"""The manifest beside each model file: what it is, what it was measured to be, and how to tell that it still is."""

import hashlib
import math
import os
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import yaml
from pydantic import Field, ValidationError, model_validator

from sloctl.config.base import Model
from sloctl.engines.base import EngineError, Tensor, TensorSpec
from sloctl.engines.datatypes import NUMPY

NAME = "manifest.yaml"
_MOST_BYTES = 4 << 20
_MOST_VALUES = 4096  # of an output's reference
_CHUNK = 1 << 20


class ManifestError(EngineError):
    """A manifest, or the model file beside it, is missing or not what it should be."""


class ProbeError(EngineError):
    """A checked inference gave something else than its reference; the message says what differs."""


class TensorEntry(Model):
    """An input or output: V2 datatype, shape with -1 for a free dimension; the first is the batch."""

    name: str
    datatype: str
    shape: list[int]

    def spec(self) -> TensorSpec:
        """The engine's form of it."""
        return TensorSpec(self.name, self.datatype, tuple(self.shape))


class Accuracy(Model):
    """Accuracy (0..1) on a data set of so many samples, and how often it agrees with the reference variant."""

    value: Annotated[float, Field(ge=0, le=1)]
    samples: Annotated[int, Field(gt=0)]
    data: str
    agreement: Annotated[float, Field(ge=0, le=1)] | None = None


class Probe(Model):
    """A checked dummy inference: inputs drawn from a seed, and what the outputs were when it was measured.

    Of a large output only each value at a multiple of `every` is kept, row-major.
    """

    seed: int = 0
    expected: dict[str, list[float]]
    every: Annotated[dict[str, Annotated[int, Field(gt=0)]], Field(default_factory=dict)]
    relative_tolerance: float = 1e-2
    absolute_tolerance: float = 1e-2


Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]


class Calibration(Model):
    """What the ranges of a quantised model came from: method (entropy, percentile or max), samples and data set."""

    method: str
    samples: Positive
    data: str


class Gate(Model):
    """How far a variant is from its reference, and the floor that it was held against.

    `value` and `reference_value` are the metric's (0..1, higher is better), `agreement` the share of equal top-1
    classes; the errors are over all outputs, `snr_db` is 10·log10(Σ reference² / Σ error²), missing without any error.
    """

    metric: str
    data: str
    samples: Positive
    reference: str
    value: Share
    reference_value: Share
    floor: Share | None = None
    max_drop: Share | None = None
    agreement: Share | None = None
    max_absolute_error: float
    mean_absolute_error: float
    snr_db: float | None = None
    ran_on: str  # the runtime; a stand-in says so


ShapeProfile = dict[str, list[list[int]]]
"""An optimisation profile: smallest, best and largest shape by input."""


class Build(Model):
    """Where a variant came from: source model, builder, and how its precision was made."""

    source: str
    source_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    builder: str
    method: str
    flags: list[str] = Field(default=[])
    profiles: list[ShapeProfile] = Field(default=[])  # optimisation profiles
    seconds: Annotated[float, Field(ge=0)]
    calibration: Calibration | None = None
    gate: Gate | None = None
    warnings: list[str] = Field(default=[])


class Manifest(Model):
    """A variant, as measured on the device named in it.

    One that was built ahead of time, for a device that was not there, says in `unmeasured` why it was not run; it has
    no device, memory, latencies or probe, and is not served before `sloctl import` has measured it.
    """

    api_version: Literal["sloctl/v1"] = "sloctl/v1"
    kind: Literal["Manifest"] = "Manifest"
    file: Annotated[str, Field(pattern=r"^[^/\\]+$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(gt=0)]
    precision: str
    runtime: Literal["onnxruntime", "tensorrt"]
    runtime_version: str
    lean_runtime: Annotated[str, Field(pattern=r"^[^/\\]+$")] | None = None  # library that an older plan needs
    device_name: str | None = None
    device_memory_bytes: int | None = None
    compute_capability: str | None = None
    driver: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)*$")] | None = None  # the CUDA version that it speaks
    driver_release: str | None = None  # its own version, such as 580.159.04
    inputs: Annotated[list[TensorEntry], Field(min_length=1)]
    outputs: Annotated[list[TensorEntry], Field(min_length=1)]
    max_batch: Annotated[int, Field(gt=0)]
    memory_bytes: int | None = None
    latency_seconds: dict[int, float] = Field(default={})  # median by batch size
    latency_p99_seconds: dict[int, float] = Field(default={})  # of `latency_runs` runs; the slowest, where few
    latency_runs: dict[int, int] = Field(default={})
    accuracy: Accuracy | None = None
    build: Build | None = None
    unmeasured: str | None = None
    probe: Probe | None = None

    @model_validator(mode="after")
    def _measured_or_not(self) -> "Manifest":
        if self.unmeasured is None and (self.probe is None or self.device_name is None or self.memory_bytes is None):
            raise ValueError("probe, deviceName and memoryBytes are missing, and there is no word on why (unmeasured)")
        return self


def reference_of(manifest: Manifest) -> Probe:
    """The probe of a measured variant. Raises ManifestError for one that was never run."""
    if manifest.probe is None:
        raise ManifestError(
            f"{manifest.file} was never run ({manifest.unmeasured}); measure it here with `sloctl import --replace`"
        )
    return manifest.probe


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a variant's folder. Raises ManifestError."""
    path = folder / NAME
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise ManifestError(f"{path}: {reason}; make one with `sloctl import`") from None
    if len(data) > _MOST_BYTES:
        raise ManifestError(f"{path}: larger than {_MOST_BYTES} bytes; that is no manifest")
    try:
        return Manifest.model_validate(yaml.load(data, yaml.CSafeLoader))
    except (yaml.YAMLError, ValidationError, RecursionError, ValueError) as error:
        raise ManifestError(f"{path}: not a valid manifest: {error}; make it anew with `sloctl import`") from None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes it whole or not at all. Raises OSError."""
    raw = manifest.model_dump(mode="json", by_alias=True, exclude_none=True)
    with tempfile.NamedTemporaryFile("w", dir=folder, prefix=NAME, delete=False) as file:
        try:
            yaml.safe_dump(raw, file, sort_keys=False)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)  # temporary files are for their owner only; the daemon may be another user
            os.replace(file.name, folder / NAME)
        except BaseException:
            os.unlink(file.name)
            raise


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


def verify_file(folder: Path, manifest: Manifest) -> Path:
    """The model file, proven to be the one that was measured and to lie in the folder. Raises ManifestError."""
    path = folder / manifest.file
    if path.resolve().parent != folder.resolve():
        raise ManifestError(f"{path}: leads out of the repository; put the file itself there")
    if not path.is_file():
        raise ManifestError(f"{path}: there is no such file; the manifest names it")
    size = path.stat().st_size
    if size != manifest.size:
        kind = "empty" if size == 0 else "truncated" if size < manifest.size else "another file"
        raise ManifestError(f"{path}: {kind}: {size} bytes where the manifest says {manifest.size}; import it anew")
    if digest(path) != manifest.sha256:
        raise ManifestError(f"{path}: its SHA-256 is not the manifest's: the file was changed; import it anew")
    return path


def sample_inputs(inputs: list[TensorSpec], seed: int, batch: int = 1) -> dict[str, Tensor]:
    """Deterministic inputs of `batch` rows: floats uniform in 0..1, integers 0 or 1; other free dimensions are 1."""
    random = np.random.default_rng(seed)
    made: dict[str, Tensor] = {}
    for spec in inputs:
        if spec.datatype not in NUMPY:
            raise EngineError(f"input {spec.name}: no sample can be made of datatype {spec.datatype}")
        shape = (batch, *(max(size, 1) for size in spec.shape[1:]))
        made[spec.name] = random.random(shape).round(0 if spec.datatype[:2] != "FP" else 6).astype(NUMPY[spec.datatype])
    return made


def probe_of(outputs: dict[str, Tensor], seed: int) -> Probe:
    """The reference for these outputs, which are those of the `sample_inputs` of that seed."""
    numbers = {name: value.ravel() for name, value in outputs.items() if value.dtype.kind in "fiu"}
    every = {name: -(-value.size // _MOST_VALUES) for name, value in numbers.items() if value.size > _MOST_VALUES}
    expected = {name: [float(v) for v in value[:: every.get(name, 1)]] for name, value in numbers.items()}
    return Probe(seed=seed, expected=expected, every=every)


def check_outputs(outputs: dict[str, Tensor], probe: Probe) -> None:
    """Compares outputs with the reference. Raises ProbeError that says what differs."""
    for name, wanted in probe.expected.items():
        if name not in outputs:
            raise ProbeError(f"there is no output {name}, only {', '.join(outputs)}")
        found = outputs[name].ravel().astype(np.float64)
        if not np.isfinite(found).all():
            raise ProbeError(f"output {name} is not finite")
        found = found[:: probe.every.get(name, 1)]
        if found.size != len(wanted):
            raise ProbeError(f"output {name} has {found.size} values where the reference has {len(wanted)}")
        reference = np.asarray(wanted)
        scale = float(np.abs(reference).max(initial=0.0))
        allowed = probe.absolute_tolerance + probe.relative_tolerance * scale
        worst = float(np.abs(found - reference).max(initial=0.0))
        if worst > allowed or math.isnan(worst):
            raise ProbeError(f"output {name} is {worst:.3g} off its reference, more than the {allowed:.3g} allowed")
