"""Networks whose parts are killed, at any moment."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from dria_magpie.network.assignment import BEAT, LEASE
from dria_magpie.network.broker import Broker
from dria_magpie.network.delivery import Delivery
from dria_magpie.network.server import NetworkHome
from dria_magpie.network.work import CHECKPOINT_AFTER
from tests.acceptance.mock_endpoint import Call, MockEndpoint
from tests.acceptance.network_bench import STORE_KEY, NetworkBench, make_network
from tests.acceptance.sweep_bench import (
    PERSONAS,
    Bench,
    check_told,
    check_whole,
    count_repeated,
)


@pytest.fixture
def net(
    tmp_path: Path, shared_endpoint: MockEndpoint, monkeypatch: pytest.MonkeyPatch
) -> Iterator[NetworkBench]:
    monkeypatch.setenv("DRIA_STORE_KEY", STORE_KEY)
    with make_network(tmp_path, shared_endpoint, nodes=["a", "b", "c", "d"]) as net:
        yield net


@pytest.fixture
def bench(net: NetworkBench) -> Iterator[Bench]:
    """Give a sweep on the network."""
    bench = Bench(net.folder, net.endpoint)
    bench.place = ["--network", net.url, "--creds", str(net.creds("me"))]
    yield bench
    for running in bench.started:
        running.kill()


def draw_chance() -> random.Random:
    seed = int(os.environ.get("KILL_SEED") or random.randrange(2**32))
    print(f"KILL_SEED={seed} repeats it")
    return random.Random(seed)


def test_five_hundred_dialogues_survive_every_kill(net: NetworkBench) -> None:
    chance = draw_chance()
    rows, turns, slots, latency = 500, 3, 4, 0.04
    in_flight, calls = 4 * slots, 2 * turns * rows
    net.endpoint.behave(latency=latency)
    net.start_up()
    nodes = dict(zip("abcd", net.start_nodes("a", "b", "c", "d", slots=slots), strict=True))
    first = net.start_client("me", run_id="all", rows=rows, turns=turns)
    moments = sorted(chance.uniform(0.05, 0.9) for _ in range(5))
    kinds = chance.sample(["node", "node", "hub", "broker", "client"], 5)
    lost, second = [], None
    for moment, kind in zip(moments, kinds, strict=True):
        net.endpoint.wait_for_calls(round(moment * calls))
        print(f"{kind} at {moment:.2f}")
        if kind == "node":
            name = chance.choice([name for name in nodes if name not in lost])
            nodes[name].kill()
            lost.append(name)
            if len(lost) == 2:
                net.wait_for_broker()
                nodes[lost[0]] = net.start_node(lost[0], "--slots", str(slots))
        elif kind == "client":
            first.kill()
            net.wait_for_broker()
            second = net.start_client("me", run_id="all", rows=rows, turns=turns)
        elif kind in {"hub", "broker"}:
            net.kill(kind)
    assert second
    assert second.wait() == 0, second.stderr
    told, before = second.results(), first.results()
    ids = {f"task-{number}" for number in range(rows)}
    assert len(told) == rows
    assert {result["id"] for result in told} == ids
    assert [result for result in told if result["error"]] == []
    assert len({result["id"] for result in before}) == len(before) < rows
    by_id = {result["id"]: result for result in told}
    assert all(by_id[result["id"]] == result for result in before)
    assert all(len(result["turns"]) == 2 * turns for result in told)
    # Of a node that is killed, nobody knows what it has finished since the last checkpoint.
    unknown = 2 * slots * min(2 * turns, round(CHECKPOINT_AFTER / latency))
    repeated = count_repeated(net)
    print(f"{repeated} calls were repeated")
    assert repeated <= 5 * in_flight + unknown
    came = [call.came for call in net.endpoint.calls()]
    still = max(later - earlier for earlier, later in pairwise(came))
    print(f"nothing was asked for {still:.1f} s")
    assert still < LEASE + BEAT + 2


def test_hub_and_broker_that_die_at_once_cost_what_came_after_the_last_checkpoint(
    net: NetworkBench,
) -> None:
    """Mostly not even that, as who works on what is on the disk; but that is written behind."""
    chance = draw_chance()
    rows, turns, latency = 8, 12, 0.25
    net.endpoint.behave(latency=latency)
    net.start_up()
    net.start_nodes("a", "b", slots=4)
    client = net.start_client("me", rows=rows, turns=turns)
    net.endpoint.wait_for_calls(chance.randrange(120, 180))
    cut = time.time()
    for pid in (net.up.process.pid, net.pid("hub"), net.pid("broker")):
        os.kill(pid, signal.SIGKILL)
    net.up.kill()
    net.start_up()
    assert client.wait() == 0, client.stderr
    results = client.results()
    assert sorted(result["id"] for result in results) == sorted(f"task-{n}" for n in range(rows))
    assert [result for result in results if result["error"]] == []
    known = cut - CHECKPOINT_AFTER - 2 * latency - 0.5
    calls = net.endpoint.calls()
    safe = {(call.seed, call.digest) for call in calls if call.came < known}
    assert len(safe) > 40
    again = {call.seed // 1000: call.came for call in reversed(calls) if _is_again(call, safe, cut)}
    # Two dialogues in a hundred are made again once they are done, as a check.
    assert len(again) <= 2
    for row, came in again.items():
        done = {call.seed for call in calls if call.seed // 1000 == row and call.came < came}
        assert len(done) == 2 * turns
    print(f"{count_repeated(net)} calls were repeated")


def _is_again(call: Call, safe: set[tuple[int, str]], cut: float) -> bool:
    return call.came > cut and (call.seed, call.digest) in safe


async def test_tasks_of_a_killed_node_are_soon_at_work_elsewhere(net: NetworkBench) -> None:
    net.endpoint.behave(hold=True)
    net.start_up()
    nodes = net.start_nodes("a", "b", slots=8)
    beats: dict[str, float] = defaultdict(float)

    async def hear(delivery: Delivery) -> None:
        beats[delivery.subject.partition(".")[2]] = time.time()

    home = NetworkHome.open(net.home)
    broker = Broker(home.local_url, home.credentials("hub"))
    await broker.connect()
    try:
        await broker.subscribe("alive.*", hear)
        client = net.start_client("me", rows=8, turns=1)
        await asyncio.to_thread(net.endpoint.wait_for_calls, 8)
        # Nodes have said since then that they are at work.
        beats.clear()
        while len(beats) < 2:  # noqa: ASYNC110 - it is another process that beats
            await asyncio.sleep(0.05)
        await asyncio.sleep(draw_chance().uniform(0, BEAT))
        nodes[0].kill()
        killed = time.time()
        token = next(m.token for m in home.members() if m.name == "a")
        before = beats[token]
        assert killed - BEAT - 1 <= before <= killed
        await asyncio.to_thread(net.endpoint.wait_for_calls, 12)
    finally:
        await broker.aclose()
    first = {(call.seed, call.digest): call for call in net.endpoint.calls()[:8]}
    again = net.endpoint.calls()[8:]
    assert {first[call.seed, call.digest].ended for call in again} == {"gone"}
    took = max(call.came for call in again) - before
    print(f"at work again after {took:.2f} s")
    assert took <= LEASE + 1
    net.endpoint.release()
    assert client.wait() == 0, client.stderr
    assert [result["error"] for result in client.results()] == [None] * 8


def test_a_node_that_is_told_to_end_hands_its_dialogues_back(net: NetworkBench) -> None:
    rows, turns, slots = 30, 6, 4
    free = draw_chance().randrange(10, 60)
    net.endpoint.behave(latency=0.02, free=free, hold=True)
    net.start_up()
    nodes = net.start_nodes("a", "b", slots=slots)
    client = net.start_client("me", rows=rows, turns=turns)
    net.endpoint.wait_for_calls(free + 2 * slots)
    nodes[0].send(signal.SIGTERM)
    net.endpoint.release()
    begun = time.monotonic()
    assert nodes[0].wait() == 130, nodes[0].stderr
    took = time.monotonic() - begun
    print(f"ended after {took:.2f} s")
    assert client.wait() == 0, client.stderr
    results = client.results()
    assert sorted(result["id"] for result in results) == sorted(f"task-{n}" for n in range(rows))
    assert [result for result in results if result["error"]] == []
    assert any(len({node for node, _ in result["turns"]}) == 2 for result in results)
    assert len(net.endpoint.calls()) == rows * 2 * turns
    assert count_repeated(net) == 0
    assert took < 3


def test_a_node_that_is_told_twice_to_end_leaves_without_a_word(net: NetworkBench) -> None:
    net.endpoint.behave(hold=True)
    net.start_up()
    [node] = net.start_nodes("a", slots=2)
    client = net.start_client("me", rows=2, turns=1)
    net.endpoint.wait_for_calls(2)
    for _ in range(2):
        node.send(signal.SIGINT)
        time.sleep(0.2)
    assert node.wait() == 130
    assert "Traceback" not in node.stderr
    client.kill()


def test_a_task_that_is_given_up_is_stopped_where_it_runs(net: NetworkBench) -> None:
    net.endpoint.behave(hold=True)
    net.start_up()
    [node] = net.start_nodes("a", slots=2)
    client = net.start_client("me", rows=5, turns=2, timeout=3)
    net.endpoint.wait_for_calls(2)
    assert client.wait() == 0, client.stderr
    errors = [result["error"] for result in client.results()]
    assert errors
    assert all("TaskTimeoutError" in error for error in errors)
    node.wait_until(lambda: {call.ended for call in net.endpoint.calls()} == {"gone"})
    status = net.status()
    assert status["running"] == 0
    assert sum(queue["waiting"] for queue in status["queues"]) == 0
    net.endpoint.release()
    # What is asked now is asked of an idle network, and of nothing else.
    asked = len(net.endpoint.calls())
    client = net.start_client("me", rows=1, turns=1)
    assert client.wait() == 0, client.stderr
    assert len(net.endpoint.calls()) == asked + 2


def test_a_sweep_on_a_network_survives_kills(net: NetworkBench, bench: Bench) -> None:
    chance = draw_chance()
    bench.write(personas=PERSONAS, rows=300, turns=[1, 3])
    needed, slots = bench.calls_needed, 8
    net.endpoint.behave(latency=0.04)
    net.start_up()
    net.start_nodes("a", "b", slots=slots)
    kinds = chance.sample(["sweep", "sweep", "sweep", "hub"], 4)
    moments = sorted(chance.uniform(0.02, 0.95) for _ in range(4))
    running = bench.start()
    for moment, kind in zip(moments, kinds, strict=True):
        net.endpoint.wait_for_calls(round(moment * needed))
        print(f"{kind} at {moment:.2f}")
        if kind == "hub":
            net.kill("hub")
        else:
            running.kill()
            running = bench.start()
    assert running.wait() == 0, running.stderr
    status = bench.status()
    assert (status["done"], status["failed"], status["ending"]) == (300, 0, "complete")
    check_whole(bench)
    repeated = count_repeated(net)
    print(f"{repeated} calls were repeated")
    assert repeated <= 4 * 2 * slots


def test_a_sweep_on_a_network_that_was_interrupted_finds_what_came_meanwhile(
    net: NetworkBench, bench: Bench
) -> None:
    bench.write(rows=40, turns=[2, 2])
    net.endpoint.behave(hold=True, free=20)
    net.start_up()
    net.start_nodes("a", slots=8)
    running = bench.start()
    net.endpoint.wait_for_calls(28)
    running.send(signal.SIGINT)
    assert running.wait() == 130, running.stderr
    check_told(running.stderr, "interrupted: ", "the same command goes on with the rest")
    # The network goes on with what was under way.
    net.endpoint.release()
    net.endpoint.wait_for_answers(32)
    net.up.wait_until(lambda: net.status()["running"] == 0)
    asked = len(net.endpoint.calls())
    assert asked < bench.calls_needed
    assert bench.start().wait() == 0
    check_whole(bench)
    assert len(net.endpoint.calls()) == bench.calls_needed
    assert count_repeated(net) == 0


def test_the_rows_of_a_dry_run_on_a_network_are_kept(net: NetworkBench, bench: Bench) -> None:
    bench.write(rows=60)
    net.start_up()
    net.start_nodes("a", slots=8)
    done = bench.sweep("--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    forecast = json.loads(done.stdout)
    assert (forecast["rows"], forecast["concurrency"]) == (60, 8)
    assert 0 < forecast["sampled"] < 60
    assert bench.sweep().returncode == 0
    check_whole(bench)
    assert len(net.endpoint.calls()) == bench.calls_needed


def test_two_directories_of_one_recipe_share_no_results(net: NetworkBench, bench: Bench) -> None:
    bench.write(rows=10)
    net.start_up()
    net.start_nodes("a", slots=8)
    for name in ("one", "two"):
        bench.run_dir = net.folder / name
        assert bench.sweep().returncode == 0
        check_whole(bench)
    assert len(net.endpoint.calls()) == 2 * bench.calls_needed
