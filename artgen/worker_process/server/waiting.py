"""Store the commands that wait for the worker, in fair order."""

import contextlib
import threading
import time
from dataclasses import dataclass, field

from artgen.worker_process.server.commands import Command

MAX_WAITING = 100
"""Maximum number of waiting commands. Further commands run in ordinary processes."""


@dataclass(order=True)
class _Entry:
    turn: int
    arrival: int
    command: Command = field(compare=False)
    session: int = field(compare=False)
    position: int = field(default=0, compare=False)
    """Last position that was sent to the client."""


class WaitingCommands:
    """Store the waiting commands.

    Commands run in the order of their arrival. If a session, which is a terminal or a script, has several commands,
    the commands of other sessions run between them. So a session that sends many commands does not block others.
    """

    def __init__(self) -> None:
        """Start without commands."""
        self._condition = threading.Condition()
        self._entries: list[_Entry] = []
        self._running: Command | None = None
        self._num_arrived = 0
        self._turn = 0
        """Turn of the running command."""
        self._last_turns: dict[int, int] = {}
        self._is_closed = False
        self._idle_since = time.monotonic()
        self.num_finished = 0

    @property
    def running(self) -> Command | None:
        """Return the running command."""
        return self._running

    def __len__(self) -> int:
        """Return the number of waiting commands."""
        return len(self._entries)

    def idle_seconds(self) -> float:
        """Return the seconds since the end of the last command; 0 while a command runs."""
        return 0.0 if self._running or self._entries else time.monotonic() - self._idle_since

    def add(self, command: Command, session: int) -> bool:
        """Add a command. Return False if the worker ends, or if too many commands wait."""
        with self._condition:
            if self._is_closed or len(self._entries) >= MAX_WAITING:
                return False
            turn = max(self._turn, self._last_turns.get(session, 0)) + 1
            self._last_turns[session] = turn
            self._num_arrived += 1
            self._entries.append(_Entry(turn, self._num_arrived, command, session))
            self._entries.sort()
            self._send_positions()
            self._condition.notify()
            return True

    def remove(self, command: Command) -> None:
        """Remove a command whose client ended, if it waits."""
        with self._condition:
            entry = next((entry for entry in self._entries if entry.command is command), None)
            if entry is not None:
                self._entries.remove(entry)
                self._send_positions()

    def next(self, idle_seconds: float) -> Command | None:
        """Return the next command, which then runs. After this idle time, return None and accept no more commands."""
        with self._condition:
            deadline = self._idle_since + idle_seconds
            while not self._entries:
                if (left := deadline - time.monotonic()) <= 0:
                    self._is_closed = True
                    return None
                self._condition.wait(min(left, threading.TIMEOUT_MAX))
            entry = self._entries.pop(0)
            self._running, self._turn = entry.command, entry.turn
            self._last_turns = {session: turn for session, turn in self._last_turns.items() if turn >= self._turn}
            self._send_positions()
            return entry.command

    def finish(self) -> None:
        """End the running command."""
        with self._condition:
            self._running = None
            self._idle_since = time.monotonic()
            self.num_finished += 1

    def _send_positions(self) -> None:
        """Send changed positions. The next command has the position 1; it is 0, and not sent, if it runs at once."""
        first = 1 if self._running else 0
        for position, entry in enumerate(self._entries, first):
            if position not in (0, entry.position):
                entry.position = position
                with contextlib.suppress(OSError):
                    entry.command.connection.send("position", position=position)
