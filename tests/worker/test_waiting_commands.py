"""Test the order of the commands that wait for a worker."""

import itertools
import random
import threading
import time
from typing import Any

import pytest

from artgen.worker_process.server.waiting import MAX_WAITING, WaitingCommands


class Client:
    """Store the positions that a client receives. It takes the place of a command and of its connection."""

    def __init__(self, name: str, *, fails: bool = False) -> None:
        self.name = name
        self.connection = self
        self.positions: list[int] = []
        self._fails = fails

    def send(self, kind: str, **values: Any) -> None:
        if self._fails:
            raise BrokenPipeError
        assert kind == "position"
        self.positions.append(values["position"])


def _add(waiting: WaitingCommands, *names: str, session: int = 1) -> list[Client]:
    clients = [Client(name) for name in names]
    assert all(waiting.add(client, session) for client in clients)  # type: ignore[arg-type]
    return clients


def _run_all(waiting: WaitingCommands) -> list[str]:
    names = []
    while len(waiting):
        command: Any = waiting.next(10)
        names.append(command.name)
        waiting.finish()
    return names


def test_commands_of_one_session_run_in_the_order_of_their_arrival() -> None:
    waiting = WaitingCommands()
    _add(waiting, *"abcdef")
    assert _run_all(waiting) == [*"abcdef"]
    assert waiting.num_finished == 6


def test_commands_of_different_sessions_run_in_the_order_of_their_arrival() -> None:
    waiting = WaitingCommands()
    for session, name in enumerate("abcdef"):
        _add(waiting, name, session=session)
    assert _run_all(waiting) == [*"abcdef"]


def test_a_session_with_many_commands_does_not_block_others() -> None:
    waiting = WaitingCommands()
    _add(waiting, *(f"a{number}" for number in range(50)), session=1)
    assert waiting.next(10) is not None
    _add(waiting, "b0", "b1", session=2)
    waiting.finish()
    assert _run_all(waiting)[:5] == ["a1", "b0", "a2", "b1", "a3"]


@pytest.mark.parametrize("seed", range(20))
def test_no_command_waits_for_more_commands_of_another_session_than_its_own(seed: int) -> None:
    """Compare a random history with the definition: between two commands of a session, each other session runs once."""
    generator = random.Random(seed)
    waiting = WaitingCommands()
    names = [f"{session}" for session in range(4) for _ in range(generator.randint(1, 12))]
    generator.shuffle(names)
    for name in names:
        _add(waiting, name, session=int(name))
    order = _run_all(waiting)
    assert sorted(order) == sorted(names)
    for session in set(names):
        turns = [number for number, name in enumerate(order) if name == session]
        for first, second in itertools.pairwise(turns):
            between = order[first + 1 : second]
            assert len(between) <= 2 * len(set(between))


def test_waiting_clients_receive_each_change_of_their_position_once() -> None:
    waiting = WaitingCommands()
    first, second, third = _add(waiting, *"abc")
    assert waiting.next(10) is first
    assert (first.positions, second.positions, third.positions) == ([], [1], [2])
    waiting.finish()
    assert waiting.next(10) is second
    assert (second.positions, third.positions) == ([1], [2, 1])
    assert waiting.running is second


def test_a_client_that_ends_leaves_the_queue() -> None:
    waiting = WaitingCommands()
    clients = _add(waiting, *"abcd")
    assert waiting.next(10) is clients[0]
    waiting.remove(clients[1])  # type: ignore[arg-type]
    waiting.remove(clients[1])  # type: ignore[arg-type]
    assert [client.positions[-1] for client in clients[2:]] == [1, 2]
    waiting.finish()
    assert _run_all(waiting) == ["c", "d"]


def test_a_connection_that_failed_does_not_disturb_others() -> None:
    waiting = WaitingCommands()
    _add(waiting, "a")
    waiting.next(10)
    assert waiting.add(Client("broken", fails=True), 1)  # type: ignore[arg-type]
    (other,) = _add(waiting, "b", session=2)
    assert other.positions == [2]


def test_the_number_of_waiting_commands_is_limited() -> None:
    waiting = WaitingCommands()
    _add(waiting, *map(str, range(MAX_WAITING)))
    assert not waiting.add(Client("x"), 2)  # type: ignore[arg-type]
    assert len(_run_all(waiting)) == MAX_WAITING


def test_the_queue_closes_after_the_idle_time_and_then_accepts_nothing() -> None:
    waiting = WaitingCommands()
    start = time.monotonic()
    assert waiting.next(0.2) is None
    assert time.monotonic() - start >= 0.2
    assert not waiting.add(Client("a"), 1)  # type: ignore[arg-type]


def test_a_running_command_is_not_idle_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: seconds[0])
    waiting = WaitingCommands()
    _add(waiting, "a")
    waiting.next(100)
    seconds[0] = 150
    assert waiting.idle_seconds() == 0
    waiting.finish()
    threading.Timer(0.05, lambda: _add(waiting, "b")).start()
    assert waiting.next(100) is not None


def test_each_command_is_served_or_refused_when_the_idle_time_ends() -> None:
    """Add commands at the moment at which the queue closes."""
    for _ in range(50):
        waiting = WaitingCommands()
        accepted: list[bool] = []
        client: Any = Client("a")

        def add(waiting: WaitingCommands = waiting, client: Any = client, accepted: list[bool] = accepted) -> None:
            accepted.append(waiting.add(client, 1))

        timer = threading.Timer(0.01, add)
        timer.start()
        served = waiting.next(0.01)
        if served is not None:
            waiting.finish()
            assert waiting.next(0.001) is None
        timer.join()
        assert accepted == [served is client]
