"""The hub: which viewers watch which project, and the fan-out of live frames to them.

A project's *channel* exists while somebody watches it or its actor's feed is connected. While the
feed is live the channel keeps a ring of the frames above the last durable mark. What a viewer has
missed is therefore always in PostgreSQL or in the ring, and `viewer.py` joins the two without a
gap and without duplicates.

Everything here is synchronous and belongs to the gateway's event loop.
"""

from __future__ import annotations

from gateway.ring import Ring
from gateway.viewer import Source, Viewer

# The last frame of an actor that leaves in order: everything before it is durable and was sent.
_LEFT_IN_ORDER = b'{"type":"hibernated"'


class Hub:
    """All channels of the service."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._channels: dict[str, Channel] = {}
        self._is_closed = False

    def join(self, project_id: str, since: int | None) -> Viewer:
        """Register a viewer; its `run` then writes the stream. Pair with `leave`.

        `since` is None for a viewer that knows nothing, the cursor of one that was here before,
        or negative for a cursor that could not be read.
        """
        channel = self._channel(project_id)
        viewer = Viewer(self._source, project_id, channel.ring, since)
        channel.join(viewer)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Forget a viewer; a second call does nothing."""
        viewer.leave()
        channel = self._channels.get(viewer.project_id)
        if channel is not None:
            channel.viewers.discard(viewer)
            self._drop_if_unused(channel)

    def attach(self, project_id: str, *, epoch: int, durable: int) -> LiveFeed:
        """Connect an actor's feed. That of an older epoch than the newest seen stays ignored."""
        channel = self._channel(project_id)
        feed = LiveFeed(self, channel)
        if epoch >= channel.epoch:
            channel.open(feed, epoch, durable)
        return feed

    def end(self, channel: Channel) -> None:
        """Take note that the channel's feed has ended: its actor left or died."""
        channel.feed = None
        if not self._is_closed:
            channel.end()
        self._drop_if_unused(channel)

    def forget(self, project_id: str) -> None:
        """Begin the project's numbers anew: it was deleted. Its viewers are shown the new state."""
        channel = self._channels.get(project_id)
        if channel is not None:
            channel.reset()

    def close(self) -> None:
        """Stop looking after the viewers of actors that leave: the service is stopping."""
        self._is_closed = True

    @property
    def viewers(self) -> int:
        """How many sockets are open."""
        return sum(len(channel.viewers) for channel in self._channels.values())

    @property
    def live_feeds(self) -> int:
        """How many actors are connected."""
        return sum(channel.feed is not None for channel in self._channels.values())

    def _channel(self, project_id: str) -> Channel:
        channel = self._channels.get(project_id)
        if channel is None:
            channel = self._channels[project_id] = Channel(project_id)
        return channel

    def _drop_if_unused(self, channel: Channel) -> None:
        if channel.feed is None and not channel.viewers:
            self._channels.pop(channel.project_id, None)


class LiveFeed:
    """An actor's end of a channel; once another has taken the channel over, nothing it says counts.

    The order of calls is the order of the feed's lines.
    """

    __slots__ = ("_channel", "_hub")

    def __init__(self, hub: Hub, channel: Channel) -> None:
        self._hub = hub
        self._channel = channel

    def publish(self, seq: int, frame: bytes) -> None:
        """Pass a frame on to every viewer."""
        if self._channel.feed is self:
            self._channel.publish(seq, frame)

    def mark_durable(self, seq: int) -> None:
        """Take note that everything up to `seq` can be read from PostgreSQL."""
        if self._channel.feed is self:
            self._channel.mark_durable(seq)

    def tell_storage(self, problem: str | None) -> None:
        """Take note that PostgreSQL is away, and how (a sentence), or is back (None)."""
        if self._channel.feed is self:
            self._channel.tell_storage(problem)

    def detach(self) -> None:
        """End the feed; a second call does nothing."""
        if self._channel.feed is self:
            self._hub.end(self._channel)


class Channel:
    """One project's viewers, its live feed and the ring of frames that are not yet durable."""

    __slots__ = (
        "_has_left_in_order",
        "_next_seq",
        "_shown_seq",
        "_storage_problem",
        "epoch",
        "feed",
        "project_id",
        "ring",
        "viewers",
    )

    def __init__(self, project_id: str) -> None:
        self.project_id = project_id
        self.viewers: set[Viewer] = set()
        self.feed: LiveFeed | None = None
        self.epoch = 0
        self.ring = Ring()
        self._next_seq = 0  # what the feed says next, if nothing is missing
        self._shown_seq = 0  # the highest number of an earlier epoch
        self._has_left_in_order = False
        self._storage_problem: str | None = None  # as the feed says

    def join(self, viewer: Viewer) -> None:
        """Show the project to a viewer as well."""
        self.viewers.add(viewer)
        if self._storage_problem is not None:
            viewer.see_storage(self._storage_problem, self._next_seq - 1)

    def tell_storage(self, problem: str | None) -> None:
        """Have every viewer told, after the frames so far, that PostgreSQL is away or back."""
        self._storage_problem = problem
        for viewer in self.viewers:
            viewer.see_storage(problem, self._next_seq - 1)

    def open(self, feed: LiveFeed, epoch: int, durable: int) -> None:
        """Let `feed` speak for the project, whose journal holds everything up to `durable`.

        What was said above that is lost with its actor, or read from the journal later. What
        became durable without being said (the actor died in between) is read by the viewers that
        lack it.
        """
        if epoch > self.epoch:
            self._shown_seq = max(self._shown_seq, self._next_seq - 1)
        self.feed = feed
        self.epoch = epoch
        self._next_seq = durable + 1
        self._has_left_in_order = False
        self.tell_storage(None)  # it says itself where it is away
        self.ring.restart(0)
        for viewer in self.viewers:
            viewer.catch_up(durable)

    def publish(self, seq: int, frame: bytes) -> None:
        """Keep a frame in the ring and queue it for every viewer."""
        if seq != self._next_seq:
            if seq < self._next_seq:
                return
            self._skip_to(seq)
        if seq <= self._shown_seq:
            self._reuse(seq)
        self._next_seq = seq + 1
        self._has_left_in_order = frame.startswith(_LEFT_IN_ORDER)
        self.ring.keep(seq, frame)
        for viewer in self.viewers:
            viewer.push(seq, frame)

    def mark_durable(self, seq: int) -> None:
        """Let go of what PostgreSQL has; what of it the feed left out is read from there."""
        if seq >= self._next_seq:
            self._skip_to(seq + 1)
            self._next_seq = seq + 1
        self.ring.mark_durable(seq)

    def _skip_to(self, seq: int) -> None:
        """Have what the feed left out (it was not connected) read from the journal."""
        self.ring.restart(seq - 1)
        for viewer in self.viewers:
            viewer.catch_up(seq - 1)

    def _reuse(self, seq: int) -> None:
        """Start over who saw `seq` with an actor that died before it was durable."""
        self._shown_seq = 0
        for viewer in self.viewers:
            viewer.start_over_from(seq)

    def end(self) -> None:
        """Have the viewers compare with the journal, unless the actor left in order.

        Of an outage nothing is known any more: they find out themselves, or the next actor does.
        """
        self.tell_storage(None)
        self.ring.restart(0)
        if not self._has_left_in_order:
            for viewer in self.viewers:
                viewer.fall_behind()

    def reset(self) -> None:
        """Forget all numbers and start every viewer over."""
        self.ring.restart(0)
        self.epoch = self._next_seq = self._shown_seq = 0
        for viewer in self.viewers:
            viewer.start_over_from(0)
