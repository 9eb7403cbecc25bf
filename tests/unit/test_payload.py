import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PermanentError
from pipeline.payload import Frame, Payload, pack, unpack

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
    assert unpack(pack(payload)) == payload


def test_equal_payloads_give_equal_bytes() -> None:
    one, other = (Payload(kind="picture", frames=(Frame(0.0, b"jpeg"),), covers=1.0) for _ in range(2))
    assert pack(one) == pack(other)


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-1], lambda data: data + b"x", lambda data: data[5:], lambda data: b"", lambda data: b"\n"],
)
def test_a_damaged_object_is_refused(damage: object) -> None:
    data = pack(Payload(kind="sound", pcm=b"abcd"))
    with pytest.raises(PermanentError, match="damaged"):
        unpack(damage(data))  # type: ignore[operator]
