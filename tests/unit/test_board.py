"""Tasks in the hub's hands, and their places in a stream that may forget some."""

from __future__ import annotations

from dria_magpie import MagPie, Task
from dria_magpie.network.hub.board import Board
from dria_magpie.network.hub.job import Address, Job
from dria_magpie.network.order import write_order
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
