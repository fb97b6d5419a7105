"""Every row of a plan is a function of the recipe and its number."""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dria_magpie.errors import InvalidInputError
from dria_magpie.magpie.chance import SEEDS, draw
from dria_magpie.models import Sampling
from dria_magpie.sweep.plan import Plan
from dria_magpie.sweep.plan.chance import Shuffle
from dria_magpie.sweep.plan.plan import ATTEMPTS_WITH_OWN_SEEDS
from dria_magpie.sweep.recipe import Recipe
from dria_magpie.workflow import ExecutionState, NextCall, advance

calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=150)


def people(letter: str, number: int) -> list[str]:
    return [f"{letter}{n}" for n in range(number)]


def make_plan(number: int = 5, **values) -> Plan:
    return Plan.of(Recipe.of({"personas": people("p", number), **values}))


def make_plan_of_two(instructors: int, responders: int, **values) -> Plan:
    sides = {"instructors": people("i", instructors), "responders": people("r", responders)}
    return Plan.of(Recipe.of({**sides, **values}))


def pairs_of(plan: Plan) -> list[tuple[str, str]]:
    return [(row.origin["instructor_persona"], row.origin["responding_persona"]) for row in plan]


turns = st.tuples(st.integers(1, 20), st.integers(0, 20)).map(lambda t: [t[0], t[0] + t[1]])


@st.composite
def recipes(draw):
    values = {"seed": draw(st.integers(0, 2**63 - 1)), "turns": draw(turns)}
    first, second = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    kind = draw(st.sampled_from(["zip", "product", "random"]))
    values["pairing"] = {"kind": kind}
    if kind == "zip":
        second = first
    if draw(st.booleans()) and kind != "zip":
        first += 1
        values["personas"] = people("p", first)
        count = first * (first - 1)
    else:
        values["instructors"] = people("i", first)
        values["responders"] = people("r", second)
        count = first if kind == "zip" else first * second
    if kind == "random":
        if draw(st.booleans()):
            count = values["pairing"]["count"] = draw(st.integers(1, count))
        if draw(st.booleans()):
            values["pairing"]["seed"] = draw(st.integers(0, 5))
    if draw(st.booleans()):
        count = values["rows"] = draw(st.integers(1, 300))
    if draw(st.booleans()):
        values["models"] = [
            {"name": f"m{n}", "weight": draw(st.floats(0.1, 10))}
            for n in range(draw(st.integers(1, 4)))
        ]
    return values, count


# Any plan


@given(recipes())
@calm
def test_the_same_recipe_gives_the_same_rows(made):
    values, count = made
    first, second = Plan.of(Recipe.of(values)), Plan.of(Recipe.of(values))
    rows = list(first)
    assert rows == list(second) == [first[number] for number in range(len(first))]
    assert len(rows) == len(first) == count
    assert [row.number for row in rows] == list(range(count))


@given(recipes())
@calm
def test_ids_are_unique_and_sort_as_a_million_rows_do(made):
    plan = Plan.of(Recipe.of(made[0]))
    ids = [row.id for row in plan]
    assert len(set(ids)) == len(ids)
    assert ids == sorted(ids)


@given(recipes(), st.integers(1, 100))
@calm
def test_more_rows_leave_the_first_ones_as_they_are(made, more):
    values, count = made
    longer = Plan.of(Recipe.of({**values, "rows": count + more}))
    rows = list(longer)
    assert rows[:count] == list(Plan.of(Recipe.of(values)))
    assert len(rows) == count + more


@given(recipes(), st.integers(1, 100))
@calm
def test_limits_change_no_row(made, most):
    values, _ = made
    limits = {"rows": most, "tokens": most, "seconds": most}
    limited = Plan.of(Recipe.of({**values, "limits": limits}))
    assert list(limited) == list(Plan.of(Recipe.of(values)))


@given(recipes())
@calm
def test_turns_stay_within_their_range(made):
    low, high = made[0]["turns"]
    assert all(low <= row.turns <= high for row in Plan.of(Recipe.of(made[0])))


@given(recipes(), st.data())
@calm
def test_no_two_calls_of_rows_or_attempts_share_a_seed(made, data):
    plan = Plan.of(Recipe.of(made[0]))
    rows = data.draw(st.lists(st.integers(0, len(plan) - 1), max_size=4, unique=True))
    tries = data.draw(
        st.lists(st.integers(0, ATTEMPTS_WITH_OWN_SEEDS - 1), min_size=1, max_size=3, unique=True)
    )
    assert len(plan) * ATTEMPTS_WITH_OWN_SEEDS * 2 * made[0]["turns"][1] < SEEDS
    seeds = []
    for number, attempt in itertools.product(rows, tries):
        first, second = seeds_of(plan, number, attempt)
        assert first == second
        calls = 2 * plan[number].turns
        assert 0 <= first < SEEDS
        seeds += [(first + call) % SEEDS for call in range(calls)]
    assert len(set(seeds)) == len(seeds)


def seeds_of(plan: Plan, number: int, attempt: int) -> tuple[int, int]:
    instructor, responder, _ = plan.task(plan[number], attempt).workflow.tasks
    return instructor.sampling.seed, responder.sampling.seed


@pytest.mark.parametrize("seed", range(40))
def test_seeds_that_run_over_the_end_begin_again_and_stay_apart(seed):
    """The first row's seed is anywhere, so that later rows may wrap around."""
    plan = make_plan(3, rows=400, turns=10_000, seed=seed)
    firsts = sorted(plan[number].seed for number in range(400))
    gaps = [b - a for a, b in itertools.pairwise([*firsts, firsts[0] + SEEDS])]
    assert min(gaps) >= 8 * 2 * 10_000


def test_the_seed_of_a_row_is_that_of_its_first_attempt():
    plan = make_plan(4, turns=[1, 5])
    assert all(seeds_of(plan, row.number, 0)[0] == row.seed for row in plan)


def test_another_seed_gives_other_rows():
    plans = [list(make_plan(8, seed=seed, turns=[1, 50], pairing="random")) for seed in (1, 2)]
    for what in ("id", "seed", "turns"):
        assert [getattr(row, what) for row in plans[0]] != [getattr(row, what) for row in plans[1]]
    assert pairs_of(make_plan(8, seed=1, pairing="random")) != pairs_of(
        make_plan(8, seed=2, pairing="random")
    )


# Turns and models


def test_every_number_of_turns_occurs_about_as_often_as_others():
    drawn = Counter(row.turns for row in make_plan(5, rows=20_000, turns=[2, 6]))
    assert set(drawn) == {2, 3, 4, 5, 6}
    assert all(abs(number - 4000) < 300 for number in drawn.values())


def test_models_get_their_shares():
    models = [{"name": "a", "weight": 2}, {"name": "b", "weight": 0.5}, "c"]
    drawn = Counter(row.model for row in make_plan(5, rows=20_000, models=models))
    shares = {"a": 2 / 3.5, "b": 0.5 / 3.5, "c": 1 / 3.5}
    assert set(drawn) == set(shares)
    for name, share in shares.items():
        spread = math.sqrt(20_000 * share * (1 - share))
        assert abs(drawn[name] - 20_000 * share) < 4 * spread


def test_turns_and_models_are_drawn_apart_from_each_other():
    rows = make_plan(5, rows=20_000, turns=[1, 2], models=["a", "b"])
    drawn = Counter((row.turns, row.model) for row in rows)
    assert all(abs(number - 5000) < 300 for number in drawn.values())
    assert len(drawn) == 4


def test_the_largest_and_least_weights_are_drawn_as_well():
    models = [{"name": "a", "weight": 1e9}, {"name": "b", "weight": 1e9}, {"name": "c"}]
    drawn = Counter(row.model for row in make_plan(5, rows=1000, models=models))
    assert abs(drawn["a"] - 500) < 80
    assert drawn["c"] <= 1
    tiny = [{"name": "a", "weight": 1e-300}, {"name": "b", "weight": 1e-300}]
    drawn = Counter(row.model for row in make_plan(5, rows=1000, models=tiny))
    assert abs(drawn["a"] - 500) < 80


def test_without_models_a_row_names_none():
    plan = make_plan()
    assert plan[0].model == ""
    assert plan.task(plan[0]).models == ()


# Pairs


@pytest.mark.parametrize(("first", "second"), [(1, 1), (1, 5), (4, 3), (7, 7)])
def test_a_product_has_each_pair_once_in_the_order_of_the_lists(first, second):
    everyone = list(itertools.product(people("i", first), people("r", second)))
    assert pairs_of(make_plan_of_two(first, second)) == everyone


@pytest.mark.parametrize("number", [2, 3, 10])
def test_in_one_list_everyone_talks_to_everyone_else(number):
    everyone = list(itertools.permutations(people("p", number), 2))
    assert pairs_of(make_plan(number)) == everyone


@pytest.mark.parametrize("pairing", ["product", "random"])
def test_the_same_persona_twice_in_a_list_is_two_people(pairing):
    plan = Plan.of(Recipe.of({"personas": ["a", "a", "b"], "pairing": pairing}))
    assert Counter(pairs_of(plan)) == Counter(itertools.permutations(["a", "a", "b"], 2))


def test_zip_pairs_the_first_with_the_first():
    assert pairs_of(make_plan_of_two(3, 3, pairing="zip")) == [
        ("i0", "r0"),
        ("i1", "r1"),
        ("i2", "r2"),
    ]


@pytest.mark.parametrize(("first", "second"), [(1, 1), (1, 2), (2, 3), (9, 14)])
@pytest.mark.parametrize("seed", [0, 1, 2**62])
def test_random_pairs_are_all_of_the_product_in_another_order(first, second, seed):
    plan = make_plan_of_two(first, second, pairing={"kind": "random", "seed": seed})
    everyone = list(itertools.product(people("i", first), people("r", second)))
    assert sorted(pairs_of(plan)) == sorted(everyone)
    assert len(everyone) < 100 or pairs_of(plan) != everyone


@pytest.mark.parametrize("count", [1, 7, 89, 90])
def test_random_pairs_are_as_many_as_count_and_none_twice(count):
    plan = make_plan(10, pairing={"kind": "random", "count": count})
    pairs = pairs_of(plan)
    assert len(plan) == len(set(pairs)) == count
    assert all(first != second for first, second in pairs)
    assert pairs == pairs_of(make_plan(10, pairing="random"))[:count]


def test_the_seed_of_the_pairing_is_the_recipes_by_default():
    assert pairs_of(make_plan(9, pairing={"kind": "random", "seed": 5}, seed=1)) == pairs_of(
        make_plan(9, pairing="random", seed=5)
    )


def test_random_pairs_bring_everyone_about_as_often():
    plan = make_plan_of_two(10, 100, pairing={"kind": "random", "count": 500})
    instructors = Counter(row.origin["instructor_persona"] for row in plan)
    assert all(abs(number - 50) < 25 for number in instructors.values())
    assert len(instructors) == 10


def test_rows_beyond_the_pairs_repeat_them_with_other_seeds():
    plan = make_plan(3, pairing="random", rows=20)
    pairs = pairs_of(plan)
    assert pairs[6:12] == pairs[:6]
    assert pairs[18:] == pairs[:2]
    assert len({row.seed for row in plan}) == 20


def test_fewer_rows_than_pairs_take_the_first_ones():
    assert pairs_of(make_plan(3, rows=2)) == [("p0", "p1"), ("p0", "p2")]


def test_zip_takes_as_many_instructors_as_responders():
    with pytest.raises(InvalidInputError, match=r"as many responders \(2\) as instructors \(3\)"):
        make_plan_of_two(3, 2, pairing="zip")


@pytest.mark.parametrize("pairing", ["product", "random", {"kind": "random", "count": 1}])
def test_one_persona_alone_is_refused(pairing):
    with pytest.raises(InvalidInputError, match="one persona alone"):
        make_plan(1, pairing=pairing)


def test_more_pairs_than_there_are_is_refused():
    with pytest.raises(InvalidInputError, match=r"pairing\.count is 7, but there are 6 pairs"):
        make_plan(3, pairing={"kind": "random", "count": 7})


# Order by chance


def test_a_shuffle_gives_each_number_once():
    powers = {near for power in range(12) for near in (2**power - 1, 2**power, 2**power + 1)}
    for size in sorted({*range(1, 200), *range(200, 2001, 150), *powers} & {*range(1, 2001)}):
        shuffle = Shuffle(size, size % 3)
        assert {shuffle[position] for position in range(size)} == set(range(size))


@pytest.mark.parametrize("size", [2**31 + 1, 10**12, 2**62 - 1])
def test_a_huge_shuffle_is_quick_and_gives_no_number_twice(size):
    shuffle = Shuffle(size, 3)
    positions = {*range(2000), *range(size - 2000, size)}
    started = time.perf_counter()
    drawn = {shuffle[position] for position in positions}
    assert time.perf_counter() - started < 5
    assert len(drawn) == len(positions)
    assert min(drawn) >= 0
    assert max(drawn) < size


def test_a_shuffle_puts_numbers_anywhere():
    firsts = Counter(Shuffle(5, seed)[0] for seed in range(2000))
    assert all(abs(firsts[number] - 400) < 100 for number in range(5))


@given(st.integers() | st.text(max_size=5), st.text(max_size=5), st.integers())
def test_what_is_drawn_is_the_same_each_time(seed, purpose, number):
    assert draw(seed, purpose, number) == draw(seed, purpose, number)
    assert 0 <= draw(seed, purpose, number) < 2**64


def test_what_is_drawn_stays_the_same_over_versions():
    """A run that another version began must go on with the rows that it was planned with."""
    assert draw(7, "seed", 0) == 11290707749017792579
    assert [Shuffle(10, 7)[position] for position in range(10)] == [0, 4, 6, 3, 1, 5, 7, 9, 8, 2]


# What stays the same, and what makes it another sweep

FIXED = {
    "turns": 2,
    "topic": "the sea",
    "language": "Turkish",
    "models": ["m"],
    "sampling": {"temperature": 0.5},
    "instructor_sampling": {"temperature": 0.5},
    "responder_sampling": {"temperature": 0.5},
    "seed": 5,
    "retries": 7,
    "pairing": "random",
}


FIXED_SELF_SYNTHESIS = {
    "system_prompts": ["For {persona}"],
    "end_with_user": True,
    "only_instruction": True,
    "instruction_sampling": {"temperature": 0.5},
    "response_sampling": {"temperature": 0.5},
}


@pytest.mark.parametrize("key", FIXED_SELF_SYNTHESIS)
def test_the_digest_of_self_synthesis_changes_with_a_key_that_is_fixed(key):
    plan, other = (
        make_plan(kind="self_synthesis", **values)
        for values in ({}, {key: FIXED_SELF_SYNTHESIS[key]})
    )
    assert plan.digest != other.digest
    assert make_plan().digest not in {plan.digest, other.digest}


@pytest.mark.parametrize("key", FIXED)
def test_the_digest_changes_with_a_key_that_is_fixed(key):
    plan = make_plan(**{key: FIXED[key]})
    assert plan.digest != make_plan().digest
    assert plan[0].id != make_plan()[0].id


def test_every_key_is_fixed_or_may_change_or_says_who_talks():
    may_change = {"rows", "limits"}
    personas = {"personas", "instructors", "responders"}
    fixed = {"kind", *FIXED, *FIXED_SELF_SYNTHESIS}
    assert fixed | may_change | personas == set(Recipe.model_fields)


@pytest.mark.parametrize(
    "values", [{"rows": 3}, {"limits": {"rows": 1, "tokens": 5, "seconds": 5}}, {"turns": [1, 1]}]
)
def test_the_digest_stays_with_what_may_change(values):
    assert make_plan(**values).digest == make_plan().digest


@pytest.mark.parametrize(
    "personas",
    [
        ["p0", "p1"],
        ["p0", "p1", "p3"],
        ["p0", "p2", "p1"],
        ["p0", "p1", "p2", "p3"],
        ["p0p1", "p2"],
    ],
)
def test_the_digest_changes_with_the_personas(personas):
    other = Plan.of(Recipe.of({"personas": personas}))
    assert other.digest != make_plan(3).digest


def test_two_equal_lists_are_not_one_list():
    both = {"instructors": people("p", 3), "responders": people("p", 3)}
    assert Plan.of(Recipe.of(both)).digest != make_plan(3).digest


def test_the_digest_changes_where_a_persona_changes_sides():
    one = Plan.of(Recipe.of({"instructors": ["a", "b"], "responders": ["c"]}))
    two = Plan.of(Recipe.of({"instructors": ["a"], "responders": ["b", "c"]}))
    assert one.digest != two.digest


def test_the_digest_does_not_depend_on_where_the_personas_stand(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "p.txt").write_text("p0\np1\np2\n")
    (tmp_path / "a" / "other.csv").write_text("persona\np0\np1\np2\n")
    digests = {
        Plan.of(Recipe.of({"personas": source})).digest
        for source in (
            people("p", 3),
            str(tmp_path / "p.txt"),
            {"file": str(tmp_path / "a" / "other.csv"), "column": "persona"},
        )
    }
    assert len(digests) == 1


def test_the_digest_stays_the_same_over_versions():
    assert make_plan(3).digest.startswith("e0e88cba02a00fa131164f7be569710b")


# The task of a row


def test_a_task_is_the_dialogue_of_its_row():
    plan = make_plan(3, turns=[2, 4], topic="the sea", language="Turkish", models=["m"])
    row = plan[4]
    task = plan.task(row)
    assert (task.id, task.models) == (row.id, ("m",))
    assert task.workflow.external_memory == {
        "instructor_persona": row.origin["instructor_persona"],
        "responding_persona": row.origin["responding_persona"],
        "topic": "the sea",
        "language": "Turkish",
    }
    assert calls_of(task.workflow) == [row.seed + call for call in range(2 * row.turns)]


def calls_of(workflow) -> list[int]:
    """Give the seeds of all calls of a dialogue."""
    state, seeds = ExecutionState.start(workflow), []
    while True:
        outcome = advance(workflow, state)
        if not isinstance(outcome, NextCall):
            return seeds
        seeds.append(outcome.request.sampling.seed)
        state = outcome.state.with_output(workflow, "said")


def test_the_samplings_of_the_sides_come_on_top_of_the_one_for_both():
    plan = make_plan(
        sampling={"temperature": 0.8, "max_tokens": 80, "stop": ["A"]},
        instructor_sampling={"max_tokens": 40, "top_p": 0.9},
        responder_sampling={"temperature": 0, "stop": ["B", "C"]},
    )
    row = plan[0]
    instructor, responder, end = plan.task(row).workflow.tasks
    assert instructor.sampling == Sampling(
        temperature=0.8, max_tokens=40, top_p=0.9, stop=("A",), seed=row.seed
    )
    assert responder.sampling == Sampling(
        temperature=0, max_tokens=80, stop=("B", "C"), seed=row.seed
    )
    assert end.sampling is None


def test_another_attempt_differs_in_its_seeds_alone():
    plan = make_plan(turns=3, sampling={"top_k": 5})
    first, second = (plan.task(plan[2], attempt) for attempt in (0, 1))
    assert first.id == second.id
    dumps = [task.workflow.model_dump() for task in (first, second)]
    assert dumps[0] != dumps[1]
    for dump in dumps:
        for part in dump["tasks"]:
            part["sampling"] = None
    assert dumps[0] == dumps[1]


def test_after_eight_attempts_their_seeds_come_again():
    plan = make_plan(turns=3)
    assert seeds_of(plan, 2, 8) == seeds_of(plan, 2, 0)
    assert len({seeds_of(plan, 2, attempt) for attempt in range(8)}) == 8


# Size


@pytest.mark.parametrize("pairing", ["product", "random"])
def test_any_row_of_a_huge_plan_is_there_at_once(pairing):
    started = time.perf_counter()
    plan = make_plan(1000, rows=10**9, turns=[1, 3], models=["a", "b"], pairing=pairing)
    row = plan[999_999_999]
    assert len(plan) == 10**9
    assert plan.task(row).id == row.id
    assert next(iter(plan)) == plan[0]
    assert time.perf_counter() - started < 2


def test_the_largest_plan_has_a_last_row():
    plan = make_plan(2, rows=10**12)
    assert plan[10**12 - 1].number == 10**12 - 1


# Rows that a model draws from itself


def make_conversations(**values) -> Plan:
    return Plan.of(Recipe.of({"kind": "self_synthesis", **values}))


def test_system_prompts_get_their_shares():
    prompts = [{"prompt": "A", "key": "a", "weight": 3}, "B"]
    drawn = Counter(
        (row.origin["system_prompt_key"], row.origin["system_prompt"])
        for row in make_conversations(rows=20_000, system_prompts=prompts)
    )
    assert set(drawn) == {("a", "A"), ("", "B")}
    assert abs(drawn["a", "A"] - 15_000) < 4 * math.sqrt(20_000 * 0.75 * 0.25)


def test_personas_take_turns_and_stand_in_the_system_prompt():
    plan = make_conversations(personas=["a {x}", "b"], rows=5)
    assert [row.origin["persona"] for row in plan] == ["a {x}", "b", "a {x}", "b", "a {x}"]
    assert len(make_conversations(personas=["a", "b"])) == 2
    assert plan[0].origin["system_prompt"].endswith("a {x}")
    own = make_conversations(personas=["a", "b"], system_prompts=["Talk to {persona}, {persona}!"])
    assert own[1].origin["system_prompt"] == "Talk to b, b!"


@pytest.mark.parametrize(
    ("values", "has_prompt"),
    [({}, False), ({"turns": 2}, True), ({"turns": 2, "only_instruction": True}, False)],
)
def test_conversations_of_several_turns_get_a_prompt_by_default(values, has_prompt):
    row = make_conversations(rows=1, **values)[0]
    assert bool(row.origin["system_prompt"]) is has_prompt


@pytest.mark.parametrize(
    ("values", "messages"),
    [
        ({"turns": 3}, 6),
        ({"turns": 3, "end_with_user": True}, 5),
        ({"turns": 3, "only_instruction": True}, 1),
        ({"turns": 3, "end_with_user": True, "only_instruction": True}, 1),
    ],
)
def test_the_task_of_a_conversation(values, messages):
    sampling = {
        "sampling": {"top_p": 0.5, "top_k": 3},
        "instruction_sampling": {"top_p": 0.9},
        "response_sampling": {"temperature": 0.3},
    }
    plan = make_conversations(rows=9, system_prompts=["A"], models=["m"], **sampling, **values)
    row = plan[4]
    assert plan.messages(4) == messages
    task = plan.task(row)
    assert (task.id, task.models) == (row.id, ("m",))
    assert task.workflow.external_memory == {"system_prompt": "A"}
    instruction, response, _ = task.workflow.tasks
    drawn = {"top_k": 3, "seed": row.seed}
    said = instruction.sampling.to_dict()
    assert said == {**drawn, "temperature": 1.0, "max_tokens": 512, "top_p": 0.9}
    assert response.sampling.to_dict() == {**drawn, "temperature": 0.3, "top_p": 0.5}
    assert [call % SEEDS for call in calls_of(task.workflow)] == [
        row.seed + call for call in range(messages)
    ]
