import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PermanentError
from pipeline.job import Plan, Segment
from pipeline.payload import Frame, Parcel, Payload, pack, unpack
from tests.doubles import FakeSource, a_job

PAYLOADS = st.builds(
    Payload,
    kind=st.sampled_from(("sound", "frames", "scene", "picture", "text", "fold")),
    pcm=st.binary(max_size=50),
    frames=st.lists(st.builds(Frame, st.floats(0, 1e5).map(lambda time: round(time, 6)), st.binary(max_size=50))).map(
        tuple
    ),
    text=st.text(max_size=50),
    covers=st.floats(0, 1e6),
)


@given(PAYLOADS)
def test_what_is_packed_comes_out_again(payload: Payload) -> None:
    assert unpack(pack(Parcel((payload,), a_job()))) == Parcel((payload,), a_job())


def test_a_job_of_one_segment_brings_its_windows_and_its_plan() -> None:
    windows = FakeSource((1,)).prepare(a_job())
    plan = Plan(window=0, start=0.0, end=1.0, segments=(Segment(window=0, index=0, start=0.0, end=1.0),))
    parcel = Parcel((Payload(kind="sound", pcm=b"abcd"),), a_job(), windows, plan)
    assert unpack(pack(parcel)) == parcel


def test_equal_payloads_give_equal_bytes() -> None:
    payload = Payload(kind="picture", frames=(Frame(0.0, b"jpeg"),), covers=1.0)
    one, other = (Parcel((payload,), a_job()) for _ in range(2))
    assert pack(one) == pack(other)


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-1], lambda data: data + b"x", lambda data: data[5:], lambda data: b"", lambda data: b"\n"],
)
def test_a_damaged_object_is_refused(damage: object) -> None:
    data = pack(Parcel((Payload(kind="sound", pcm=b"abcd"),), a_job()))
    with pytest.raises(PermanentError, match="damaged"):
        unpack(damage(data))  # type: ignore[operator]
