"""The bridge: order both ways, wake-ups that cannot get lost, and bugs that are not swallowed."""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
import threading
from collections.abc import Iterator

import pytest

from actors.bridge import Bridge
from tests.support.log import log_line

WAIT_SECONDS = 20.0


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    """A running bridge, ended with the test: an actor's own one ends with its process."""
    others = set(threading.enumerate())
    bridge = Bridge()
    bridge.start()
    (thread,) = set(threading.enumerate()) - others
    yield bridge
    loops: list[asyncio.AbstractEventLoop] = []

    async def end() -> None:
        loops.append(asyncio.get_running_loop())
        loops[0].stop()

    bridge.submit(end)
    thread.join()
    loops[0].close()
    os.close(bridge.fileno)
    os.close(bridge._writer)


def is_readable(bridge: Bridge, seconds: float = 0.0) -> bool:
    """What `ThespianWatch` sees of the bridge."""
    return bool(select.select([bridge.fileno], [], [], seconds)[0])


def finish(bridge: Bridge) -> None:
    """Return when everything submitted so far has had its first turn."""
    done = threading.Event()

    async def mark() -> None:
        done.set()

    bridge.submit(mark)
    assert done.wait(WAIT_SECONDS)


def test_tasks_start_in_the_order_of_their_submission(bridge: Bridge) -> None:
    seen: list[int] = []

    async def note(number: int) -> None:
        seen.append(number)

    for number in range(500):
        bridge.submit(note, number)
    finish(bridge)
    assert seen == list(range(500))


def test_a_task_that_waits_holds_up_no_other(bridge: Bridge) -> None:
    gates: list[asyncio.Event] = []
    seen: list[str] = []
    opened = threading.Event()

    async def wait() -> None:
        gates.append(asyncio.Event())
        await gates[0].wait()
        seen.append("waited")
        opened.set()

    async def pass_by() -> None:
        seen.append("passed")
        gates[0].set()

    bridge.submit(wait)
    bridge.submit(pass_by)
    assert opened.wait(WAIT_SECONDS)
    assert seen == ["passed", "waited"]


def test_the_tasks_run_in_one_thread_that_is_not_the_main_one(bridge: Bridge) -> None:
    threads: set[int] = set()

    async def note() -> None:
        threads.add(threading.get_ident())

    for _ in range(3):
        bridge.submit(note)
    finish(bridge)
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_messages_leave_in_the_order_in_which_they_were_given(bridge: Bridge) -> None:
    async def say(number: int) -> None:
        bridge.send("address", number)
        bridge.send("another", -number)

    for number in range(100):
        bridge.submit(say, number)
    finish(bridge)
    assert bridge.drain() == [
        outgoing for n in range(100) for outgoing in (("address", n), ("another", -n))
    ]


def test_a_message_wakes_the_receive_loop_and_draining_lets_it_rest(bridge: Bridge) -> None:
    async def say(text: str) -> None:
        bridge.send("address", text)

    assert not is_readable(bridge)
    for text in ("first", "second"):
        bridge.submit(say, text)
        assert is_readable(bridge, WAIT_SECONDS)
        assert bridge.drain() == [("address", text)]
        assert not is_readable(bridge)


def test_draining_an_empty_outbox_neither_blocks_nor_fails(bridge: Bridge) -> None:
    assert bridge.drain() == []


def test_more_messages_than_the_pipe_holds_wake_ups_are_all_sent(bridge: Bridge) -> None:
    count = fcntl.fcntl(bridge.fileno, fcntl.F_GETPIPE_SZ) + 1000

    async def say_much() -> None:
        for number in range(count):
            bridge.send("address", number)

    bridge.submit(say_much)
    finish(bridge)
    sent: list[object] = []
    while is_readable(bridge):
        sent += [message for _, message in bridge.drain()]
    assert sent == list(range(count))

    async def say_more() -> None:
        bridge.send("address", "more")

    bridge.submit(say_more)
    assert is_readable(bridge, WAIT_SECONDS)
    assert bridge.drain() == [("address", "more")]


def test_an_exception_in_a_task_is_logged_and_the_next_task_runs(bridge: Bridge) -> None:
    async def break_down() -> None:
        raise ZeroDivisionError("our bug")

    with log_line("actors.bridge", "task break_down failed") as line:
        bridge.submit(break_down)
        line.wait()
    (record,) = line.records
    assert record.levelname == "ERROR"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ZeroDivisionError)
    finish(bridge)


def test_a_cancelled_task_is_no_bug(bridge: Bridge) -> None:
    async def give_up() -> None:
        raise asyncio.CancelledError

    with log_line("actors.bridge", "failed") as line:
        bridge.submit(give_up)
        finish(bridge)
        finish(bridge)  # its end is noted in a turn of its own
    assert line.records == []


def test_a_descriptor_of_the_bridge_is_not_inherited(bridge: Bridge) -> None:
    assert not os.get_inheritable(bridge.fileno)
