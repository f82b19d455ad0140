"""A hosted model: admits requests, forms batches, runs them on the variant that the control word names.

Algorithm. The first request of an idle model schedules a drain for the end of the loop's turn, so what arrived
together runs together and an idle model waits for nothing. Where requests come one at a time, it runs at once
(`solitude`). A batch of microseconds runs on the loop itself,
since the way to a thread and back costs more than that; a longer one runs in its engine's threads, where several
can be in flight (`Lane`). An engine that takes several batches has a device behind it, which can hang: it never
runs on the loop.

Locking: none. All of it runs on the event loop; only the engine's calls are elsewhere.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from math import inf

from sloctl.admission.breaker import NO_TOKEN, Command
from sloctl.admission.gate import Reason, Refusal, Ticket
from sloctl.admission.tenants import NOBODY, Tenant
from sloctl.admission.tiers import Unmet, Wish
from sloctl.board import Board, BreakerCommand, ControlWord, Fault
from sloctl.config.daemon import ModelConfig
from sloctl.engines.base import TensorSpec
from sloctl.serving.completion import Completion
from sloctl.serving.decode import ModelInputs
from sloctl.serving.entrance import Entrance
from sloctl.serving.errors import RequestError, draining, invalid, unavailable
from sloctl.serving.guard import Guard
from sloctl.serving.lane import LEAD, Job, Lane
from sloctl.serving.patience import Patience
from sloctl.serving.pending import Pending
from sloctl.serving.queues import Line, Queues
from sloctl.serving.rotation import Rotation
from sloctl.serving.routing import Routing
from sloctl.serving.sizes import Sizes
from sloctl.serving.solitude import Solitude
from sloctl.serving.statistics import ModelCells
from sloctl.serving.variant import Variant
from sloctl.serving.worker import BatchResult, EngineThread, execute, execute_soon

_INLINE = 200e-6  # seconds of a batch that the loop can spare
_SOON = 400e-6  # seconds of one that it waits for while nothing else is in hand, at most twice as long
_HUNG_AFTER = 10.0  # times its prediction, and a batch counts as hung (but never before the health timeout)
_HANGS = "the engine hangs: a run on it has not come back"
_REFUSING = 2  # ticks after a refusal
_STANDING = (BreakerCommand.FORCE_OPEN, BreakerCommand.DISABLE, BreakerCommand.METRICS_ONLY)
_MESSAGES = {
    "breaker_open": "the breaker is open, after engine failures or by order",
    "shed": "requests of this priority are being shed",
    "overloaded": "too many requests wait already",
    "deadline": "it cannot be answered before its deadline",
}


class ModelService:
    """One model. Every admitted request ends in exactly one call of `leave`."""

    def __init__(
        self,
        config: ModelConfig,
        board: Board,
        loop: asyncio.AbstractEventLoop,
        hang_after: float,
        fault_injection: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._classes = board.topology.priorities
        classes = len(self._classes)
        self.config = config
        self.name = config.name
        self.cells = ModelCells(board, config.name)
        self.fault_injection = fault_injection
        self.variants = [
            Variant(board, config.name, name, EngineThread(f"{config.name}/{name}", loop), config.breaker)
            for name in config.names
        ]
        for variant in self.variants:
            variant.device = config.pins.get(variant.name, "")
        self.inputs = ModelInputs({}, (), config.max_batch, free=False)
        self.inflight = 0
        self.inline_below = _INLINE
        self.soon_below = _SOON
        self.refusing = 0  # ticks for which more refusals are to be expected
        self.last_request = -inf  # in the clock of `now`
        self._loop = loop
        self._clock = clock
        self._hang_after = hang_after
        self._control = board.control(config.name)
        self._word = ControlWord()
        reserved = [config.admission.reserved.get(name, 0.0) for name in self._classes]
        self._queues = Queues(classes, config.max_batch, fair=bool(board.topology.tenants), reserved=reserved)
        self._lane = Lane(self._freed, clock)
        self._solitude = Solitude()
        self._handle: asyncio.Handle | None = None
        self._later = False  # whether it waits for a time
        self._planned = 0.0  # until when
        self._rotation = Rotation(self.variants, self._switched)
        self._routing = Routing(self._rotation, self.cells.tiers, clock)
        self._patience = Patience(config, self._queues, self._lane, self._routing.route, clock)
        self._guard = Guard(config.breaker, board, config.name, self._rotation)
        self._entrance = Entrance(config, classes, self._guard.breaker)
        self.completion = Completion(
            self.cells, self._guard, self._entrance, self._lane, self._solitude, self._besides, hang_after, clock
        )
        self._sequence = self._first_sequence()
        self._apply(self._control.read())

    @property
    def serving(self) -> Variant | None:
        """The variant that serves; None where none came up."""
        return self._rotation.serving

    def require(self) -> Variant:
        """The serving variant. Raises RequestError (503) where none came up."""
        serving = self._rotation.serving
        if serving is None:
            raise unavailable("no_variant", f"no variant of model {self.name!r} could be loaded", 5.0)
        return serving

    # Admission

    def admit(
        self,
        now: float,
        priority: int,
        deadline: float,
        started: float,
        tenant: Tenant = NOBODY,
        wish: Wish | None = None,
    ) -> Ticket:
        """Lets a request in, which counts as in flight from now on. Raises RequestError.

        `deadline` is the client's, `started` when the request was seen, `wish` what precision it asks for.
        """
        variant, wait, full = self._prospects(now, priority, tenant, wish)
        alone = full and not self._queues.yields(priority, tenant)  # nobody whose place it could take
        apart = not self._guard.breaker.steady and self._guard.apart(variant, wish)
        ticket = self._entrance.admit(now, priority, deadline, started, variant, wait, full=alone, apart=apart)
        if isinstance(ticket, Refusal):
            raise self._refused(ticket)
        ticket.displaces = full
        self.inflight += 1
        return ticket

    def refusal(
        self, now: float, priority: int, deadline: float, tenant: Tenant = NOBODY, wish: Wish | None = None
    ) -> RequestError | None:
        """Why a request that came just now is refused; None, and nothing is done, where only `admit` can tell.

        Raises RequestError as `admit` does for what is not a matter of load.
        """
        variant, wait, full = self._prospects(now, priority, tenant, wish)
        alone = full and not self._queues.yields(priority, tenant)
        apart = not self._guard.breaker.steady and self._guard.apart(variant, wish)
        refusal = self._entrance.refusal(now, priority, deadline, variant, wait, full=alone, apart=apart)
        return None if refusal is None else self._refused(refusal)

    def _prospects(self, now: float, priority: int, tenant: Tenant, wish: Wish | None) -> tuple[Variant, float, bool]:
        """The variant of a request, the seconds after which its batch would be done, and whether there is no room."""
        word = self._control.read()
        if word is not self._word:
            self._apply(word)
        self.require()
        queues = self._queues
        own = self._routing.route(priority)
        variant = own if wish is None else self._variant_for(priority, wish)
        self.last_request = now
        queued = queues.length
        # Lower classes do not count: they run later, and a queue full of them must not shut the higher ones out.
        ahead = queues.work(priority, variant, tenant, own) if queued else 0.0
        wait = self._lane.busy(variant) + ahead + variant.sizes.predict(1)
        mine = self.inflight - queues.elsewhere(variant)
        return variant, wait, self._entrance.full(variant, self.inflight, mine, queued)

    def _refused(self, refusal: Refusal) -> RequestError:
        if refusal.reason is Reason.BREAKER:
            self._guard.breaker.calls.not_permitted += 1
        self.expect_refusals()
        reason = refusal.outcome
        return RequestError(503, _MESSAGES[reason], outcome=reason, reason=reason, retry_after=refusal.retry_after)

    def expect_refusals(self) -> None:
        """A request was refused: the next ones may be, too."""
        self.refusing = _REFUSING

    def _variant_for(self, priority: int, wish: Wish) -> Variant:
        """The variant that is to serve a request with a wish. Raises RequestError."""
        allowed = self.config.client_precision
        if not allowed or (allowed is not True and self._classes[priority] not in allowed):
            raise RequestError(403, f"model {self.name!r} does not let these requests choose their precision")
        found = self._routing.find(priority, wish)
        if isinstance(found, Unmet):
            raise _unmet(found)
        return found

    def _evict(self, pending: Pending) -> None:
        """Gives up a request of a lower class, or of a tenant with more waiting, for this one."""
        victim = self._queues.evict(pending.priority, pending.tenant)
        if victim is not None:
            self._guard.breaker.release(victim.token)
            victim.reject(_dropped("overloaded", "a request of a higher class or another tenant took its place"))

    def _besides(self, variant: Variant) -> int:
        """Requests in flight but for those that wait for other variants."""
        return self.inflight - self._queues.elsewhere(variant)

    def leave(self) -> None:
        """A request that was admitted has been answered or given up."""
        self.inflight -= 1

    def release(self, token: int) -> None:
        """An admitted request that shall not run after all; tells nothing about the engine."""
        self._guard.breaker.release(token)

    def enqueue(self, pending: Pending) -> None:
        """Puts an admitted request in the queue; its future gets the result."""
        variant = self._routing.find(pending.priority, pending.wish)
        if isinstance(variant, Unmet):
            self._lose_variant(pending, variant)
            return
        if pending.displaces:
            self._evict(pending)
        pending.basis = variant
        if self._solitude.likely and self._starts_at_once(variant):
            self._start_alone(pending, variant)
            return
        line = self._queues.line(variant)
        line.add(pending)
        if self._handle is None:
            self._schedule()
        elif self._later and self._patience.ends(line, pending, self._planned):
            self._reschedule()

    # Running

    def _starts_at_once(self, variant: Variant) -> bool:
        """Whether nothing waits or runs, and nothing is to be decided but what the last batch has shown to be right."""
        return (
            not self._queues.length
            and not self._lane.jobs
            and not self.config.batch_wait
            and variant is self._rotation.serving
            and self._rotation.settled
            and self._guard.breaker.steady
        )

    def _start_alone(self, pending: Pending, variant: Variant) -> None:
        now = self._clock()
        # The entrance has looked at one row, as it does not know of more.
        if pending.rows > 1 and pending.deadline <= now + variant.sizes.predict(pending.rows):
            self._expire(pending, variant)
            return
        self.cells.queue[pending.priority].observe(now - pending.enqueued)
        pending.variant_token = variant.breaker.generation
        self._run([pending], variant, now)

    def _schedule(self) -> None:
        """Plans the next drain, unless it is planned or nothing could start."""
        if self._handle is not None or not self._queues.length:
            return
        wait = 0.0 if self._idle else min(map(self._patience.until_next, self._queues.by_device()))
        if wait == inf:
            return  # until something comes or a call comes back
        self._later = wait > 0
        self._planned = self._clock() + wait if self._later else 0.0
        plan = partial(self._loop.call_later, wait) if self._later else self._loop.call_soon
        self._handle = plan(self._drain)

    @property
    def _idle(self) -> bool:
        """Whether whatever comes may start at once."""
        return not self._lane.jobs and not self.config.batch_wait

    def _reschedule(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._schedule()

    def _freed(self) -> None:
        """A call has come back or was given up."""
        if self._queues.length:
            self._reschedule()

    def _drain(self) -> None:
        """Starts the next batch on each device whose time has come, if an engine takes it."""
        self._handle = None
        word = self._control.read()
        if word is not self._word:
            self._apply(word)
        self._choose()
        idle = self._idle
        for lines in self._queues.by_device():
            if idle or self._patience.until_next(lines) <= LEAD:  # a tick of the timer
                self._turn(lines)
        self._reschedule()

    def _turn(self, lines: list[Line]) -> None:
        """Starts the next batch of those lines of a device whose engines take one."""
        ready = [line for line in lines if self._lane.takes(line.variant)]
        if ready:
            self._next_batch(self._queues.turn(ready, self._routing.route, self._patience.gathers))

    def _next_batch(self, line: Line) -> None:
        now, variant = self._clock(), line.variant
        self.cells.queue_length.set(self._queues.length)
        batch, expired = line.take(now, self._lane.busy(variant), variant.sizes)
        for pending in expired:
            self._expire(pending, variant)
        batch = [pending for pending in batch if not self._abandoned(pending) and not self._cut_off(pending)]
        if batch:
            self._start(batch, variant, now)

    def _start(self, batch: list[Pending], variant: Variant, now: float) -> None:
        queue = self.cells.queue
        for pending in batch:
            queue[pending.priority].observe(now - pending.enqueued)
        if variant is not self.serving:
            own, batch = self._rotation.beside(variant, batch, now)
            if own:
                self._run(own, variant, now)
            batch = [pending for pending in batch if self._falls_back(pending, variant)]
        if self.serving is not None and not self.serving.steady:
            batch = [pending for pending in batch if self._permitted(pending, now)]
        if not batch:
            return
        parts = self._rotation.split(batch, now, probing=self._guard.probing)
        if not parts:
            self.completion.fail(batch, None, now, 0.0, "engine_hangs", _HANGS)
        for each, part in parts:
            self._run(part, each, now)

    def _permitted(self, pending: Pending, now: float) -> bool:
        """Whether a request may run on a serving variant that is not steady; one let in apart may end here."""
        if pending.token == NO_TOKEN:
            found = self._entrance.gate.permit(now)
            if isinstance(found, Refusal):
                pending.reject(self._refused(found))
                return False
            pending.token = found
        return True

    def _falls_back(self, pending: Pending, variant: Variant) -> bool:
        """Whether the serving variant will do for a request whose own is kept out by its breaker; else it ends."""
        serving = self.serving
        if serving is not None and self._routing.meets(pending.wish, serving):
            return True
        self._lose_variant(pending, Unmet(f"variant {variant.name!r} is kept out by its breaker", final=False))
        return False

    def _run(self, batch: list[Pending], variant: Variant, now: float) -> None:
        if variant.loaded is None or not variant.up:
            self.completion.fail(batch, variant, now, 0.0, "engine_hangs", _HANGS)
            return
        rows = batch[0].rows if len(batch) == 1 else sum(pending.rows for pending in batch)
        inputs = [pending.inputs for pending in batch]
        seconds = variant.sizes.predict(rows)
        padding = variant.sizes.padded(rows) - rows
        check = not self.config.allow_nonfinite
        call: Callable[[], BatchResult] = partial(execute, variant.loaded.engine, inputs, rows, check, padding)
        if seconds < self.inline_below and variant.concurrency == 1 and not variant.switch.faults:
            self.completion.finish(batch, rows, variant, call())
            return
        if seconds < self.soon_below and variant.concurrency > 1 and len(batch) == 1 and self._alone(variant):
            # Alone on an idle device: the way to a thread and back would cost as much as a short run.
            found = execute_soon(variant.loaded.engine, inputs, rows, check, 2 * seconds, padding)
            if isinstance(found, BatchResult):
                self.completion.finish(batch, rows, variant, found)
                return
            call = found
        limit = max(self._hang_after, _HUNG_AFTER * seconds)
        self._lane.start(
            Job(variant, rows, seconds, limit, partial(self.completion.finish, batch, rows, variant)), call
        )

    def _alone(self, variant: Variant) -> bool:
        return not self._lane.jobs and not self._queues.length and not variant.switch.faults

    # Ends of requests that do not run

    def _expire(self, pending: Pending, variant: Variant) -> None:
        self._guard.breaker.release(pending.token)
        self._entrance.missed(variant, (pending,))
        if pending.promised <= pending.deadline:
            pending.reject(_dropped("deadline", _MESSAGES["deadline"]))
        else:
            pending.reject(_dropped("overloaded", "it waited in the queue for longer than the objective allows"))

    def _lose_variant(self, pending: Pending, why: Unmet) -> None:
        self._guard.breaker.release(pending.token)
        pending.reject(_unmet(why))

    def _abandoned(self, pending: Pending) -> bool:
        if not pending.abandoned:
            return False
        self._guard.breaker.release(pending.token)
        pending.reject(RequestError(499, "the client went away", outcome="cancelled"))
        return True

    def _cut_off(self, pending: Pending) -> bool:
        error = pending.still_there() if pending.lent else None
        if error is None:
            return False
        self._guard.breaker.release(pending.token)
        pending.reject(error)
        return True

    # Control

    def _first_sequence(self) -> int:
        # After a restart a standing order is carried out again, one of a moment is not.
        word = self._control.read()
        return word.breaker_sequence - 1 if word.breaker in _STANDING else word.breaker_sequence

    def _apply(self, word: ControlWord) -> None:
        self._word = word
        for index, variant in enumerate(self.variants):
            faulty = self.fault_injection and word.faulty >> index & 1
            variant.switch.faults = word.faults if faulty else Fault.NONE
        self._rotation.follow(word.variant, word.stand_ins)
        self._routing.follow(word.tiers)
        self._entrance.bound = word.limit
        self._entrance.gate.set_shares(word.admit)
        if word.breaker_sequence != self._sequence:
            self._sequence = word.breaker_sequence
            self._guard.command(Command[word.breaker.name], self._clock())
        self._choose()
        self._reschedule()  # what waits may have moved to a variant that is free

    def _choose(self) -> None:
        """Follows the control word and health to the variants that serve, and moves what waits to them."""
        self._rotation.choose()
        changed = self._routing.refresh()
        if changed or any(map(self._routing.stranded, self._queues.besides(self.serving))):
            for pending, why in self._queues.move(lambda each: self._routing.find(each.priority, each.wish)):
                self._lose_variant(pending, why)

    def _switched(self, before: Variant | None, serving: Variant) -> None:
        if before is not None:
            self.cells.variant_switches.inc()
        for other in self.variants:
            other.cells.serving.set(1.0 if other is serving else 0.0)

    def open(self) -> None:
        """All variants have been tried, or one has joined: serves the wanted one, or else one that may stand in."""
        self._rotation.complete = True
        self._choose()
        up = [variant for variant in self.variants if variant.up]
        if up:
            # An engine may take less than configured, as a model with a fixed batch does.
            largest = min(self.config.max_batch, *(v.loaded.engine.max_batch for v in up if v.loaded))
            self._queues.max_rows = largest
            for each in up:
                each.sizes = Sizes(
                    each.cost, largest, self.config.preferred_batch_sizes, self.config.allowed_batch_sizes
                )
            self.inputs = ModelInputs.of(up[0].inputs, up[0].outputs, largest, all(v.on_gpu for v in up))

    @property
    def specs(self) -> tuple[Sequence[TensorSpec], Sequence[TensorSpec]]:
        """Inputs and outputs as the serving variant has them."""
        serving = self.serving
        return (serving.inputs, serving.outputs) if serving else ((), ())

    @property
    def platform(self) -> str:
        """Triton's name for what runs the model."""
        return "tensorrt_plan" if self.serving is not None and self.serving.on_gpu else "onnxruntime_onnx"

    @property
    def trouble(self) -> str:
        """Why it is not ready, for people; empty if it is."""
        if self.serving is not None:
            return self.serving.health.trouble
        return "; ".join(f"{variant.name}: {variant.health.trouble}" for variant in self.variants)

    @property
    def ready(self) -> bool:
        """Whether the serving variant has all five levels."""
        return self.serving is not None and self.serving.ready

    @property
    def memory_taken(self) -> dict[str, int]:
        """Bytes on the device by loaded variant."""
        return {variant.name: variant.loaded.engine.memory_bytes for variant in self.variants if variant.loaded}

    def tick(self) -> None:
        """What has to happen without requests, ten times a second."""
        now = self._clock()
        word = self._control.read()
        if word is not self._word:
            self._apply(word)
        self._choose()
        self.refusing = max(self.refusing - 1, 0)
        self._lane.watch()
        for variant in self.variants:
            variant.cost.rest()
        for line in self._queues:
            for pending in line.expire(now + line.variant.sizes.predict(1)):
                self._expire(pending, line.variant)
        self._guard.tick(now)
        self.cells.queue_length.set(self._queues.length)
        self.cells.inflight.set(self.inflight)

    def probed(self, variant: Variant, *, passed: bool, within: float) -> None:
        """A health probe of a variant came back; its breaker wants to know if no request came `within` seconds."""
        variant.answers = passed
        now = self._clock()
        if now - self.last_request > within:
            self._guard.probed(variant, passed, now)

    def close(self) -> None:
        """Gives every waiting request up and lets idle engines go."""
        for pending in self._queues.clear():
            self._guard.breaker.release(pending.token)
            pending.reject(draining("the server stopped before the request ran"))
        for variant in self.variants:
            variant.thread.stop()


def _dropped(reason: str, message: str) -> RequestError:
    """For a request that was admitted and given up before it reached the engine."""
    return RequestError(503, message, outcome=reason, reason=reason, retry_after=1.0)


def _unmet(why: Unmet) -> RequestError:
    return invalid(why.message) if why.final else unavailable("no_variant", why.message)
