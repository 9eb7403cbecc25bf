"""The worker's room, on Celery's own counter of what a channel may hold."""

from types import SimpleNamespace

from kombu.common import QoS

from workers.room import Room


def counted(room: Room, told: list[int]) -> QoS:
    def tell(prefetch_count: int) -> None:
        told.append(prefetch_count)

    qos = QoS(tell, 48)
    qos.update()
    room.serve(SimpleNamespace(qos=qos))
    return qos


def test_a_parcel_takes_the_room_of_its_segments() -> None:
    told: list[int] = []
    room = Room(48)
    qos = counted(room, told)
    with room.taken(16), room.taken(1), room.taken(8):
        qos.update()
        assert told[-1] == 48 - 15 - 7
        with room.taken(40):
            qos.update()
            assert told[-1] == 1, "none would mean no limit at all"
        qos.update()
        assert told[-1] == 48 - 15 - 7, "what did not fit is not given back twice"
    qos.update()
    assert told[-1] == 48


def test_a_consumer_that_is_connecting_has_no_counter_yet() -> None:
    room = Room(4)
    room.serve(SimpleNamespace(qos=None))
    with room.taken(4):
        pass
