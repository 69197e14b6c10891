"""What the parts of the process pool promise alone: frames, segments, chunks."""

import os
import socket

import pytest

from connectors._map import Sizer
from connectors.pools._process import _wire
from connectors.pools._process._memory import LARGE_SIZE, Segment, Segments, unwrap, wrap
from connectors.pools._process._wire import Disconnected, Inbox, Outbox

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


def received(inbox, sock):
    found = []
    try:
        while True:
            found += inbox.receive(sock)
    except BlockingIOError:
        return found


def test_frames_arrive_in_order_whatever_the_socket_takes(ends):
    """Frames of any size arrive whole and in order although the socket takes them in parts."""
    ours, theirs = ends
    outbox, inbox = Outbox(), Inbox()
    payloads = [os.urandom(size) for size in [0, 1, 100_000, 70_000, 3, 200_000] * 5]
    for number, payload in enumerate(payloads):
        outbox.add(_wire.CALL, number, payload)
    found = []
    while outbox or len(found) < len(payloads):
        outbox.flush(ours)
        found += received(inbox, theirs)

    assert payloads == [frame.payload for frame in found]
    assert list(range(len(payloads))) == [frame.number for frame in found]


def test_descriptors_arrive_with_their_frames(ends):
    """Each descriptor belongs to the frame with which it was sent."""
    ours, theirs = ends
    outbox, inbox = Outbox(), Inbox()
    segments = [Segment.make(10) for _ in range(6)]
    for number, segment in enumerate(segments):
        segment.write([b"%d" % number])
        outbox.add(_wire.CALL, 2 * number, b"x", 0, segment.descriptor)
        outbox.add(_wire.CALL, 2 * number + 1, b"y")
    outbox.flush(ours)
    frames = received(inbox, theirs)

    assert [number % 2 == 1 for number in range(12)] == [f.descriptor is None for f in frames]
    for number, frame in enumerate(frames[::2]):
        segment = Segment.received(frame.descriptor)
        assert [b"%d" % number] == segment.read([1])
        segment.close()


def test_dropped_frames_are_not_sent(ends):
    """A frame of which nothing is sent can be dropped; one that is half sent is completed."""
    ours, theirs = ends
    outbox, inbox = Outbox(), Inbox()
    for number in range(4):
        outbox.add(_wire.CALL, number, bytes(1_000_000))
    outbox.flush(ours)
    outbox.drop({0, 1, 2})
    found = []
    while outbox or len(found) < 2:
        outbox.flush(ours)
        found += received(inbox, theirs)

    assert [0, 3] == [frame.number for frame in found]


def test_inbox_tells_the_end(ends):
    """The end of the other side is told, and files of incomplete frames are closed."""
    ours, theirs = ends
    inbox = Inbox()
    segment = Segment.make(10)
    header = _wire.HEADER.pack(_wire.CALL, 0, 1, 100, 1, 0.0)
    _wire.send(ours, header, segment.descriptor)
    before = len(os.listdir("/proc/self/fd"))
    assert [] == received(inbox, theirs)
    ours.close()

    with pytest.raises(Disconnected):
        inbox.receive(theirs)
    inbox.close()
    assert before - 1 == len(os.listdir("/proc/self/fd"))


def test_small_contents_travel_in_the_frame():
    """Only large contents need a segment."""
    segments = Segments()
    payload, flags, segment = wrap(b"small", [], segments.take)
    assert (b"small", 0, None) == (payload, flags, segment)
    assert (b"small", []) == unwrap(payload, flags, None)
    payload, flags, segment = wrap(bytes(LARGE_SIZE), [], segments.take)
    assert flags == _wire.LARGE
    assert bytes(LARGE_SIZE) == unwrap(payload, flags, segment)[0]


def test_segments_are_reused_by_size():
    """A free segment that is large enough is reused, the smallest first."""
    segments = Segments()
    small, large = segments.take(10_000), segments.take(100_000)
    segments.give(small)
    segments.give(large)

    assert small is segments.take(5_000)
    assert large is segments.take(50_000)
    assert segments.spare() is None
    segments.give(small)
    segments.give(large)
    assert large is segments.spare()
    assert small is not segments.take(20_000)


def test_segments_that_are_too_large_are_not_kept():
    """Free memory that is kept has a limit."""
    segments = Segments()
    huge = Segment.make(1 << 30)
    segments.give(huge)

    assert 0 == len(segments)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(huge.descriptor)


def test_sizes_of_chunks():
    """Chunks grow to a fixed time, and shrink to share the last items, but not to nothing."""
    sizer = Sizer(None, 1_000_000, 8)
    assert 1 == sizer.next()
    sizer.learn(1, 1e-6)
    assert 64 == sizer.next()
    sizer.learn(64, 64e-6)
    assert 4096 == sizer.next()
    sizer.learn(4096, 4096e-6)
    assert 20_000 == sizer.next()
    sizer.left = 40_000
    assert 5_000 == sizer.next()
    sizer.left = 500
    assert 1000 == sizer.next()
    assert [7, 7] == [Sizer(7, None, 1).next() for _ in range(2)]
