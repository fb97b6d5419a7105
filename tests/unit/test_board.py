"""Tasks in the hub's hands, and their places in a stream that may forget some."""

from __future__ import annotations

import time

import pytest

from dria_magpie import MagPie, Task
from dria_magpie.errors import LimitError
from dria_magpie.network.assignment import Beat
from dria_magpie.network.hub.board import Board
from dria_magpie.network.hub.job import MOST_PARTS, Address, Job
from dria_magpie.network.hub.registry import Registry
from dria_magpie.network.hub.verdict import Loss
from dria_magpie.network.order import write_order
from dria_magpie.network.record import Record
from dria_magpie.workflow import ExecutionState

WORKFLOW = MagPie().workflow("A", "B")
PAYLOAD = write_order(Task(workflow=WORKFLOW), WORKFLOW, ExecutionState.start(WORKFLOW))


def make_board(*jobs: Job) -> Board:
    board = Board(None, lease=9)  # type: ignore[arg-type]
    for job in jobs:
        board.add(job)
    return board


def make_job(seq: int, name: str, route: str = "q") -> Job:
    return Job.of(seq, f"task.me.{route}.run.{name}", PAYLOAD)


def address(name: str, route: str = "q") -> Address:
    return Address("me", route, "run", name)


def test_a_task_in_hand_is_known_by_its_place_and_its_name() -> None:
    board = make_board(make_job(5, "a"))
    assert board.claim(address("a"), 5)
    assert not board.claim(address("b"), 6)
    assert not board.claim(address("b"), 5)


def test_a_task_that_is_handed_in_again_gets_its_new_place() -> None:
    job = make_job(5, "a")
    board = make_board(job)
    assert board.claim(address("a"), 9)
    assert job.seq == 9
    assert not board.claim(address("b"), 5)
    board.take_out(job)
    assert board.jobs() == []


def test_a_task_whose_place_was_given_to_another_keeps_none() -> None:
    old, new = make_job(5, "a"), make_job(5, "b")
    board = make_board(old, new)
    assert (old.seq < 0, new.seq) == (True, 5)
    assert board.jobs() == [new, old] or board.jobs() == [old, new]
    board.take_out(old)
    assert board.jobs() == [new]
    assert board.claim(address("b"), 5)


def test_a_task_without_a_place_is_known_by_its_name() -> None:
    job, other = make_job(5, "a"), make_job(6, "b")
    board = make_board(job, other)
    board.displace(job)
    board.displace(other)
    assert job.seq != other.seq
    assert max(job.seq, other.seq) < 0
    assert board.claim(address("a"), 6)
    assert job.seq == 6
    board.displace(make_job(6, "c"))
    assert job.seq == 6


def test_one_name_in_two_queues_is_two_tasks() -> None:
    one, two = make_job(5, "a", "q"), make_job(6, "a", "r")
    board = make_board(one)
    assert not board.claim(address("a", "r"), 6)
    board.add(two)
    assert board.claim(address("a", "q"), 5)
    assert board.claim(address("a", "r"), 6)
    assert (one.seq, two.seq) == (5, 6)


def test_a_task_that_is_too_much_to_read_is_refused_in_either_half() -> None:
    head, shape, filling = PAYLOAD.decode().split("\n")
    many = ",".join('"x"' for _ in range(MOST_PARTS))
    full = filling.replace('{"external_memory":{', f'{{"external_memory":{{"l":[{many}],')
    for lines in ((head, shape, full), (head, shape.replace('"tools":[]', f'"tools":[{many}]'))):
        payload = "\n".join([*lines, filling][:3]).encode()
        with pytest.raises(LimitError, match="parts"):
            Job.of(1, "task.me.q.run.a", payload)


def test_a_task_that_waits_for_another_node_holds_back_nobody() -> None:
    registry = Registry(None, lambda _: None, dict)  # type: ignore[arg-type]
    board = Board(registry, lease=9)
    for name, slots in (("lost", 3), ("busy", 0)):
        beat = Beat(models=("m",), slots=slots)
        registry.beat(name, beat, time.time(), 0)
    jobs = [make_job(seq, f"t{seq}") for seq in range(1, 5)]
    for job in jobs[:2]:
        job.lose(Loss(kind="lost", node="lost", error=""))
    for job in jobs:
        board.add(job)
    assert [job.seq for job in board.assign_waiting()] == [3, 4]
    assert [job.seq for job in board.waiting()["me", "q"]] == [1, 2]
    assert "lost it" in board.reasons["me", "q"]


def test_a_proven_node_that_falls_silent_is_marked_once_for_all_its_tasks() -> None:
    registry = Registry(None, lambda _: None, dict)  # type: ignore[arg-type]
    for name, results in (("node", 20), ("new", 19)):
        registry.beat(name, Beat(models=("m",), slots=64), 100.0, 0)
        for _ in range(results):
            registry.earn(name, "completed", 100.0)
        for moment in (100.0, 100.0, 100.5, 101.0):
            registry.earn(name, "timed out", moment)
    earned = registry.roster.members["node"].reputation
    assert (earned.timed_out, registry.roster.members["new"].reputation.timed_out) == (1, 4)
    registry.earn("node", "timed out", 110.0)
    registry.earn("node", "invalid", 110.0)
    earned = registry.roster.members["node"].reputation
    assert (earned.timed_out, earned.invalid) == (2, 1)


def test_nodes_are_excused_until_they_say_that_they_are_at_work() -> None:
    registry = Registry(None, lambda _: None, dict)  # type: ignore[arg-type]
    board = Board(registry, lease=9)
    registry.beat("node", Beat(models=("m",), slots=2), time.time(), 0)
    board.add(make_job(1, "a"))
    [job] = board.assign_waiting()
    assert not job.excused
    board.excuse_nodes()
    assert job.excused
    noted = make_job(1, "a")
    noted.take_up(job.note(), Record())
    assert noted.excused
