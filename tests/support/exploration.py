"""Every sequence of moves in a small world, by its distinct states: no two alike are gone on with.

A world is copied by pickling it, and the pickle tells whether two worlds are alike. (Equal worlds
may have different pickles: then one is looked at twice.) Messages, which never change, are kept
once and pickled as their numbers.
"""

from __future__ import annotations

import contextlib
import copyreg
import io
import pickle
from collections.abc import Callable, Iterable, Iterator

from actors.messages import Message
from tests.support.lifecycle import Move, World

Image = bytes
Moves = Callable[[World], Iterable[Move]]
DELIVER: Move = ("deliver", "")

_messages: list[Message] = []
_numbers: dict[Message, int] = {}


def _message(number: int) -> Message:
    return _messages[number]


def _by_number(message: Message) -> tuple[Callable[[int], Message], tuple[int]]:
    number = _numbers.setdefault(message, len(_messages))
    if number == len(_messages):
        _messages.append(message)
    return _message, (number,)


def _kinds(base: type[Message]) -> Iterator[type[Message]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _kinds(kind)


class _Pickler(pickle.Pickler):
    dispatch_table = copyreg.dispatch_table | dict.fromkeys(_kinds(Message), _by_number)


class Exploration:
    """All worlds that `depth` moves out of `moves` lead to from `start`.

    With `may_deliver`, what is under way may all have arrived before a move, or not. An
    AssertionError says after which moves it was.
    """

    def __init__(
        self, start: World, moves: Moves, *, depth: int, may_deliver: bool = False
    ) -> None:
        self._moves = moves
        self._found: dict[Image, tuple[Image, Move] | None] = {image_of(start): None}
        frontier = list(self._found)
        for _ in range(depth):
            if may_deliver:
                frontier += [new for image in frontier for new in self._make(image, DELIVER)]
            frontier = [
                new
                for image in frontier
                for move in list(moves(world_of(image)))
                for new in self._make(image, move)
            ]

    def __len__(self) -> int:
        return len(self._found)

    def _make(self, image: Image, move: Move) -> Iterator[Image]:
        """Yield the world after a move, if it is a new one."""
        world = world_of(image)
        with self._told(image, move):
            world.make(move)
        after = image_of(world)
        if after not in self._found:
            self._found[after] = (image, move)
            yield after

    def end_all(self) -> None:
        """Bring each of the worlds to its end."""
        at_rest: set[Image] = set()
        for image in self._found:
            world = world_of(image)
            with self._told(image):
                world.deliver(with_runs=True)
                rested = image_of(world)
                if rested not in at_rest:
                    at_rest.add(rested)
                    world.end()

    @contextlib.contextmanager
    def _told(self, image: Image, *last: Move) -> Iterator[None]:
        try:
            yield
        except AssertionError as error:
            moves = [*self._path_to(image), *last]
            raise AssertionError(f"{error}, after {moves}") from error

    def _path_to(self, image: Image) -> list[Move]:
        path: list[Move] = []
        while (origin := self._found[image]) is not None:
            image, move = origin
            path.append(move)
        return path[::-1]


def image_of(world: World) -> Image:
    file = io.BytesIO()
    _Pickler(file, pickle.HIGHEST_PROTOCOL).dump(world)
    return file.getvalue()


def world_of(image: Image) -> World:
    world: World = pickle.loads(image)
    return world
