"""The gateway with the ``dria`` SDK as it comes from PyPI, in processes of its own.

The SDK sleeps for five seconds before it hands in each fifty tasks. So programs run side by side:
first those that are timed, or that a loaded machine would disturb, then all others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.acceptance.gateway_field import (
    ANSWER,
    Field,
    check_arrivals,
    check_whole,
    make_field,
    make_field_on_network,
)
from tests.acceptance.gateway_process import GEMMA, GatewayProcess
from tests.acceptance.gateway_proxies import CuttingProxy, PlainGateway
from tests.acceptance.network_bench import STORE_KEY
from tests.acceptance.sweep_bench import count_repeated
from tests.certificates import make_certificate

SMOLLM2 = "smollm2:135m-instruct-q4_1"
REFUSED = "refuse me"
SLOW = "slow"
MORE = ["--serve-as", "gpt-4o=large", "--serve-as", "qwen2.5:32b-instruct-fp16=small"]
# The longest first.
PROGRAMS = {
    "hundred-twenty": ["many", "Many", "120"],
    "fifty-one": ["many", "Fifty", "51"],
    "checked": ["with_use_gateway", "{folder}"],
    "cut-behind": ["many", "Behind", "20"],
    "cut-unread": ["many", "Unread", "50"],
    "cut-posted": ["many", "Posted", "20"],
    "failing": ["failing", REFUSED],
    "dataset": ["dataset", "{folder}", "3"],
    "workflows": ["workflows"],
    "factories": ["factories"],
    "at-once": ["at_once", "8"],
    "left": ["many", "Left", "20"],
    "right": ["many", "Right", "20"],
}


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Field]]:
    """Give the gateways; programs that are timed, or that a busy machine would disturb, run."""
    folder = tmp_path_factory.mktemp("gateways")
    with ExitStack() as stack:
        timed = make_field(stack, folder / "timed")
        timed.endpoint.behave(latency=1.0, containing=SLOW, hold=True)
        plain = stack.enter_context(PlainGateway(timed.gateway.url))
        timed.start("held", "one_by_one", "2")
        timed.start("plain", "one_by_one", "1", url=plain.url)
        restarted = make_field(stack, folder / "restarted")
        restarted.endpoint.behave(latency=0.02, free=10, hold=True)
        restarted.start("kept", "many", "Kept", "50")
        # These sleep for five seconds now.
        world = make_field(stack, folder / "world", *MORE)
        for label in PROGRAMS:
            world.key(label)
        yield {"timed": timed, "restarted": restarted, "world": world}


# --- time, and restarts


def test_fifty_tasks_outlive_a_gateway_that_is_killed_and_one_that_is_ended(
    fields: dict[str, Field],
) -> None:
    here = fields["restarted"]
    gateway, endpoint = here.gateway, here.endpoint
    endpoint.wait_for_answers(10)
    gateway.running.wait_until(lambda: gateway.count_finished() == 10)
    endpoint.behave(latency=0.02, free=15, hold=True)
    gateway.kill()
    gateway.start()
    gateway.wait_for_poll()
    endpoint.wait_for_answers(25)
    gateway.running.wait_until(lambda: gateway.count_finished() == 25)
    assert gateway.end() in {0, 130}
    gateway.start()
    endpoint.release()
    check_whole(here.seen("kept"), Kept=50)
    assert count_repeated(here) == 0
    assert len({call.digest for call in endpoint.calls() if call.answered}) == 50


def test_a_task_of_one_second_comes_back_sooner_than_from_a_plain_gateway(
    fields: dict[str, Field],
) -> None:
    held = [one["seconds"] for one in fields["timed"].seen("held")["each"]]
    plain = [one["seconds"] for one in fields["timed"].seen("plain")["each"]]
    print(f"held: {held}, plain: {plain}")
    assert max(held) <= 7.5
    assert min(plain) >= 9.5
    for label in ("held", "plain"):
        results = [one["results"] for one in fields["timed"].seen(label)["each"]]
        assert all(len(one) == 1 for one in results)


# --- the SDK's programs, side by side


@pytest.fixture(scope="module")
def undisturbed(fields: dict[str, Field]) -> None:
    """Wait until all programs have ended that a busy machine would disturb."""
    for field in fields.values():
        for program in field.programs.values():
            program.wait()


@pytest.fixture(scope="module")
def elsewhere(
    undisturbed: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Field]]:
    """Give a gateway with TLS, one with the embedded model, and one on a network of machines."""
    folder = tmp_path_factory.mktemp("elsewhere")
    certificate = make_certificate(folder / "gateway.pem")
    tls = ["--tls-cert", str(certificate), "--tls-key", str(certificate)]
    served = [word for name in (GEMMA, "gpt-4o") for word in ("--serve-as", f"{name}={SMOLLM2}")]
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRIA_STORE_KEY", STORE_KEY)
        secret = make_field(stack, folder / "tls", *tls)
        secret.start("trusting", "many", "Secret", "3", SSL_CERT_FILE=str(certificate))
        local = stack.enter_context(GatewayProcess(folder / "embedded", *served))
        embedded = Field(folder / "embedded", local, secret.endpoint)
        stack.callback(embedded.end)
        embedded.start("talking", "embedded")
        netted = make_field_on_network(stack, folder / "network")
        netted.endpoint.behave(latency=0.02, free=10, hold=True)
        netted.start("far", "many", "Far", "20")
        yield {"tls": secret, "embedded": embedded, "network": netted}


@pytest.fixture(scope="module")
def world(
    fields: dict[str, Field],
    elsewhere: dict[str, Field],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Field]:
    """Give the gateway that most programs use."""
    here, folder = fields["world"], str(tmp_path_factory.mktemp("rows"))
    here.endpoint.behave(latency=0.05, containing=REFUSED, status=400)
    with ExitStack() as stack:
        behind = stack.enter_context(CuttingProxy(here.gateway.url, 1, "behind"))
        unread = stack.enter_context(CuttingProxy(here.gateway.url, 1, "unread"))
        posted = stack.enter_context(CuttingProxy(here.gateway.url, 5, "posted"))
        urls = {"cut-behind": behind.url, "cut-unread": unread.url, "cut-posted": posted.url}
        for label, (program, *words) in PROGRAMS.items():
            filled = [word.format(folder=folder) for word in words]
            here.start(label, program, *filled, url=urls.get(label, ""))
        fields["timed"].start("mixed", "many", "Fast", "12", SLOW, "8")
        yield here
        assert (behind.cut, unread.cut, posted.cut) == (1, 1, 5)


@pytest.mark.parametrize(
    ("label", "name", "number"),
    [
        ("fifty-one", "Fifty", 51),
        ("hundred-twenty", "Many", 120),
        ("left", "Left", 20),
        ("right", "Right", 20),
        ("cut-behind", "Behind", 20),
        ("cut-unread", "Unread", 50),
        ("cut-posted", "Posted", 20),
    ],
)
def test_every_result_arrives_once(world: Field, label: str, name: str, number: int) -> None:
    check_whole(world.seen(label), **{name: number})


def test_eight_calls_at_once_get_their_own(world: Field) -> None:
    seen = world.seen("at-once")
    topics = [[r["input"]["topic"] for r in one["results"]] for one in seen["each"]]
    assert topics == [[f"At once {place}"] for place in range(8)]
    check_arrivals(seen, 8)


def test_the_sdks_magpie_fills_a_dataset(world: Field) -> None:
    seen = world.seen("dataset")
    turn = {"instructor": ANSWER, "responder": ANSWER}
    assert seen["rows"] == [{"dialogue": [turn, turn], "model": "small"}] * 3
    check_arrivals(seen, 3)


@pytest.mark.parametrize("label", ["whole", "trimmed"])
def test_a_workflow_may_be_a_dict(world: Field, label: str) -> None:
    (result,) = world.seen("workflows")[label]["results"]
    assert json.loads(result["text"]) == [ANSWER] * 4


def test_the_magpie_of_this_package_runs_with_the_sdk(world: Field) -> None:
    (parsed,) = world.seen("workflows")["own"]["parsed"]
    sides = [next(iter(message)) for message in parsed["dialogue"]]
    assert sides == ["instructor", "responder"] * 3
    assert parsed["model"] == "small"


def test_every_factory_of_the_sdk_runs(world: Field) -> None:
    seen = world.seen("factories")
    assert len(seen) >= 23
    assert {"MagPie", "Question", "BackStory", "MultiHopQuestion", "Simple"} <= seen.keys()
    assert {name: len(one["results"]) for name, one in seen.items()} == dict.fromkeys(seen, 1)


def test_what_fails_for_good_ends_its_execute_at_once(world: Field) -> None:
    seen = world.seen("failing")
    alone = {name: seen[name]["results"] for name in ("refused", "unknown_operator", "endless")}
    assert alone == {"refused": [], "unknown_operator": [], "endless": []}
    others = [result["input"]["topic"] for result in seen["among_others"]["results"]]
    assert sorted(others) == ["First", "Last"]
    assert max(one["seconds"] for name, one in seen.items() if name != "arrivals") < 15
    check_arrivals(seen, 6)
    refused = [call for call in world.endpoint.calls() if call.ended == "400"]
    assert len(refused) == 2


def test_use_gateway_says_what_would_be_waited_for_in_vain(world: Field) -> None:
    seen = world.seen("checked")
    assert len(seen["served"]["results"]) == 1
    for label in ("unserved", "unserved_dataset"):
        assert seen[label]["told"].startswith("NoNodeError: nobody serves o1-mini at http")
        assert f"which serves {GEMMA}, gpt-4o, large, qwen2.5:32b-inst" in seen[label]["told"]
        assert seen[label]["seconds"] < 2
    assert seen["no_dataset_id"]["told"].startswith("InvalidInputError: the SDK sends no task")
    assert seen["strangers_key"].startswith("NetworkError: ")
    assert "dria-magpie gateway key create NAME" in seen["strangers_key"]


def test_a_few_results_come_early_and_none_is_given_up_for_being_slow(
    fields: dict[str, Field], world: Field
) -> None:
    here = fields["timed"]

    def delivered() -> list[int]:
        said = here.gateway.events("results_delivered")
        return [int(event["message"].split()[0]) for event in said if event["key"] == "mixed"]

    # Of the twelve that are done, 40 % of twenty come early.
    here.programs["mixed"].wait_until(lambda: bool(delivered()))
    assert delivered() == [8]
    here.endpoint.release()
    check_whole(here.seen("mixed"), Fast=12, slow=8)


# --- elsewhere


def test_tasks_on_a_network_outlive_the_gateway_that_handed_them_in(
    elsewhere: dict[str, Field], world: Field
) -> None:
    here = elsewhere["network"]
    here.endpoint.wait_for_answers(10)
    here.gateway.kill()
    here.endpoint.release()
    here.gateway.start()
    check_whole(here.seen("far"), Far=20)
    assert count_repeated(here) == 0


def test_tls_is_spoken_if_asked_for(elsewhere: dict[str, Field]) -> None:
    check_whole(elsewhere["tls"].seen("trusting"), Secret=3)


def test_the_embedded_model_answers_the_sdk(elsewhere: dict[str, Field]) -> None:
    seen = elsewhere["embedded"].seen("talking")
    assert len(seen["results"]) == 3
    assert {result["model"] for result in seen["results"]} == {SMOLLM2}
    assert all(result["text"].strip() for result in seen["results"])
    check_arrivals(seen, 3)


def test_a_schema_of_the_sdk_is_kept_to(elsewhere: dict[str, Field]) -> None:
    seen = elsewhere["embedded"].seen("talking")
    assert [type(good) for good in seen["filled"]] == [bool]
