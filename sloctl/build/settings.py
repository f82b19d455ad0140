"""What to build and how: `apiVersion: sloctl/v1, kind: Build`, or the options of the same names."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from sloctl.config.base import Model
from sloctl.config.daemon import Name, Ratio
from sloctl.config.messages import validated
from sloctl.config.problems import ConfigError, require
from sloctl.config.sources import read
from sloctl.config.yaml_source import parse

Precision = Literal["fp32", "tf32", "fp16", "bf16", "int8", "fp8"]
Target = Literal["auto", "onnxruntime", "tensorrt", "tensorrt-rtx"]
Shape = list[Annotated[int, Field(gt=0)]]
_PATHS = ("calibrate", "evaluate", "trafficInputs", "timingCache")
_RANGE = r"[1-9][0-9]{0,4}/[1-9][0-9]{0,4}/[1-9][0-9]{0,4}"
_BATCH = rf"^{_RANGE}(,{_RANGE}){{0,7}}$"
Sizes = tuple[int, int, int]
"""Smallest, best and largest batch."""


class ShapeRange(Model):
    """Sizes of an input whose dimensions are free beyond the batch, the batch among them."""

    min: Shape
    best: Shape
    max: Shape


class BuildSettings(Model):
    """One run of `sloctl build`. Relative paths are relative to the file."""

    api_version: Literal["sloctl/v1"] = "sloctl/v1"
    kind: Literal["Build"] = "Build"
    precisions: list[Precision] = Field(default=["fp32"], min_length=1)
    target: Target = "auto"
    batch: Annotated[str, Field(pattern=_BATCH)] = "1/16/64"  # smallest/best/largest; several with commas
    shapes: dict[str, ShapeRange] = Field(default={})
    traffic: str | None = None  # /metrics of a daemon, or a file: batch sizes in place of `batch`
    calibrate: str | None = None
    calibration: Literal["entropy", "percentile", "max"] = "max"
    traffic_inputs: str | None = None  # what the calibration set is held against; without it, the evaluation set
    evaluate: str | None = None
    metric: Annotated[str, Field(pattern=r"^(top-1|[\w.]+:\w+)$")] = "top-1"
    reference: Name | None = None
    floor: Ratio | None = None
    max_drop: Ratio | None = None
    device: str = "cuda:0"
    compute_capability: Annotated[str, Field(pattern=r"^[0-9]{1,2}\.[0-9]$")] | None = None
    threads: Annotated[int, Field(ge=0)] = 1  # of a CPU engine that is measured
    measure_seconds: Annotated[float, Field(gt=0, le=600)] = 5.0  # of a variant's latency table
    builder_python: str | None = None
    timing_cache: str | None = None  # a folder; by default beside the repository
    workspace_bytes: Annotated[int, Field(gt=0)] | None = None
    optimization_level: Annotated[int, Field(ge=0, le=5)] | None = None
    version_compatible: bool = False
    exclude_lean_runtime: bool = False
    lean_runtime: Annotated[str, Field(pattern=r"^[^/\\]+$")] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.precisions)) != len(self.precisions):
            raise ValueError("a precision is named twice")
        if "int8" in self.precisions and not self.calibrate:
            raise ValueError("int8 needs samples to calibrate with; give calibrate")
        if not self.evaluate and (self.floor is not None or self.max_drop is not None):
            raise ValueError("floor and maxDrop are held against an evaluation set; give evaluate")
        if any(list(sizes) != sorted(sizes) for sizes in self.sizes):
            raise ValueError("batch is smallest/best/largest, such as 1/16/64 or 1/1/4,1/64/64")
        return self

    @property
    def sizes(self) -> list[Sizes]:
        """Batch sizes of each optimisation profile."""
        ranges = ([int(size) for size in each.split("/")] for each in self.batch.split(","))
        return [(smallest, best, largest) for smallest, best, largest in ranges]


def load_settings(path: Path | None, options: dict[str, Any]) -> BuildSettings:
    """Settings of a file, with options (camelCase) in their place where given.

    Raises ConfigError for the file, and pydantic's ValidationError for what comes of both.
    """
    written = _read(path) if path else {}
    return BuildSettings.model_validate({**written, **options})


def _read(path: Path) -> dict[str, Any]:
    source, problems = read(path)
    documents, wrong = parse(source) if source else ([], [])
    require([*problems, *wrong])
    found, wrong = validated(documents[0], _Written)
    require(wrong)
    if found is None:
        raise ConfigError([])
    values = found.model_dump(by_alias=True, exclude_unset=True)
    return {key: str(path.parent / value) if key in _PATHS else value for key, value in values.items()}


class _Written(BuildSettings):
    """The file alone: what it lacks may come from the command line."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        return self
