"""What the hub decides: whom it trusts, who gets a task, and what follows from a loss."""

from __future__ import annotations

import json
import random
import time
from itertools import cycle, islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dria_magpie.errors import InvalidInputError, StateError
from dria_magpie.models import NodeInfo, Task
from dria_magpie.network.fit import Fit
from dria_magpie.network.hub.member import ALIVE_FOR, Member
from dria_magpie.network.hub.placement import Placement, count_others, place
from dria_magpie.network.hub.reputation import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    Reputation,
)
from dria_magpie.network.hub.roster import MOST_ROUTES, Roster
from dria_magpie.network.hub.route import Route
from dria_magpie.network.hub.spot_check import Comparison, Judgement, compare, is_chosen, judge
from dria_magpie.network.hub.verdict import MOST_LOSSES, Loss, Verdict, decide_loss
from dria_magpie.network.hub.wanted import Wanted
from dria_magpie.workflow import Workflow
from tests.unit.flow import graph, task

OUTCOMES = ("completed", "rejected", "timed out", "invalid", "disputed")
GOOD, LIE, LATE = "completed", "invalid", "timed out"


NEW = Reputation()


def earned(*outcomes, now=0.0, record=NEW):
    for outcome in outcomes:
        record = record.after(outcome, now)
    return record


# What a node has earned


def test_a_new_node_is_good_and_gets_all_its_slots():
    assert Reputation().standing(0).kind == "good"
    assert Reputation().standing(0).reason == ""
    assert not Reputation().on_trial


@pytest.mark.parametrize(
    ("outcomes", "kind"),
    [
        ([LATE] * 2, "good"),
        ([LATE] * 3, "paused"),
        ([LATE] * 200, "paused"),
        (["rejected"] * 16, "good"),
        (["rejected"] * 17, "paused"),
        ([LIE], "paused"),
        ([LIE] * 4, "paused"),
        ([LIE] * 5, "barred"),
        (["disputed"] * 2, "paused"),
        (["disputed"] * 3, "barred"),
        (["disputed", LIE, "disputed"], "barred"),
        ([GOOD] * 100 + [LIE], "good"),
        ([GOOD] * 100 + [LATE] * 4, "good"),
        ([GOOD] * 100 + [LIE] * 5, "barred"),
        (["disputed", *[GOOD] * 100] * 2 + ["disputed"], "barred"),
    ],
)
def test_what_becomes_of_a_node(outcomes, kind):
    assert earned(*outcomes).standing(0).kind == kind


def test_a_machine_that_was_switched_off_comes_back_to_full_work():
    off = earned(*[GOOD] * 50, *[LATE] * 64, now=100.0)
    assert off.standing(100).kind == "paused"
    back = off.standing(100 + FIRST_PAUSE)
    assert back.kind == "good"
    assert back.reason.startswith("one task at a time: 50 tasks completed, 0 rejected, 64 timed")
    assert off.on_trial
    after = earned(*[GOOD] * 7, now=200.0, record=off)
    assert not after.on_trial
    assert after.standing(200).reason == ""


@pytest.mark.parametrize("kinds", [(LIE, GOOD), (GOOD, LIE)])
def test_who_lies_every_second_time_is_barred_within_20(kinds):
    assert earned(*islice(cycle(kinds), 20)).barred


@pytest.mark.parametrize("seed", range(5))
def test_an_honest_node_with_a_broken_message_in_a_hundred_is_never_barred(seed):
    dice, record = random.Random(seed), Reputation()
    for number in range(10_000):
        record = record.after(LIE if dice.random() < 0.01 else GOOD, float(number))
        assert not record.barred


@pytest.mark.parametrize("seed", range(5))
def test_who_breaks_a_message_in_ten_is_barred(seed):
    dice = random.Random(seed)
    outcomes = (LIE if dice.random() < 0.1 else GOOD for _ in range(10_000))
    assert earned(*outcomes).barred


def test_who_cheats_always_is_barred_though_one_result_in_100_is_checked():
    assert earned(*([GOOD] * 99 + ["disputed"]) * 3).barred


def test_a_spot_check_that_is_lost_in_a_thousand_results_bars_nobody():
    assert not earned(*["disputed", *[GOOD] * 1000] * 20).barred


@settings(deadline=None)
@given(st.lists(st.sampled_from(OUTCOMES), max_size=60), st.lists(st.sampled_from(OUTCOMES)))
def test_barred_is_for_good(before, after):
    record = earned(*before)
    if record.barred:
        assert earned(*after, record=record).standing(1e9).kind == "barred"


@settings(deadline=None)
@given(st.lists(st.sampled_from([GOOD, "rejected", LATE]), max_size=300))
def test_nobody_is_barred_without_a_lie(outcomes):
    record = earned(*outcomes)
    assert not record.barred
    assert earned(*[GOOD] * 7, record=record).standing(LONGEST_PAUSE).kind == "good"
    assert not earned(*[GOOD] * 7, record=record).on_trial


@settings(deadline=None)
@given(st.lists(st.sampled_from(OUTCOMES), max_size=60))
def test_good_results_raise_the_score_and_all_others_lower_it(outcomes):
    record = earned(*outcomes)
    assert 0 <= record.score <= 1
    for outcome in OUTCOMES:
        after = record.after(outcome, 0)
        assert (after.score > record.score) == (outcome == GOOD)
        assert sum(getattr(after, name.replace(" ", "_")) for name in OUTCOMES) == len(outcomes) + 1


def test_pauses_double_up_to_an_hour_and_shrink_with_good_results():
    now, record, lengths = 0.0, earned(LATE, LATE), []
    for _ in range(9):
        record = record.after(LATE, now)
        lengths.append(record.paused_until - now)
        now = record.paused_until
    assert lengths == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]
    record = earned(*[GOOD] * 7, now=now, record=record)
    assert record.pauses == 8
    assert earned(*[GOOD] * 8, now=now, record=record).pauses == 0


def test_what_ends_during_a_pause_is_no_reason_for_another():
    record = earned(*[LATE] * 3, now=10.0)
    assert (record.paused_until, record.pauses) == (10 + FIRST_PAUSE, 1)
    record = earned(*[LATE] * 30, now=39.0, record=record)
    assert (record.paused_until, record.pauses) == (10 + FIRST_PAUSE, 1)
    assert record.after(LATE, 40.0).paused_until == 40 + 2 * FIRST_PAUSE


def test_a_pause_does_not_last_longer_because_the_clock_was_set_back():
    record = earned(*[LATE] * 3, now=1e6)
    assert record.standing(1e6).kind == "paused"
    assert record.standing(5.0).kind == "good"


@settings(deadline=None)
@given(st.lists(st.sampled_from(OUTCOMES), max_size=30), st.floats(0, 1e12))
def test_a_record_survives_json(outcomes, now):
    record = earned(*outcomes, now=now)
    assert Reputation.from_dict(json.loads(json.dumps(record.to_dict()))) == record


GOOD_DICT = Reputation().to_dict()


@pytest.mark.parametrize(
    "values",
    [
        [],
        None,
        {},
        {**GOOD_DICT, "more": 1},
        {name: value for name, value in GOOD_DICT.items() if name != "lies"},
        {**GOOD_DICT, "score": "0.5"},
        {**GOOD_DICT, "score": 1.01},
        {**GOOD_DICT, "score": float("nan")},
        {**GOOD_DICT, "lies": float("inf")},
        {**GOOD_DICT, "completed": 1.0},
        {**GOOD_DICT, "completed": True},
        {**GOOD_DICT, "completed": -1},
        {**GOOD_DICT, "pauses": 2**60},
    ],
)
def test_a_damaged_record_is_refused(values):
    with pytest.raises(StateError, match="reputation"):
        Reputation.from_dict(values)


def test_whole_numbers_from_other_writers_become_floats():
    read = Reputation.from_dict({**GOOD_DICT, "paused_until": 0, "score": 1})
    assert repr(read) == repr(Reputation(score=1.0))


# What is known of a node

TRIAL = Reputation(score=0.1)
PAUSED = Reputation(score=0.1, timed_out=3, paused_until=25.0, pauses=1)
BARRED = Reputation(lies=5.0, invalid=5)


def member(address="n", models=("m",), slots=4, last_seen=0.0, **values):
    known = {"name": address, "last_seen": last_seen, **values}
    return Member(address=address, models=tuple(models), slots=slots, **known)


@pytest.mark.parametrize(
    ("values", "now", "free", "reason"),
    [
        ({}, 0, 4, "no task waits for its models"),
        ({"running": 1}, ALIVE_FOR, 3, "no task waits for its models"),
        ({"running": 4}, 0, 0, "busy"),
        ({"running": 5}, 0, 0, "busy"),
        ({"slots": 0}, 0, 0, "busy"),
        ({"draining": True, "running": 2}, 0, 0, "draining"),
        ({}, 12.4, 0, "not seen for 12 s"),
        ({"reputation": TRIAL}, 0, 1, "no task waits for its models"),
        ({"reputation": TRIAL, "slots": 0}, 0, 0, "busy"),
        (
            {"reputation": PAUSED},
            0,
            0,
            "paused for 25 s: 0 tasks completed, 0 rejected, 3 timed out, 0 invalid, 0 disputed",
        ),
        ({"reputation": PAUSED, "last_seen": 25.0}, 25, 1, "no task waits for its models"),
        (
            {"reputation": BARRED},
            0,
            0,
            "barred: 5 invalid messages and 0 lost spot checks",
        ),
        (
            {"reputation": TRIAL, "running": 1},
            0,
            0,
            (
                "busy: one task at a time: "
                "0 tasks completed, 0 rejected, 0 timed out, 0 invalid, 0 disputed"
            ),
        ),
    ],
)
def test_a_node_idles_for_a_reason(values, now, free, reason):
    node = member(**values)
    assert node.free(now) == free
    assert node.idle_reason(now, [Wanted(models=("other",))]) == reason


def test_a_free_node_idles_only_if_nothing_waits_that_it_has_not_lost():
    wanted = Wanted(models=("m",))
    assert member().idle_reason(0, [Wanted(models=("x",)), wanted]) == ""
    assert member().idle_reason(0, []) == "no task waits for its models"
    lost = wanted.evolve(lost_by=("n",))
    assert member().idle_reason(0, [lost]) == "it lost each task that waits for its models"
    assert member().idle_reason(0, [lost, wanted]) == ""


def test_a_member_is_a_node_of_its_network():
    info = NodeInfo(address="n", models=("m",), slots=4, running=2)
    assert member(running=2).info == info


# What a task needs


@pytest.mark.parametrize(
    ("named", "wanted"),
    [
        ([None], Wanted(models=("a", "b"))),
        (["k", ""], Wanted(models=("a", "b"), named=frozenset({"k"}))),
        (["k", "l"], Wanted(models=("a", "b"), named=frozenset({"k", "l"}), open_model=False)),
    ],
)
def test_a_task_says_what_it_needs(named, wanted):
    tasks = [task(str(i), model=name) for i, name in enumerate(named)]
    workflow = Workflow.parse(graph(*tasks, task("end", operator="end", model="never")))
    assert Wanted.of(Task(workflow=workflow, models=["a", "b"]), workflow) == wanted


def test_models_do_not_matter_if_each_generation_names_its_own():
    wanted = Wanted(models=("x",), named=frozenset({"m"}), open_model=False)
    assert wanted.fit(member().info) == Fit()
    assert place(wanted, [member()], 0) == Placement("n", "", "4 of 4 slots are free")


# Who gets a task

M = Wanted(models=("m",))


def test_most_free_slots_come_first_then_the_better_score_then_the_address():
    best = Reputation(score=0.9)
    nodes = [member("d", running=1, reputation=best), member("c"), member("b"), member("a")]
    assert place(M, nodes, 0).node == "a"
    assert place(M, [*nodes, member("e", reputation=best)], 0).node == "e"
    assert place(M, [*nodes, member("f", slots=5)], 0) == Placement(
        "f", "m", "5 of 5 slots are free"
    )


@pytest.mark.parametrize(
    ("wanted", "model"),
    [
        (Wanted(), "m"),
        (Wanted(models=("x", "k")), "k"),
        (Wanted(models=("q",)), "q:latest"),
        (Wanted(named=frozenset({"k"})), "m"),
    ],
)
def test_the_model_is_the_one_that_the_node_has(wanted, model):
    assert place(wanted, [member(models=("m", "k", "q:latest"))], 0).model == model


BUSY = {"running": 4}


@pytest.mark.parametrize(
    ("wanted", "nodes", "reason"),
    [
        (M, [], "no node is connected"),
        (
            Wanted(models=("x",)),
            [member("a"), member("b", ["k", "m"])],
            "nobody serves 'x'; served are 'm', 'k'",
        ),
        (
            Wanted(models=("x", "y")),
            [member("a", ()), member("b", last_seen=-99)],
            "nobody serves 'x' or 'y'; served are no models",
        ),
        (Wanted(models=("x",)), [member(last_seen=-99)], "nobody serves 'x'; served are 'm'"),
        (
            Wanted(named=frozenset({"x"})),
            [member()],
            "nobody serves 'x', which the workflow names; served are 'm'",
        ),
        (
            Wanted(named=frozenset({"m", "k"}), open_model=False),
            [member("a"), member("b", ["k"])],
            (
                "no node serves all that it needs, some not 'k', which the workflow names, "
                "others not 'm', which the workflow names; served are 'm', 'k'"
            ),
        ),
        (
            Wanted(),
            [member(models=["*"])],
            "it needs a name: say --model NAME, or Task(models=[NAME]); served are '*'",
        ),
        (M, [member(**BUSY), member("b", ["k"])], "the only node that serves it is busy"),
        (M, [member(last_seen=-12)], "the only node that serves it is not seen for 12 s"),
        (M, [member(c, **BUSY) for c in "abc"], "the 3 nodes that serve it are busy"),
        (
            M,
            [member(reputation=PAUSED)],
            (
                "the only node that serves it is paused for 25 s: "
                "0 tasks completed, 0 rejected, 3 timed out, 0 invalid, 0 disputed"
            ),
        ),
        (
            M,
            [member("a", **BUSY), member("b", **BUSY), member("c", draining=True)],
            "no node that serves it is free: 2 busy, 1 draining",
        ),
        (
            M.evolve(lost_by=("a", "a")),
            [member("a"), member("b", **BUSY)],
            "node a lost it; others that serve it are busy",
        ),
    ],
)
def test_a_task_waits_for_a_reason(wanted, nodes, reason):
    assert place(wanted, nodes, 0) == Placement(reason=reason)
    roster = Roster()
    for node in nodes:
        roster.update(node)
    assert roster.place(wanted, 0) == Placement(reason=reason)
    assert roster.place(wanted, 0) == Placement(reason=reason)


def test_long_lists_of_models_are_cut():
    node = member(models=[f"model {i} {'x' * 500}" for i in range(50)])
    reason = place(Wanted(models=("x",)), [node], 0).reason
    assert reason.endswith("and 30 more")
    assert len(reason) < 2000


def test_who_lost_a_task_does_not_get_it_while_another_live_node_serves_it():
    lost = M.evolve(lost_by=("a",))
    assert place(lost, [member("a", slots=9), member("b", running=3)], 0).node == "b"
    assert place(lost, [member("a"), member("b", **BUSY)], 0).node == ""
    again = "all that serve it lost it; this one longest ago"
    for gone in ({"last_seen": -99}, {"draining": True}, {"reputation": PAUSED}, {"models": ["k"]}):
        assert place(lost, [member("a"), member("b", **gone)], 0) == Placement("a", "m", again)


def test_of_those_that_lost_a_task_the_one_gets_it_that_did_so_longest_ago():
    nodes = [member("a", slots=9), member("b")]
    assert place(M.evolve(lost_by=("b", "a")), nodes, 0).node == "b"
    assert place(M.evolve(lost_by=("b", "a", "b")), nodes, 0).node == "a"


def test_others_are_live_nodes_that_serve_a_task_and_have_not_lost_it():
    nodes = [member("a"), member("b", **BUSY), member("c", ["k"]), member("d", draining=True)]
    assert count_others(M, nodes, 0) == 2
    assert count_others(M.evolve(lost_by=("a", "x")), nodes, 0) == 1
    assert count_others(M, nodes, 99) == 0


# The roster places as `place` does

NAMES = "abcdef"
MODELS = st.lists(st.sampled_from(["m", "k", "q:latest", "*"]), unique=True, max_size=3)
RECORDS = st.sampled_from([Reputation(), Reputation(score=0.9), TRIAL, PAUSED, BARRED])
WANTED = st.builds(
    Wanted,
    models=st.lists(st.sampled_from(["m", "k", "q", "x"]), max_size=2).map(tuple),
    named=st.frozensets(st.sampled_from(["m", "k"]), max_size=2),
    lost_by=st.lists(st.sampled_from(NAMES), max_size=3).map(tuple),
    open_model=st.booleans(),
)
STEPS = st.one_of(
    st.tuples(
        st.just("update"),
        st.sampled_from(NAMES),
        MODELS,
        st.integers(0, 3),
        st.integers(0, 3),
        st.booleans(),
        RECORDS,
    ),
    st.tuples(st.just("beat"), st.sampled_from(NAMES)),
    st.tuples(st.just("remove"), st.sampled_from(NAMES)),
    st.tuples(st.just("give back"), st.sampled_from(NAMES)),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 3.0, 11.0, 26.0])),
    st.tuples(st.just("place"), WANTED),
    st.tuples(st.just("place"), st.just(M)),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(STEPS, max_size=60))
def test_the_roster_chooses_what_asking_every_node_would_choose(steps):
    roster, now = Roster(), 0.0
    for kind, *values in steps:
        if kind == "update":
            name, models, slots, running, draining, record = values
            state = {"running": running, "draining": draining, "reputation": record}
            roster.update(member(name, models, slots, now, **state))
        elif kind == "beat" and values[0] in roster.members:
            roster.update(roster.members[values[0]].evolve(last_seen=now))
        elif kind == "remove":
            roster.remove(values[0])
        elif kind == "give back":
            roster.give_back(values[0])
        elif kind == "wait":
            now += values[0]
        elif kind == "place":
            chosen = roster.place(values[0], now)
            plain = place(values[0], roster.members.values(), now)
            assert (chosen.node, chosen.model) == (plain.node, plain.model)
            assert chosen.reason
            if chosen.node:
                assert chosen.reason == plain.reason
                roster.take(chosen.node)


def test_a_pause_that_ends_needs_no_news_of_the_node():
    roster = Roster()
    roster.update(member(reputation=PAUSED, last_seen=20.0))
    assert roster.place(M, 24.0).node == ""
    roster.update(member(reputation=PAUSED, last_seen=24.0))
    assert roster.place(M, 24.5).node == ""
    assert roster.place(M, 25.0).node == "n"
    roster.update(member(reputation=PAUSED.evolve(paused_until=30.0), last_seen=26.0))
    assert roster.place(M, 26.0).node == ""
    roster.remove("n")
    assert roster.place(M, 31.0) == Placement(reason="no node is connected")


def test_tasks_are_spread_over_the_nodes():
    roster, given_to = Roster(), []
    for name in "abc":
        roster.update(member(name, slots=2))
    for _ in range(6):
        given_to.append(roster.place(M, 0).node)
        roster.take(given_to[-1])
    assert given_to == ["a", "b", "c", "a", "b", "c"]
    assert roster.place(M, 0).node == ""


def test_a_pause_that_was_made_longer_does_not_end_early():
    roster = Roster()
    for until, now in ((25.0, 24.0), (60.0, 24.5)):
        roster.update(member(reputation=PAUSED.evolve(paused_until=until), last_seen=now))
        assert roster.place(M, now).node == ""
    assert roster.place(M, 30.0).node == ""
    roster.update(roster.members["n"].evolve(last_seen=59.0))
    assert roster.place(M, 60.0).node == "n"


def test_a_node_that_goes_while_it_is_paused_is_not_woken():
    roster = Roster()
    roster.update(member("a", reputation=PAUSED, last_seen=20.0))
    roster.update(member("b", running=4, last_seen=20.0))
    assert roster.place(M, 24.0).node == ""
    roster.remove("a")
    assert roster.place(M, 26.0).reason == "the only node that serves it is busy"


def test_slots_are_taken_and_given_back():
    roster = Roster()
    roster.update(member(slots=1))
    assert roster.place(M, 0).node == "n"
    roster.take("n")
    assert roster.place(M, 0).node == ""
    roster.give_back("n")
    assert roster.place(M, 0).node == "n"
    roster.give_back("n")
    roster.give_back("gone")
    assert roster.members["n"].running == 0
    with pytest.raises(KeyError):
        roster.take("gone")


def test_a_reason_to_wait_is_found_once_a_second():
    roster = Roster()
    roster.update(member(last_seen=0.0))
    said = "the only node that serves it is not seen for {} s"
    assert roster.place(M, 12.0).reason == said.format(12)
    assert roster.place(M, 12.9).reason == said.format(12)
    assert roster.place(M, 13.0).reason == said.format(13)
    roster.update(member("b", running=4, last_seen=13.0))
    assert roster.place(M, 13.0).reason == "no node that serves it is free: 1 not seen, 1 busy"


def test_ever_new_models_do_not_fill_the_memory():
    roster = Roster()
    roster.update(member())
    for number in range(2 * MOST_ROUTES):
        assert roster.place(Wanted(models=(str(number),)), 0).node == ""
        assert roster.place(M, 0).node == "n"
    assert len(roster._routes) == MOST_ROUTES


def test_a_route_does_not_grow_with_the_tasks_that_it_placed():
    nodes = {name: member(name) for name in NAMES}
    route = Route(M, nodes)
    for number in range(1000):
        route.offer((-4 - number, -0.5, "a"))
        route.offer((-4, -0.5, "unknown"))
    assert len(route._heap) < 100
    assert route.pop() == (-1003, -0.5, "a")
    assert route.pop() == (-4, -0.5, "b")


def test_a_thousand_nodes_do_not_slow_a_placement_down():
    roster = Roster()
    for number in range(1000):
        roster.update(member(f"{number:04}", slots=4))
    roster.place(M, 0)
    start = time.process_time()
    for _ in range(2000):
        placement = roster.place(M, 0)
        roster.take(placement.node)
        roster.give_back(placement.node)
    # Measured: 0.03 s. Asking every node each time takes 5 s.
    assert time.process_time() - start < 1


# What follows from a loss


def losses(*pairs):
    return [Loss(kind, node, f"error {i}") for i, (kind, node) in enumerate(pairs)]


@pytest.mark.parametrize(
    ("pairs", "others", "kind", "outcome"),
    [
        ([("never started", "a")], 0, "again", LATE),
        ([("never started", c) for c in "abcdefgh"], 0, "again", LATE),
        ([("invalid", c) for c in "abcdefgh"], 1, "again", LIE),
        ([("handed back", c) for c in "abcdefgh"], 0, "again", "rejected"),
        ([("lost", "a")], 0, "again", LATE),
        ([("lost", "a")] * 2, 0, "again", LATE),
        ([("lost", "a")] * 3, 0, "failed", LATE),
        ([("lost", "a"), ("stalled", "b")], 0, "again", LATE),
        ([("lost", "a"), ("stalled", "b"), ("failed", "c")], 1, "failed", "rejected"),
        ([("lost", "a"), ("stalled", "b"), ("lost", "c")], 0, "failed", LATE),
        ([("stalled", "a")] * 99, 1, "again", LATE),
        ([("stalled", "a")] * 99 + [("lost", "b")], 1, "again", LATE),
        ([("failed", "a")], 0, "failed", "rejected"),
        ([("failed", "a")], 1, "again", "rejected"),
        ([("failed", "a"), ("failed", "b")], 1, "again", None),
        ([("failed", "a"), ("failed", "b")], 0, "failed", None),
        ([("failed", "a"), ("failed", "a")], 1, "again", "rejected"),
        ([("failed", "a"), ("lost", "b")], 0, "again", LATE),
        ([("lost", "a"), ("lost", "b"), ("invalid", "c")], 0, "again", LIE),
    ],
)
def test_what_follows_from_losses(pairs, others, kind, outcome):
    verdict = decide_loss(losses(*pairs), others, final=False)
    assert (verdict.kind, verdict.outcome) == (kind, outcome)
    assert f"error {len(pairs) - 1}" in verdict.reason


def test_a_task_that_three_nodes_lost_fails_with_all_their_reasons():
    lost = [
        Loss("lost", "a"),
        Loss("never started", "x"),
        Loss("stalled", "b", "60 s without\n\nprogress"),
        Loss("failed", "c", "EndpointError: the server is down " + "x" * 1000),
    ]
    verdict = decide_loss(lost, others=5, final=False)
    start = (
        "it was started and lost 3 times: node a lost it; node b made no progress: 60 s without "
        "progress; node c failed: EndpointError: the server is down xxx"
    )
    assert verdict.reason.startswith(start)
    assert len(verdict.reason) < 500


def test_a_failure_of_the_workflow_itself_ends_the_task_and_is_work_well_done():
    verdict = decide_loss([Loss("failed", "a", "LimitError: 5 steps")], others=9, final=True)
    reason = "the workflow itself fails: node a failed: LimitError: 5 steps"
    assert verdict == Verdict("failed", "completed", reason)


KINDS = ("never started", "lost", "stalled", "handed back", "failed", "invalid")
LOSSES = st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(NAMES)), min_size=1)


@settings(deadline=None)
@given(LOSSES, st.integers(1, 5))
def test_fewer_than_three_nodes_never_condemn_a_task_that_others_serve(pairs, others):
    verdict = decide_loss(losses(*pairs), others, final=False)
    against = {node for kind, node in pairs if kind in {"lost", "stalled", "failed"}}
    if len(against) < MOST_LOSSES:
        assert verdict.kind == "again"
    if pairs[-1][0] in {"never started", "handed back", "invalid"}:
        assert verdict.kind == "again"


@settings(deadline=None)
@given(LOSSES)
def test_every_loss_says_why(pairs):
    for others in (0, 1):
        assert pairs[-1][1] in decide_loss(losses(*pairs), others, final=False).reason


# Spot checks

SECRET = bytes(range(32))
LONG = [
    """\
As a beekeeper I look after forty hives on the edge of a small forest, and every spring I count
how many of the colonies have come through the winter. What do you think is the best way to help
a weak colony without robbing the stronger ones of their brood?""",
    """\
A weak colony needs warmth and food before anything else. You could reduce the space of the hive,
feed a thin syrup, and add a frame of sealed brood from a strong colony, which will hardly miss
it. Watch the queen for some weeks; if she lays badly, unite the colony with another one in the
evening, with a sheet of newspaper between the two boxes.""",
]
OTHER_DRAW = [
    """\
As a beekeeper I have kept bees on the edge of a village for twenty years, and each spring some
of my colonies are weak after the winter. Could you tell me what I should do with a weak colony
so that it does not die before the first flowers?""",
    """\
The first thing that a weak colony needs is a smaller hive, which the bees can keep warm. Then
feed it with syrup, and give it a frame of brood from one of the strong colonies. If the queen
does not lay well after some weeks, you should unite it with another colony. Do so in the
evening of a warm day, when most of the bees are at home, and put newspaper between the boxes.""",
]
FILLER = ["I'm sorry, but I can't help with that."] * 2
ZEROS = ["0" * 400] * 2


def test_the_chosen_share_of_tasks_is_checked():
    names = [f"task {i}" for i in range(10_000)]
    chosen = sum(is_chosen(name, 0.1, SECRET) for name in names)
    assert 900 < chosen < 1100
    assert not any(is_chosen(name, 0.0, SECRET) for name in names)
    assert all(is_chosen(name, 1.0, SECRET) for name in names)
    # Who is chosen for a smaller share is chosen for a larger one, and each time anew.
    assert all(is_chosen(n, 0.2, SECRET) for n in names if is_chosen(n, 0.1, SECRET))


def test_another_secret_chooses_other_tasks():
    names = [f"task {i}" for i in range(1000)]
    other = SECRET[::-1]
    both = sum(is_chosen(n, 0.1, SECRET) and is_chosen(n, 0.1, other) for n in names)
    assert both < 40


@settings(deadline=None)
@given(st.text(), st.floats(0, 1))
def test_any_name_is_chosen_or_not(name, share):
    assert is_chosen(name, share, SECRET) in {True, False}
    assert is_chosen("\ud800", 1.0, SECRET)


@pytest.mark.parametrize("secret", [b"", b"short", bytes(65)])
def test_a_secret_that_can_be_guessed_is_refused(secret):
    with pytest.raises(InvalidInputError, match="16 to 64"):
        is_chosen("t", 0.5, secret)


def test_the_same_texts_agree():
    assert compare(LONG, list(LONG)) == Comparison(True, 1.0, "the texts are the same")
    assert compare([], []).agree


def test_another_draw_of_the_same_model_agrees():
    found = compare(LONG, OTHER_DRAW)
    assert found.agree
    assert 0.5 < found.likeness < 0.9
    assert found.reason.startswith("they part after 17 characters, and their likeness is 0.")


@pytest.mark.parametrize("cheat", [FILLER, ZEROS, [], ["ok", "ok"]])
def test_stock_answers_do_not_agree_with_a_dialogue(cheat):
    assert not compare(LONG, cheat).agree
    assert not compare(cheat, LONG).agree
    assert compare(LONG, cheat).reason.endswith("runs of one model have 0.25 or more")


def test_short_texts_tell_nothing():
    found = compare(["Why?"], ["Bees."])
    assert found.agree
    assert found.reason.endswith("which tells nothing of so short texts")


def test_scripts_without_an_alphabet_are_not_measured():
    one, two = ["蜂" * 700], ["花" * 700]
    assert compare(one, two).agree
    assert not compare(one, LONG).agree


@settings(deadline=None)
@given(st.lists(st.text(max_size=400), max_size=4), st.lists(st.text(max_size=400), max_size=4))
def test_comparing_does_not_depend_on_the_order(first, second):
    one, two = compare(first, second), compare(second, first)
    assert (one.agree, one.reason) == (two.agree, two.reason)
    assert 0 <= one.likeness <= 1


@pytest.mark.parametrize(
    ("runs", "liars", "reason"),
    [
        ((LONG, OTHER_DRAW), (), "all agree"),
        ((LONG, FILLER), (), "the two disagree, and only a third can decide: "),
        ((LONG, FILLER, OTHER_DRAW), (1,), "the other two agree, and this one with neither: "),
        ((ZEROS, OTHER_DRAW, LONG), (0,), "the other two agree, and this one with neither: "),
        ((LONG, OTHER_DRAW, FILLER), (2,), "the other two agree, and this one with neither: "),
        ((LONG, ["蜂" * 700], ZEROS), (), "no two agree, so nobody is outvoted"),
        ((LONG, OTHER_DRAW, LONG), (), "all agree"),
    ],
)
def test_two_that_agree_outvote_one(runs, liars, reason):
    found = judge(*runs)
    assert found.liars == liars
    assert found.reason.startswith(reason)


def test_who_goes_with_both_of_two_that_disagree_condemns_nobody():
    mixed = [LONG[0] + "0" * 25, "0" * 40]
    assert judge(LONG, mixed, ZEROS) == Judgement(
        (), "one goes with both of the others, so nobody is outvoted"
    )
