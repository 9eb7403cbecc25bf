from pipeline.media.blocks import Block, blocks

SEGMENT, CLUSTER, GROUP = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75", b"\xa0"
CLUSTER_TIME, BLOCK, DURATION, VOID = b"\xe7", b"\xa1", b"\x9b", b"\xec"
TO_THE_END = b"\x01" + b"\xff" * 7


def element(name: bytes, data: bytes, size: bytes | None = None) -> bytes:
    return name + (size or (0x4000 | len(data)).to_bytes(2)) + data


def group(track: int, time: int, text: bytes, duration: int | None = 500) -> bytes:
    block = element(BLOCK, bytes((0x80 | track,)) + time.to_bytes(2, signed=True) + b"\x00" + text)
    return element(GROUP, block + (b"" if duration is None else element(DURATION, duration.to_bytes(2))))


def test_times_of_blocks_count_from_their_cluster_also_backwards() -> None:
    cluster = element(CLUSTER, element(CLUSTER_TIME, (70_000).to_bytes(3)) + group(1, 250, b"a") + group(2, -50, b"b"))
    assert list(blocks(element(SEGMENT, cluster))) == [Block(1, 70_250, 500, b"a"), Block(2, 69_950, 500, b"b")]


def test_what_has_no_size_goes_to_the_end() -> None:
    clusters = [element(CLUSTER, element(CLUSTER_TIME, time) + group(1, 0, b"x")) for time in (b"\x00", b"\x09")]
    found = blocks(element(VOID, b"any") + element(SEGMENT, element(VOID, b"") + b"".join(clusters), TO_THE_END))
    assert [(block.start, block.data) for block in found] == [(0, b"x"), (9, b"x")]


def test_a_block_without_a_duration_has_none_and_one_without_a_header_is_no_block() -> None:
    cluster = group(1, 0, b"x", None) + element(GROUP, element(BLOCK, b"\x81\x00"))
    assert list(blocks(element(SEGMENT, element(CLUSTER, cluster)))) == [Block(1, 0, 0, b"x")]
