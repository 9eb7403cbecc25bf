"""A loaded model at work: requests in, replies out. Each size of the model has a batch of its own."""

import time
from collections.abc import Mapping
from collections.abc import Sequence as Items
from dataclasses import replace

import torch

from pipeline.engines import Outcome, Reply, Request, untimed
from pipeline.engines.gemma3n.continuous import ContinuousDecoder
from pipeline.engines.gemma3n.inputs import Inputs
from pipeline.engines.gemma3n.loading import Loaded, device_bytes
from pipeline.engines.gemma3n.sequences import Finished, Sequence
from pipeline.engines.gemma3n.shape import MAX_COMPILED_VIEWS, Shape
from pipeline.engines.gemma3n.sizes import AUTO, Sizes
from pipeline.engines.gemma3n.static import StaticDecoder
from pipeline.engines.gemma3n.variants import WHOLE
from pipeline.errors import PipelineError
from pipeline.settings import Engine as EngineSettings
from pipeline.variant_choice import AutoVariant, Rates

GIB = 1024**3


class Run:
    """What both ways to batch share."""

    def __init__(self, loaded: Loaded, settings: EngineSettings) -> None:
        self.model = loaded.model
        self.sizes = Sizes(loaded, settings.sizes)
        context: int = loaded.model.config.get_text_config().max_position_embeddings
        self.max_length = min(settings.context_tokens, context)
        self._inputs = Inputs(loaded.processor, stop=stop_ids(loaded), max_length=self.max_length)

    def prepare(self, request: Request) -> Request:
        """The request with its sequence and its cost in tokens. Raises PermanentError when it cannot be answered."""
        if request.variant is not None:
            self.sizes.check(request.variant)
        sequence = self._inputs.sequence(request)
        return replace(request, inputs=sequence, cost=float(sequence.num_prompt_tokens + sequence.max_tokens))

    def outcome(self, ended: Finished | PipelineError, size: str) -> Outcome:
        if isinstance(ended, PipelineError):
            return ended
        text = self._inputs.text(ended.tokens)
        # Whoever writes to the end of the paper was stopped, most often in a loop.
        flags = ("cut_short",) if ended.why == "length" else ()
        return Reply(spans=untimed(text), flags=flags, variant=size)

    def memory(self) -> str:
        """What the weights take, for a person."""
        return f"{device_bytes(self.model) / GIB:.2f} GiB of weights"


class ContinuousRun(Run):
    """Requests join and leave. At most `slots` are in, whatever their sizes."""

    def __init__(self, loaded: Loaded, settings: EngineSettings, slots: int) -> None:
        super().__init__(loaded, settings)
        self._shape = shape(self.max_length, slots, on_gpu=loaded.model.device.type == "cuda")
        self._decoders: dict[str, ContinuousDecoder] = {}
        self._sizes_of: dict[str, str] = {}  # by request id
        self._costs: dict[str, float] = {}
        self._auto = AutoVariant(sizes=self.sizes.steps, promise=settings.promised_seconds)
        self._rates = Rates()
        self._current = self.sizes.steps[0]

    @property
    def free_slots(self) -> int:
        return self._shape.slots - len(self._sizes_of)

    @property
    def decoders(self) -> Mapping[str, ContinuousDecoder]:
        """The batch of each size that was asked for."""
        return self._decoders

    def admit(self, requests: Items[Request]) -> None:
        for request in requests:
            size = self._current if request.variant == AUTO else request.variant or WHOLE
            self._sizes_of[request.id] = size
            self._costs[request.id] = request.cost
            sequence: Sequence = request.inputs
            self._decoder(size).admit([sequence])

    def look_ahead(self, requests: Items[Request], elsewhere: int) -> None:
        """Encode what comes next along with what is in, and choose the size for `auto` by all that waits."""
        by_size: dict[str, list[Sequence]] = {}
        for request in requests:
            by_size.setdefault(request.variant or WHOLE, []).append(request.inputs)
        by_size[self._current] = [*by_size.pop(AUTO, []), *by_size.get(self._current, [])]
        for size, sequences in by_size.items():
            if size in self._decoders:
                self._decoders[size].look_ahead(sequences)
        costs = [*self._costs.values(), *(request.cost for request in requests)]
        if costs:
            backlog = sum(costs) + elsewhere * sum(costs) / len(costs)
            self._current = self._auto.choose(self._current, backlog=backlog, rates=self._rates.measured())

    def step(self) -> Mapping[str, Outcome]:
        outcomes: dict[str, Outcome] = {}
        for size, decoder in self._decoders.items():
            if not decoder.running:
                continue
            began = time.monotonic()
            ended = decoder.step()
            cost = 0.0
            for name, one in ended.items():
                outcomes[name] = self.outcome(one, size)
                cost += self._costs.pop(name)
                del self._sizes_of[name]
            self._rates.observe(size, cost, time.monotonic() - began)
        return outcomes

    def _decoder(self, size: str) -> ContinuousDecoder:
        if size not in self._decoders:
            self._decoders[size] = ContinuousDecoder(self.sizes.model(size), self._shape)
        return self._decoders[size]


class StaticRun(Run):
    """Whole batches, each waiting for its longest answer: the plain way, and the reference."""

    def generate(self, requests: Items[Request]) -> list[Outcome]:
        """See `StaticEngine.generate`. A batch of several sizes goes through the model in parts."""
        outcomes: dict[str, Outcome] = {}
        by_size: dict[str, list[Request]] = {}
        for request in requests:
            size = WHOLE if request.variant in (None, AUTO) else str(request.variant)
            by_size.setdefault(size, []).append(request)
        for size, part in by_size.items():
            ended = StaticDecoder(self.sizes.model(size)).generate([request.inputs for request in part])
            outcomes |= {request.id: self.outcome(one, size) for request, one in zip(part, ended, strict=True)}
        return [outcomes[request.id] for request in requests]


def stop_ids(loaded: Loaded) -> frozenset[int]:
    """The tokens that end an answer, by the checkpoint's own generation config."""
    config = loaded.model.generation_config
    stop = config.eos_token_id if config is not None else None
    if stop is None:
        stop = loaded.processor.tokenizer.eos_token_id
    return frozenset(stop if isinstance(stop, list) else [stop])


def shape(max_length: int, slots: int, *, on_gpu: bool) -> Shape:
    """How a decoder is laid out for a device."""
    if not on_gpu:
        return Shape(slots=slots, max_length=max_length, view=256, ahead=slots)
    view = -(-max_length // MAX_COMPILED_VIEWS)
    return Shape(
        slots=slots,
        max_length=max_length,
        prefill_tokens=8192,
        chunk=4096,
        prefill_rows=16,
        view=view,
        ahead=16,
        compile="graph",
    )


def cuda_memory() -> str:
    """The GPU's own word on its memory."""
    free, total = torch.cuda.mem_get_info()
    return f"{free / GIB:.1f} of {total / GIB:.1f} GiB free on {torch.cuda.get_device_name()}"
