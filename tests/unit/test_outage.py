"""Waiting for PostgreSQL, and not waiting for it: calls that fail, hang, and come back."""

from __future__ import annotations

import asyncio

import pytest

from actors import outage
from actors.errors import StorageUnavailable
from actors.outage import Outage, Patience
from tests.support.wait import WAIT_SECONDS, wait_until


class Told:
    """A patience, and what it has said."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.away = asyncio.Event()
        self.patience = Patience(self._note_away, lambda: self.words.append("back"))

    def _note_away(self, sentence: str) -> None:
        self.words.append(sentence)
        self.away.set()


class Storage:
    """A call that fails with `problem`, or hangs while `gate` is clear."""

    def __init__(self) -> None:
        self.calls = 0
        self.problem: StorageUnavailable | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def call(self) -> int:
        self.calls += 1
        await self.gate.wait()
        if self.problem is not None:
            raise self.problem
        return self.calls


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "RETRY_SECONDS", (0.0,))


@pytest.fixture
async def told() -> Told:
    return Told()


@pytest.fixture
async def storage() -> Storage:
    return Storage()


async def finished(task: asyncio.Task[int]) -> int:
    async with asyncio.timeout(WAIT_SECONDS):
        return await task


async def away(told: Told) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        await told.away.wait()


async def test_a_call_that_is_answered_says_nothing(told: Told, storage: Storage) -> None:
    assert await told.patience.until_done(storage.call) == 1
    assert told.words == []


async def test_a_call_that_fails_is_repeated_and_tells_of_both_ends_once(
    told: Told, storage: Storage
) -> None:
    storage.problem = StorageUnavailable("It is full.")
    call = asyncio.create_task(told.patience.until_done(storage.call))
    await away(told)
    await wait_until(lambda: storage.calls >= 5)
    assert str(told.patience.outage.problem) == "It is full."
    storage.problem = None
    assert await finished(call) >= 5
    assert told.words == ["It is full.", "back"]
    assert told.patience.outage.problem is None


async def test_a_call_that_hangs_is_an_outage_too_and_is_not_repeated(
    told: Told, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage, "SLOW_SECONDS", 0.01)
    storage.gate.clear()
    call = asyncio.create_task(told.patience.until_done(storage.call))
    await away(told)
    storage.gate.set()
    assert await finished(call) == 1
    assert told.words[1:] == ["back"]


async def test_the_outage_ends_with_the_last_call_that_has_met_it(told: Told) -> None:
    first, second = Storage(), Storage()
    first.problem = second.problem = StorageUnavailable("Away.")
    calls = [asyncio.create_task(told.patience.until_done(each.call)) for each in (first, second)]
    await wait_until(lambda: second.calls > 0)
    first.problem = None
    await finished(calls[0])
    assert await told.patience.until_done(first.call)  # one that has not met it
    assert told.words == ["Away."]
    second.problem = None
    await finished(calls[1])
    assert told.words == ["Away.", "back"]


async def test_a_call_that_is_refused_for_good_has_been_answered(told: Told) -> None:
    tries = 0

    async def call() -> None:
        nonlocal tries
        tries += 1
        raise StorageUnavailable if tries == 1 else KeyError("our own bug")

    with pytest.raises(KeyError):
        await told.patience.until_done(call)
    assert told.words[1:] == ["back"]


async def test_a_timeout_of_the_call_itself_is_not_ours(told: Told) -> None:
    async def call() -> None:
        raise TimeoutError("of something else")

    with pytest.raises(TimeoutError, match="of something else"):
        await told.patience.until_done(call)


@pytest.mark.parametrize("hangs", [True, False])
async def test_who_has_to_leave_gives_up_and_then_nothing_is_tried_any_more(
    told: Told, storage: Storage, hangs: bool
) -> None:
    if hangs:
        storage.gate.clear()
    else:
        storage.problem = StorageUnavailable("Away.")
    call = asyncio.create_task(told.patience.until_done(storage.call))
    await wait_until(lambda: storage.calls > 0)
    told.patience.give_up_in(0.01)
    with pytest.raises(StorageUnavailable, match="when the service stopped"):
        await finished(call)
    storage.problem = None
    storage.gate.set()
    calls = storage.calls
    with pytest.raises(StorageUnavailable):
        await told.patience.until_done(storage.call)
    assert storage.calls == calls
    assert "back" not in told.words


async def test_who_has_to_leave_still_makes_calls_that_are_answered(
    told: Told, storage: Storage
) -> None:
    told.patience.give_up_in(WAIT_SECONDS)
    assert await told.patience.until_done(storage.call) == 1


# --- what is refused -----------------------------------------------------------------------------


async def test_nothing_is_begun_while_postgresql_is_away() -> None:
    known = Outage()
    known.begin(StorageUnavailable("Away."))
    with pytest.raises(StorageUnavailable, match="Away"):
        async with known.unless_away():
            raise AssertionError("begun")
    known.end()
    async with known.unless_away():
        pass


async def test_everybody_who_waits_is_let_go_when_postgresql_goes_away() -> None:
    known = Outage()

    async def wait() -> None:
        async with known.unless_away():
            await asyncio.Event().wait()

    waiting = [asyncio.create_task(wait()) for _ in range(3)]
    await asyncio.sleep(0)
    known.begin(StorageUnavailable("Away."))
    known.begin(StorageUnavailable("Still away."))
    known.end()
    async with asyncio.timeout(WAIT_SECONDS):
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["Still away."] * 3


async def test_who_is_cancelled_or_fails_while_waiting_says_so_himself() -> None:
    known = Outage()

    async def wait() -> None:
        async with known.unless_away():
            await asyncio.Event().wait()

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    with pytest.raises(TimeoutError, match="of something else"):
        async with known.unless_away():
            raise TimeoutError("of something else")
