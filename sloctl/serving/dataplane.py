"""The V2 operations, free of any transport."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

import structlog

from sloctl import __version__
from sloctl.admission.classes import PriorityClasses
from sloctl.admission.gate import Ticket
from sloctl.admission.tenants import NOBODY, Tenant, Tenants
from sloctl.admission.tiers import Wish
from sloctl.board import Board, Phase
from sloctl.engines.base import Tensor, TensorSpec
from sloctl.serving.asked import Asked, Headers, wished
from sloctl.serving.buckets import Cuts, cut, fill
from sloctl.serving.decode import Envelope, Wanted, lenders, shared_memory_is_off, tensors, timeout, wanted
from sloctl.serving.errors import RequestError, draining, failed, unavailable
from sloctl.serving.model import ModelService
from sloctl.serving.parameters import Parameters, whole
from sloctl.serving.pending import Answer, Client, Pending
from sloctl.serving.registry import Regions
from sloctl.serving.statistics import model_statistics
from sloctl.serving.tracing import Trace
from sloctl.serving.variant import VERSION, Variant

log = structlog.get_logger("sloctl.serving")
_NOTHING = Asked()
_EXTENSIONS = ["binary_tensor_data", "model_configuration", "statistics"]
Response_co = TypeVar("Response_co", covariant=True)


class Call(Protocol[Response_co]):
    """A request in its transport: how it is read, and how it is answered. Both raise RequestError."""

    def read(self) -> tuple[Envelope, memoryview]:
        """The request, and its raw tensors."""

    def answer(self, variant: Variant, request_id: str, outputs: Mapping[str, Tensor], wants: Wanted) -> Response_co:
        """The response; `outputs` are this request's rows."""


class DataPlane:
    """All hosted models behind the operations that the protocol names. Methods raise RequestError.

    `regions` is None where shared memory is off, `headers` where none are read, `tenants` where nobody is told apart.
    """

    def __init__(
        self,
        board: Board,
        models: Mapping[str, ModelService],
        classes: PriorityClasses,
        regions: Regions | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        headers: Headers | None = None,
        tenants: Tenants | None = None,
    ) -> None:
        self.models = models
        self.headers = headers
        self.phase = Phase.STARTING
        self.ending = ""  # why this process is about to end, to be started anew
        self.clock = clock
        self._board = board
        self._classes = classes
        self._regions = regions
        self.tenants = tenants
        self._loop = asyncio.get_running_loop()

    def model(self, name: str, version: str | None = None) -> ModelService:
        """The service of a model; there is one version, `1`."""
        service = self.models.get(name)
        if service is None:
            raise RequestError(404, f"no model {name!r}; there is {', '.join(self.models)}")
        if version not in (None, VERSION):
            raise RequestError(404, f"model {name!r} has no version {version!r}; there is {VERSION}")
        return service

    # Inference

    async def infer(
        self,
        model: ModelService,
        call: Call[Response_co],
        started: float,
        client: Client | None = None,
        trace: Trace | None = None,
        asked: Asked = _NOTHING,
    ) -> Response_co:
        """The response. `started` is when the request was seen, `asked` what its transport says about it.

        Whatever happens, the request is counted under exactly one outcome.
        """
        priority = self._classes.default if asked.priority is None else asked.priority
        tenant, wish = NOBODY, asked.wish
        outcome = "error"
        try:
            self._open_for_requests()
            if self.tenants is not None:
                tenant = self.tenants.find(asked.tenant, self.clock())
                self._charge(model, self.tenants, tenant, asked.tenant)
            model.require()
            envelope, tail = call.read()
            if envelope.parameters:
                priority, wish = self._chosen(envelope.parameters, asked)
            wants = wanted(envelope, model.inputs, self._regions)
            now = self.clock()
            deadline = started + min(timeout(envelope.parameters, model.config.deadline), asked.within)
            ticket = model.admit(now, priority, deadline, started, tenant, wish)
            try:
                said = (priority, deadline, now, ticket, client, tenant, wish, trace)
                pending = self._pend(model, envelope, tail, *said)
                variant, outputs = await pending.future
                if pending.cuts:
                    outputs = cut(outputs, pending.cuts)
                response = call.answer(variant, envelope.id, outputs, wants)
            finally:
                model.leave()
            outcome = "ok"
            took = self.clock() - started
            variant.cells.request.observe(took)
            if tenant is not NOBODY:
                model.cells.tenants[tenant.label].request.observe(took)
            return response
        except RequestError as error:
            outcome = error.outcome
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        except Exception as error:
            log.exception("request failed", model=model.name)
            raise failed("internal", f"internal error: {type(error).__name__}") from error
        finally:
            model.cells.outcomes[priority][outcome].inc()
            if tenant is not NOBODY:
                model.cells.tenants[tenant.label].outcomes[outcome].inc()
            if trace is not None:
                trace.priority, trace.outcome = priority, outcome

    def _pend(
        self,
        model: ModelService,
        envelope: Envelope,
        tail: memoryview,
        priority: int,
        deadline: float,
        now: float,
        ticket: Ticket,
        client: Client | None,
        tenant: Tenant,
        wish: Wish | None,
        trace: Trace | None,
    ) -> Pending:
        """Parses the tensors of an admitted request and puts it in the queue."""
        try:
            inputs, rows = tensors(envelope, tail, model.inputs, self._regions)
            lent = lenders(envelope, self._regions)
            cuts: Cuts = ()
            if model.config.shape_buckets:
                inputs, cuts = fill(model.config.shape_buckets, inputs)
        except BaseException:
            model.release(ticket.token)
            raise
        signature = tuple([inputs[name].shape[1:] for name in model.inputs.inputs]) if model.inputs.free else None
        future: asyncio.Future[Answer] = self._loop.create_future()
        pending = Pending(inputs, rows, signature, priority, deadline, now, ticket, future, client, lent, tenant, wish)
        pending.cuts = cuts
        if trace is not None:
            trace.enqueued, pending.trace = now, trace
        model.enqueue(pending)
        if tenant is not NOBODY:
            model.cells.tenants[tenant.label].rows.inc(rows)
        return pending

    def _chosen(self, parameters: Parameters, asked: Asked) -> tuple[int, Wish | None]:
        """Class and precision of a request. Raises RequestError."""
        priority = asked.priority
        if priority is None:
            priority = self._classes.index(whole(parameters, "priority"))
        return priority, wished(parameters, asked.wish)

    def refuse(
        self, model: ModelService, asked: Asked, parameters: Callable[[], Parameters], now: float
    ) -> tuple[RequestError, int] | None:
        """The refusal of a request that came just now, counted, and its class; None, and nothing is done, if only
        `infer` can tell.

        It gives what `infer` would raise, before it has looked at tensors; `parameters` reads those of the request,
        if they are needed. Raises RequestError for what is not a matter of load, which `infer` then counts.
        """
        if self.ending or self.phase is not Phase.RUNNING:
            return None
        priority = self._classes.default if asked.priority is None else asked.priority
        tenant, refusal = NOBODY, None
        if self.tenants is not None:
            tenant = self.tenants.find(asked.tenant, now)
            if self.tenants.closed and tenant is self.tenants.others:
                return None
            refusal = _over_rate(model, tenant, asked.tenant, tenant.wait(now))
        if refusal is None:
            told = parameters()
            priority, wish = self._chosen(told, asked)
            deadline = now + min(timeout(told, model.config.deadline), asked.within)
            refusal = model.refusal(now, priority, deadline, tenant, wish)
            if refusal is None:
                return None
            if tenant is not NOBODY:
                tenant.spend(now)
        model.cells.outcomes[priority][refusal.outcome].inc()
        if tenant is not NOBODY:
            model.cells.tenants[tenant.label].outcomes[refusal.outcome].inc()
        return refusal, priority

    def _charge(self, model: ModelService, tenants: Tenants, tenant: Tenant, name: str) -> None:
        """Takes a request out of the tenant's rate; `name` is how it calls itself. Raises RequestError."""
        if tenants.closed and tenant is tenants.others:
            raise RequestError(403, f"tenant {name!r} is not one that may ask here", reason="unknown_tenant")
        refusal = _over_rate(model, tenant, name, tenant.spend(self.clock()))
        if refusal is not None:
            raise refusal

    def asked(self, found: Mapping[bytes, bytes]) -> Asked:
        """What headers ask for, of those that `headers` names. Raises RequestError."""
        return self.headers.read(found) if self.headers is not None else _NOTHING

    def _open_for_requests(self) -> None:
        if self.ending:
            raise unavailable("restarting", self.ending)
        if self.phase is Phase.RUNNING:
            return
        if self.phase is Phase.DRAINING:
            raise draining("the server is stopping")
        raise unavailable("starting", "the models are being loaded")

    def count(self, model: ModelService, outcome: str) -> None:
        """Counts a request that ended before its body was there."""
        model.cells.outcomes[self._classes.default][outcome].inc()

    @property
    def inflight(self) -> int:
        """Requests admitted and not yet answered, over all models."""
        return sum(model.inflight for model in self.models.values())

    # Health

    def check_live(self) -> None:
        """Raises RequestError (503) where only a new process helps, which is then on its way."""
        if self.ending:
            raise unavailable("restarting", self.ending)

    def check_ready(self, model: ModelService | None = None) -> None:
        """Raises RequestError (503) with what is in the way, unless the server (or that model) is ready."""
        self._open_for_requests()
        for service in (model,) if model else self.models.values():
            if not service.ready:
                raise unavailable("not_ready", f"model {service.name!r}: {service.trouble}")

    @property
    def regions(self) -> Regions:
        """Shared memory. Raises RequestError where it is off."""
        if self._regions is None:
            raise shared_memory_is_off()
        return self._regions

    # About the server and its models

    def server_metadata(self) -> dict[str, Any]:
        """Name, version and protocol extensions."""
        shared = ["system_shared_memory", "cuda_shared_memory"] if self._regions is not None else []
        return {"name": "sloctl", "version": __version__, "extensions": [*_EXTENSIONS, *shared]}

    def model_metadata(self, model: ModelService) -> dict[str, Any]:
        """Tensors of a model, the batch as -1."""
        self._need_loaded(model)
        return {
            "name": model.name,
            "versions": [VERSION],
            "platform": model.platform,
            "inputs": [_described(spec) for spec in model.specs[0]],
            "outputs": [_described(spec) for spec in model.specs[1]],
        }

    def model_config(self, model: ModelService) -> dict[str, Any]:
        """The model configuration extension's JSON, as far as it applies."""
        self._need_loaded(model)
        inputs, outputs = model.specs
        return {
            "name": model.name,
            "platform": model.platform,
            "backend": model.platform.partition("_")[0],
            "max_batch_size": model.config.max_batch,
            "input": [_configured(spec) for spec in inputs],
            "output": [_configured(spec) for spec in outputs],
            "dynamic_batching": {
                "preferred_batch_size": model.config.preferred_batch_sizes,
                "max_queue_delay_microseconds": round(model.config.batch_wait * 1e6),
            },
            "parameters": {
                "sloctl_variants": {"string_value": ",".join(model.config.names)},
                "sloctl_serving_variant": {"string_value": model.serving.name if model.serving else ""},
            },
        }

    def statistics(self, model: ModelService | None = None) -> dict[str, Any]:
        """The statistics extension, for one model or all."""
        snapshot, topology = self._board.snapshot(), self._board.topology
        return {
            "model_stats": [
                model_statistics(snapshot, topology.model(each.name), topology.priorities, each.completion.last_answer)
                for each in ((model,) if model else self.models.values())
            ]
        }

    def repository_index(self) -> list[dict[str, str]]:
        """Every configured model with its state."""
        found = []
        for model in self.models.values():
            ready = self.phase is Phase.RUNNING and model.ready
            row = {"name": model.name, "version": VERSION, "state": "READY" if ready else "UNAVAILABLE"}
            found.append(row if ready else {**row, "reason": model.trouble})
        return found

    def _need_loaded(self, model: ModelService) -> None:
        if model.serving is None:
            self._open_for_requests()
            model.require()


def _over_rate(model: ModelService, tenant: Tenant, name: str, wait: float) -> RequestError | None:
    """The refusal of a request that comes so many seconds too early; `name` is how its tenant calls itself."""
    if not wait:
        return None
    model.expect_refusals()
    message = f"tenant {name!r} is over its rate of {tenant.rate:g} requests a second"
    return RequestError(429, message, outcome="rate_limited", reason="rate_limited", retry_after=wait)


def _described(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def _configured(spec: TensorSpec) -> dict[str, Any]:
    kind = "STRING" if spec.datatype == "BYTES" else spec.datatype
    return {"name": spec.name, "data_type": f"TYPE_{kind}", "dims": list(spec.shape[1:])}
