"""The daemon's own configuration: `apiVersion: sloctl/v1, kind: Daemon`."""

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from sloctl.config.base import Bytes, Duration, FieldError, Model, format_duration
from sloctl.config.tenants import HeaderName, TenantsConfig
from sloctl.config.urls import Url, is_loopback, is_private

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
Port = Annotated[int, Field(ge=0, le=65535)]
Ratio = Annotated[float, Field(ge=0, le=1)]


class ServingConfig(Model):
    """The data plane's V2 endpoints, HTTP and gRPC. Port 0 lets the system choose."""

    host: str = "127.0.0.1"
    port: Port = 8000
    grpc: bool = True
    grpc_port: Port | None = None  # by default the port after that of HTTP
    max_body_bytes: Annotated[int, Field(gt=0)] = 64 * 1024 * 1024
    drain_timeout: Duration = 10.0
    shared_memory: bool | None = None  # who may register it reads and writes this user's; by default on a loopback host
    priority_header: HeaderName | None = "x-sloctl-priority"  # a class by its name, or V2's number; null: none
    timeout_header: HeaderName | None = "x-sloctl-timeout-ms"

    @property
    def rpc_port(self) -> int:
        """The port of gRPC."""
        if self.grpc_port is not None:
            return self.grpc_port
        return (self.port + 1) % 65536 if self.port else 0

    @property
    def shares_memory(self) -> bool:
        """Whether clients may register shared memory."""
        return is_loopback(self.host) if self.shared_memory is None else self.shared_memory


class WebhookConfig(Model):
    """What an Alertmanager's webhook may bring. `timeToLive` wants to be longer than its `repeat_interval`."""

    time_to_live: Annotated[Duration, Field(ge=1)] = 300.0  # of an alert that is not told of again
    max_alerts: Annotated[int, Field(gt=0, le=100_000)] = 1000  # that fire at a time


class ControlConfig(Model):
    """The control plane's endpoint and its ticks."""

    host: str = "127.0.0.1"
    port: Port = 8002
    tick: Annotated[Duration, Field(ge=0.05, le=5)] = 0.25
    token_file: str | None = None  # guards the API's writes; without it only loopback may bind
    retention: Annotated[Duration, Field(ge=86400)] = 400 * 86400.0  # of decisions, ended overrides and maintenance
    enabled: bool = True  # false: measure and export, but decide nothing
    webhook: WebhookConfig = WebhookConfig()


class HealthConfig(Model):
    """Health probes of the hosted variants."""

    interval: Annotated[Duration, Field(ge=0.5)] = 5.0  # within so long readiness falls
    timeout: Annotated[Duration, Field(gt=0)] = 2.0  # of a probe, and the least time of a batch before it hangs
    hang_limit: Annotated[Duration, Field(gt=0)] = 30.0  # of all variants of a model; then the data plane starts anew


class BreakerConfig(Model):
    """resilience4j's settings under its names, for the breaker of a model and for that of each of its variants.

    A call lasts as long as the run of its batch. `recloseRamp` is ours.
    """

    enabled: bool = True
    failure_rate_threshold: Annotated[float, Field(gt=0, le=100)] = 50.0
    slow_call_rate_threshold: Annotated[float, Field(gt=0, le=100)] = 100.0
    slow_call_duration_threshold: Annotated[Duration, Field(gt=0)] = 60.0
    sliding_window_type: Literal["COUNT_BASED", "TIME_BASED"] = "COUNT_BASED"
    sliding_window_size: Annotated[int, Field(gt=0, le=100_000)] = 100  # calls, or seconds
    minimum_number_of_calls: Annotated[int, Field(gt=0)] = 20
    wait_duration_in_open_state: Annotated[Duration, Field(gt=0)] = 5.0
    enable_exponential_backoff: bool = False
    exponential_backoff_multiplier: Annotated[float, Field(ge=1, le=100)] | None = None  # 1.5 where enabled
    exponential_max_wait_duration_in_open_state: Annotated[Duration, Field(gt=0)] | None = None
    enable_randomized_wait: bool = False
    randomized_wait_factor: Annotated[float, Field(ge=0, lt=1)] | None = None  # 0.5 where enabled: 50 to 150 %
    permitted_number_of_calls_in_half_open_state: Annotated[int, Field(gt=0, le=100_000)] = 10
    max_wait_duration_in_half_open_state: Annotated[Duration, Field(gt=0)] = 10.0
    automatic_transition_from_open_to_half_open_enabled: bool = False
    reclose_ramp: Annotated[Duration, Field(ge=0)] = 5.0  # from half-open to all calls; 0s: at once

    @model_validator(mode="after")
    def _effective(self) -> "BreakerConfig":
        backoff = (self.exponential_backoff_multiplier, self.exponential_max_wait_duration_in_open_state)
        if not self.enable_exponential_backoff and backoff != (None, None):
            raise ValueError(
                "exponentialBackoffMultiplier and exponentialMaxWaitDurationInOpenState do nothing "
                "without enableExponentialBackoff: true"
            )
        if not self.enable_randomized_wait and self.randomized_wait_factor is not None:
            raise ValueError("randomizedWaitFactor does nothing without enableRandomizedWait: true")
        longest = self.exponential_max_wait_duration_in_open_state
        if longest is not None and longest < self.wait_duration_in_open_state:
            raise ValueError(
                f"exponentialMaxWaitDurationInOpenState ({format_duration(longest)}) is shorter than "
                f"waitDurationInOpenState ({format_duration(self.wait_duration_in_open_state)}), the first wait"
            )
        return self


class AdmissionConfig(Model):
    """How long and how many requests of a model may wait.

    `target`: what would be answered later is refused at once, and what waits is dropped before the device once it is;
    `objective` is the threshold of the model's SLO over request times (the one that most requests have to keep).
    `limit`: of requests in flight, one a variant, in a form that finds itself, or a fixed number.
    `reserved`: shares of the batches that a priority class is sure of while higher ones wait.
    """

    target: Literal["objective", "off"] | Annotated[Duration, Field(gt=0)] = "objective"
    limit: Literal["gradient", "aimd", "off"] | Annotated[int, Field(gt=0)] = "gradient"
    reserved: dict[Name, Annotated[float, Field(ge=0, lt=1)]] = {}  # noqa: RUF012  # pydantic copies defaults

    @model_validator(mode="after")
    def _something_left(self) -> "AdmissionConfig":
        if sum(self.reserved.values()) >= 1:
            raise ValueError("reserved shares add up to all there is; expected a sum of less than 1")
        return self

    @property
    def seconds(self) -> float:
        """The resolved target, infinite where there is none."""
        return self.target if isinstance(self.target, float) else math.inf


class ProfileConfig(Model):
    """Sampling of layer times. An interval of 0s turns it off.

    A profile runs a copy of a real request, repeated or cut to `rows` rows (by default the largest batch), so that
    times can be compared. The interval is stretched so that profiles take no more than `share` of time.
    """

    interval: Annotated[Duration, Field(ge=0)] = 60.0
    share: Annotated[float, Field(gt=0, le=1)] = 0.005
    rows: Annotated[int, Field(gt=0)] | None = None
    top_layers: Annotated[int, Field(gt=0, le=512)] = 64  # the slowest have series of their own


class VariantConfig(Model):
    """A variant that has a device of its own, whatever device its data plane runs on."""

    name: Name
    device: str


class ShapeBuckets(Model):
    """Sizes to the next of which an input's axis is filled up with zeros; what is larger stays as it is.

    `outputs` are those that grow with it, by their axis, and are cut back to what the request had.
    """

    input: Annotated[str, Field(min_length=1)]
    axis: Annotated[int, Field(ge=1, le=15)]
    sizes: Annotated[list[Annotated[int, Field(gt=0)]], Field(min_length=1, max_length=64)]
    outputs: dict[str, Annotated[int, Field(ge=1, le=15)]] = Field(default={})

    @model_validator(mode="after")
    def _ascending(self) -> "ShapeBuckets":
        if self.sizes != sorted(set(self.sizes)):
            raise ValueError("sizes: expected each once, the smallest first")
        return self


BatchSizes = Annotated[list[Annotated[int, Field(gt=0)]], Field(max_length=64)]


class ModelConfig(Model):
    """A hosted model. `variants` are most accurate first; the first one serves at start."""

    name: Name
    variants: Annotated[list[Name | VariantConfig], Field(min_length=1)]
    threads: Annotated[int, Field(ge=0)] = 1  # of a CPU engine; 0: one a core
    contexts: Annotated[int, Field(ge=1, le=16)] = 1  # of a TensorRT engine, on each of its optimisation profiles
    max_batch: Annotated[int, Field(gt=0)] = 8
    batch_wait: Annotated[Duration, Field(ge=0, le=1)] = 0.0
    preferred_batch_sizes: BatchSizes = Field(default=[])  # that a batch may be cut to; by default the measured ones
    allowed_batch_sizes: BatchSizes = Field(default=[])  # to the next of which a batch is padded; by default any size
    shape_buckets: list[ShapeBuckets] = Field(default=[], max_length=64)  # by default only equal shapes share a batch
    deadline: Annotated[Duration, Field(gt=0)] = 10.0
    max_queue: Annotated[int, Field(gt=0)] = 512
    admission: AdmissionConfig = AdmissionConfig()
    allow_nonfinite: bool = False
    client_precision: bool | list[Name] = False  # whether requests may choose their variant, or of which classes
    memory_budget: Annotated[Bytes, Field(gt=0)] | None = None  # of the device, for all its variants together
    profile: ProfileConfig = ProfileConfig()
    breaker: BreakerConfig = BreakerConfig()

    @model_validator(mode="after")
    def _unique(self) -> "ModelConfig":
        if len(set(self.names)) != len(self.names):
            raise ValueError("a variant is named twice")
        return self

    @model_validator(mode="after")
    def _within(self) -> "ModelConfig":
        for name, sizes in (("preferred", self.preferred_batch_sizes), ("allowed", self.allowed_batch_sizes)):
            beyond = [size for size in sizes if size > self.max_batch]
            if beyond:
                said = f"{name}BatchSizes has {beyond[0]}; expected sizes up to maxBatch, {self.max_batch}"
                raise FieldError(said, f"{name}BatchSizes", sizes.index(beyond[0]))
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the variants, most accurate first."""
        return tuple(each if isinstance(each, str) else each.name for each in self.variants)

    @property
    def pins(self) -> dict[str, str]:
        """Devices of the variants that have one of their own."""
        return {each.name: each.device for each in self.variants if not isinstance(each, str)}


class PrometheusConfig(Model):
    """A Prometheus, or anything with its HTTP API, that SLOs over queries are asked of. Secrets are in files."""

    url: Url  # its base address; queries go to <url>/api/v1/query_range
    token_file: str | None = None
    user: str | None = None
    password_file: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    timeout: Annotated[Duration, Field(gt=0, le=60)] = 5.0
    interval: Annotated[Duration, Field(ge=5, le=3600, multiple_of=1)] = 60.0  # at least two of its scrapes
    staleness: Annotated[Duration, Field(gt=0)] = 300.0  # without new data an SLO has none
    insecure: bool = False  # plain HTTP to another machine

    @model_validator(mode="after")
    def _sensible(self) -> "PrometheusConfig":
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and passwordFile belong together")
        if self.token_file is not None and self.user is not None:
            raise ValueError("expected either tokenFile, or user with passwordFile")
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("keyFile without certFile")
        if self.staleness < 2 * self.interval:
            raise ValueError("staleness is shorter than two intervals; a single late answer would count as no data")
        if not (self.insecure or is_private(self.url)):
            raise ValueError("plain HTTP to another machine; expected https, or insecure: true on a safe network")
        return self

    @property
    def files(self) -> dict[str, str]:
        """The files that it names, by field."""
        named = {
            "tokenFile": self.token_file,
            "passwordFile": self.password_file,
            "caFile": self.ca_file,
            "certFile": self.cert_file,
            "keyFile": self.key_file,
        }
        return {field: path for field, path in named.items() if path is not None}


class GpuTelemetryConfig(Model):
    """GPU metrics: their names (base units, dcgm-exporter's, or both), and how many GPUs there should be."""

    names: Literal["base", "dcgm", "both"] = "base"
    expected: Annotated[int, Field(ge=0)] | None = None


class TraceConfig(Model):
    """Recording of what the policies see, for `sloctl simulate`: a row a second in `<path>/<model>.csv`."""

    path: Annotated[str, Field(min_length=1)]  # a folder
    max_bytes: Annotated[int, Field(ge=64 * 1024)] = 32 * 1024 * 1024  # of a file, before the next one begins
    keep: Annotated[int, Field(ge=0, le=100)] = 4  # older files besides


class TelemetryConfig(Model):
    """Where spans, metrics and traces go besides /metrics, and which GPU metrics there are."""

    otlp_endpoint: str | None = None
    otlp_interval: Annotated[Duration, Field(ge=1)] = 15.0
    trace_share: Ratio = 0.01  # of requests that bring no traceparent; needs an endpoint
    gpu: GpuTelemetryConfig = GpuTelemetryConfig()
    triton: bool = True  # /metrics also has what Triton's names say, nv_inference_…
    trace: TraceConfig | None = None


class AlertmanagerConfig(Model):
    """An Alertmanager that the daemon sends its alerts to."""

    url: Url  # its base address; alerts go to <url>/api/v2/alerts
    token_file: str | None = None  # a bearer token, read anew for each request
    ca_file: str | None = None  # certificates to trust in place of the system's
    timeout: Annotated[Duration, Field(gt=0, le=60)] = 5.0
    insecure: bool = False  # plain HTTP to another machine

    @model_validator(mode="after")
    def _safe(self) -> "AlertmanagerConfig":
        if not (self.insecure or is_private(self.url)):
            raise ValueError("plain HTTP to another machine; expected https, or insecure: true on a safe network")
        return self


class AlertsConfig(Model):
    """Where the daemon's own alerts go without a Prometheus, and what they point to."""

    alertmanagers: list[AlertmanagerConfig] = Field(default=[], max_length=16)
    resend_interval: Annotated[Duration, Field(ge=1, le=3600)] = 60.0  # Prometheus' --rules.alert.resend-delay
    external_url: Url | None = None  # of the control plane, as people reach it; by default where it listens
    runbook_url: Annotated[str, Field(min_length=1)] = "docs/runbooks"  # the folder of the alerts' pages

    @model_validator(mode="after")
    def _once(self) -> "AlertsConfig":
        urls = [each.url for each in self.alertmanagers]
        if len(set(urls)) != len(urls):
            raise ValueError("an Alertmanager is there twice")
        return self


class DaemonConfig(Model):
    """The whole file. Relative paths are relative to it."""

    api_version: Literal["sloctl/v1"]
    kind: Literal["Daemon"]
    serving: ServingConfig = ServingConfig()
    control: ControlConfig = ControlConfig()
    health: HealthConfig = HealthConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    alerts: AlertsConfig = AlertsConfig()
    repository: str = "repository"
    state_dir: str = "state"
    device: str = "cpu"  # or cuda:N, or a GPU's or MIG device's UUID
    devices: list[str] = Field(default=[], max_length=64)  # in place of device: a data plane on each
    priorities: list[Name] = Field(default=["high", "normal", "low"], min_length=1, max_length=8)
    default_priority: Name = "normal"
    tenants: TenantsConfig | None = None  # none: requests are not told apart by who sends them
    slos: list[str] = Field(default=[])  # files or globs
    policies: list[str] = Field(default=[])
    prometheus: Annotated[dict[Name, PrometheusConfig], Field(max_length=16)] = Field(default_factory=dict)
    windows: str | None = None  # an alerting-window file in place of the SRE workbook's
    # Loads each model in a throw-away process first. auto: TensorRT plans, once on each runtime, device and driver;
    # always: every model, at every load.
    preflight: Literal["auto", "always", "never"] = "auto"
    fault_injection: bool = False  # lets the API inject engine faults; for tests and the demo
    models: Annotated[list[ModelConfig], Field(min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> "DaemonConfig":
        names = [model.name for model in self.models]
        if len(set(names)) != len(names):
            raise ValueError("a model is named twice")
        if self.default_priority not in self.priorities:
            said = f"defaultPriority {self.default_priority!r} is not among priorities"
            raise FieldError(said, "defaultPriority")
        for at, model in enumerate(self.models):
            for number, name in enumerate(model.client_precision if isinstance(model.client_precision, list) else ()):
                if name not in self.priorities:
                    said = f"clientPrecision of {model.name!r}: {name!r} is not among priorities"
                    raise FieldError(said, "models", at, "clientPrecision", number)
            for name in model.admission.reserved:
                if name not in self.priorities:
                    said = f"model {model.name!r} reserves a share for {name!r}, which is not among priorities"
                    raise FieldError(said, "models", at, "admission", "reserved", name)
        headers = [self.serving.priority_header, self.serving.timeout_header, self.tenants and self.tenants.header]
        given = [header for header in headers if header]
        if len(set(given)) != len(given):
            raise ValueError("a header is there for two things; expected one each for priority, timeout and tenant")
        return self

    @property
    def hosts(self) -> tuple[str, ...]:
        """The device of each data plane."""
        return tuple(self.devices) or (self.device,)

    @property
    def pins(self) -> dict[tuple[str, str], str]:
        """Devices of the variants that have one of their own, by names of model and variant."""
        return {(model.name, variant): device for model in self.models for variant, device in model.pins.items()}
