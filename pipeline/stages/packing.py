"""The media of a window's segments on its way: neighbours together, in one object, up to a size."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline import keys
from pipeline.job import Job, Segment, Work
from pipeline.payload import PARCEL_BYTES, PARCEL_SEGMENTS, Parcel, Payload, Piece, pack
from pipeline.stages import Ports
from pipeline.stages.completion import Numbers


@dataclass(frozen=True, slots=True)
class Packed:
    """The segments of a window, stored in parcels of these lengths."""

    segments: tuple[Segment, ...]
    lengths: tuple[int, ...]
    covers: float  #: see `Payload`
    only: Payload | None = None  #: the payload of its one segment, which is then not stored


def pack_all(job: Job, window: int, pieces: Iterable[Piece], ports: Ports, *, keep_only: bool = False) -> Packed:
    """Store the pieces of a window as they come; `keep_only`: not if it is one."""
    segments: list[Segment] = []
    lengths: list[int] = []
    held: list[Payload] = []
    covers = 0.0
    for piece in pieces:
        if held and not _fits(held, piece.payload):
            lengths.append(_store_next(job, window, sum(lengths), held, ports))
            held = []
        held.append(piece.payload)
        covers += piece.payload.covers
        segments.append(_segment(window, len(segments), piece))
    if keep_only and len(segments) == 1:
        return Packed(tuple(segments), (1,), covers, held[0])
    if held:
        lengths.append(_store_next(job, window, sum(lengths), held, ports))
    return Packed(tuple(segments), tuple(lengths), covers)


def store_again(works: Iterable[Work], payloads: Iterable[Payload], job: Job, ports: Ports) -> None:
    """Store the payloads of some segments and parcels, out of all those of their window."""
    work_of = {one.index: work for work in works for one in work.each}
    held: list[Payload] = []
    for index, payload in enumerate(payloads):
        work = work_of.get(index)
        if work is None:
            continue
        held.append(payload)
        if index == (work.index if work.last is None else work.last):
            store_parcel(job, work.numbers, held, ports)
            held = []


def store_parcel(job: Job, numbers: Numbers, payloads: Sequence[Payload], ports: Ports) -> None:
    """Store the payloads of one segment or parcel."""
    data = pack(Parcel(tuple(payloads), job))
    ports.store.create(keys.segments(job.id, *numbers), data, "application/octet-stream")


def _store_next(job: Job, window: int, first: int, payloads: Sequence[Payload], ports: Ports) -> int:
    last = first + len(payloads) - 1
    store_parcel(job, (window, first) if first == last else (window, first, last), payloads, ports)
    return len(payloads)


def _fits(held: Sequence[Payload], payload: Payload) -> bool:
    return len(held) < PARCEL_SEGMENTS and sum(one.size for one in held) + payload.size <= PARCEL_BYTES


def _segment(window: int, index: int, piece: Piece) -> Segment:
    return Segment(
        window=window, index=index, kind=piece.payload.kind, start=piece.start, end=piece.end, channel=piece.channel
    )
