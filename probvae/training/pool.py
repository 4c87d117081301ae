"""A pool of things that are costly to make and serve one user at a time."""

import contextlib
import threading
from collections.abc import Callable, Hashable, Iterator
from typing import Any


class Pool:
    """Idle things by their keys, at most `size`; the one that was used least recently goes first.

    Several threads, and users within each other, may borrow things of one key: each has its own.

    >>> pool = Pool(1)
    >>> with pool.borrowed("key", list) as first, pool.borrowed("key", list) as second:
    ...     first is second
    False
    >>> with pool.borrowed("key", list) as third:  # the one that was given back last
    ...     third is first
    True
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._idle: list[tuple[Hashable, Any]] = []  # the most recently used last
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._idle)

    @contextlib.contextmanager
    def borrowed(self, key: Hashable, make: Callable[[], Any]) -> Iterator[Any]:
        """Give an idle thing of a key, or a new one; one whose use ends by an exception is thrown away."""
        thing = self._take(key)
        thing = make() if thing is None else thing
        yield thing
        with self._lock:
            self._idle = [*self._idle, (key, thing)][-self.size :] if self.size else []

    def clear(self) -> None:
        """Throw away all idle things."""
        with self._lock:
            self._idle = []

    def _take(self, key: Hashable) -> Any:
        with self._lock:
            for place in reversed(range(len(self._idle))):
                if self._idle[place][0] == key:
                    return self._idle.pop(place)[1]
        return None
