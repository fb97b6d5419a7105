"""The process in which chat templates are rendered: its bounds, its life and its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from dria_magpie.engines.prompts import renderer
from dria_magpie.engines.prompts.renderer import FaultyError, RefusedError, Renderer
from dria_magpie.engines.prompts.template import ChatTemplate
from dria_magpie.errors import EngineError, InvalidInputError
from dria_magpie.models import Message

SECONDS = 0.5
STOPPED = r"runs for more than 0\.5 s|takes more memory|breaks the process"
GROWING = (
    "{% set ns = namespace(x=START) %}{% for i in range(60) %}{% set ns.x = STEP %}{% endfor %}"
)
LONG = "{% set a = 'a' * 100000 %}"
# Each is one step, which takes minutes or gigabytes
STEPS = {
    "search in a list": "{{ range(100000) | select('in', [-1]*1000*400) | list | length }}",
    "search from the right": "{{ ('a'*1000*3000).rfind('ab' ~ 'a'*1000*1000) }}",
    "split from the right": "{{ ('a'*1000*3000).rsplit('ab' ~ 'a'*1000*1000) }}",
    "trim": "{{ ('\U0001f600'*1000*1500) | trim('b'*1000*1500 ~ '\U0001f600') | length }}",
    "modulus": "{{ ('f'*1000*3000)|int(0,16) % (('7' ~ 'f'*1000*1500)|int(0,16)) % 7 }}",
    "quotient": "{{ ('f'*1000*3000)|int(0,16) // (('7' ~ 'f'*1000*1500)|int(0,16)) % 7 }}",
    "copies": "{% set a = '\U0001f600'*1000*3900 %}"
    + "".join(f"{{% set b{i}=a[1:] %}}" for i in range(2600)),
    "product": "{{ 'a' * 10**10 }}",
    "power": "{{ 10**(10**9) }}",
    "concatenation": GROWING.replace("START", "'ab'").replace("STEP", "ns.x ~ ns.x"),
    "nested lists": GROWING.replace("START", "[1]").replace("STEP", "[ns.x, ns.x]") + "{{ ns.x }}",
    "replace": LONG + "{{ a.replace('', a) }}",
    "join": LONG + "{{ range(99999) | join(a) }}",
    "padding": "{{ 'a'.ljust(10**10) }}",
    "format": "{{ '{:>10000000000}'.format(1) }}",
    "percent": "{{ '%10000000000d' % 1 }}",
    "bytes": "{{ (1).to_bytes(10**10, 'big') }}",
    "lorem ipsum": "{{ lipsum(10**7) }}",
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "recursion": "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}{% endmacro %}"
    "{{ m(60) }}",
    "compilation": "{{ 1 }}" * 400_000,
}


@pytest.fixture(scope="module")
def bounded():
    made = Renderer(seconds=SECONDS, memory=256 * 2**20)
    yield made
    made.close()


@pytest.fixture
def own():
    made = Renderer()
    yield made
    made.close()


def pid_of(made):
    return made._child._process.pid


def run(script, *arguments):
    """Run a program in which every warning is an error; give what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.parametrize("name", STEPS)
def test_a_template_that_would_take_minutes_or_gigabytes_is_stopped(name, bounded):
    began = time.monotonic()
    with pytest.raises(FaultyError, match=STOPPED):
        bounded.render(STEPS[name], {})
    assert time.monotonic() - began < 4 * SECONDS
    # And never tried again, whatever the messages
    began = time.monotonic()
    with pytest.raises(FaultyError, match=STOPPED):
        bounded.render(STEPS[name], {"messages": []})
    assert time.monotonic() - began < SECONDS / 2
    assert bounded.render("{{ a }}", {"a": "b"}) == "b"


def test_an_engines_templates_are_bounded():
    template = ChatTemplate.from_jinja(STEPS["search from the right"])
    began = time.monotonic()
    with pytest.raises(InvalidInputError, match="runs for more than 2 s; give the path"):
        template.render([Message("user", "Hi")])
    assert time.monotonic() - began < 4


def test_an_answer_that_no_prompt_holds_is_not_read_to_its_end(own, monkeypatch):
    monkeypatch.setattr(renderer, "_LONGEST", 10_000)
    with pytest.raises(FaultyError, match="longer than any prompt"):
        own.render("{{ 'a' * 100000 }}", {})
    assert own.render("{{ 'a' }}", {}) == "a"


def test_the_process_is_started_again_when_it_was_killed_from_outside(own):
    assert own.render("{{ 1 }}", {}) == "1"
    first = pid_of(own)
    os.kill(first, signal.SIGKILL)
    assert own.render("{{ 1 }}", {}) == "1"
    assert pid_of(own) != first


def test_an_interrupt_ends_the_wait_and_no_answer_goes_astray(own):
    def interrupt(*_):
        raise KeyboardInterrupt

    assert own.render("{{ 1 }}", {}) == "1"
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            own.render(STEPS["search from the right"], {})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - began < 1.5
    assert own.render("{{ 2 }}", {}) == "2"


def test_threads_take_turns(own):
    wrong = []

    def ask(name):
        for number in range(50):
            text = f"{name}-{number}" * 2000
            if own.render("{{ text }}", {"text": text}) != text:
                wrong.append(text)

    threads = [threading.Thread(target=ask, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []


def test_refusals_and_faults_leave_the_process_alone(own):
    with pytest.raises(RefusedError, match=r"^no$"):
        own.render("{{ raise_exception('no') }}", {})
    pid = pid_of(own)
    with pytest.raises(FaultyError, match="ZeroDivisionError"):
        own.render("{{ 1 / 0 }}", {})
    with pytest.raises(FaultyError, match="RecursionError"):
        own.render("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", {})
    assert own.render("{{ a }}", {"a": "\ud800\u2028\n"}) == "\ud800\u2028\n"
    assert pid_of(own) == pid


def test_the_process_knows_no_secrets(own, monkeypatch):
    monkeypatch.setenv("DRIA_API_KEY", "sk-secret")
    own.render("", {})
    environment = Path(f"/proc/{pid_of(own)}/environ").read_text("utf-8")
    assert "sk-secret" not in environment
    assert "PYTHONPATH" in environment


def test_a_process_that_cannot_be_started_is_told(own, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(EngineError, match="does not start"):
        own.render("", {})
    monkeypatch.setattr(sys, "executable", "/bin/true")
    with pytest.raises(EngineError, match="does not start"):
        own.render("", {})
    monkeypatch.undo()
    assert own.render("{{ 1 }}", {}) == "1"


HEAD = """
import os, sys, time, warnings
from dria_magpie.engines.prompts import renderer
from dria_magpie.engines.prompts.renderer import Renderer

def pid_of(made):
    return made._child._process.pid
"""


def test_the_process_ends_with_its_parent():
    script = HEAD + "renderer.render('', {})\nprint(pid_of(renderer._renderer))"
    [pid] = run(script)
    assert not psutil.pid_exists(int(pid))


@pytest.mark.parametrize("template", ["{{ 1 }}", STEPS["loops"]], ids=["idle", "busy"])
def test_the_process_ends_when_its_parent_is_killed(template):
    script = HEAD + (
        "made = Renderer(seconds=0.5)\nmade.render('', {})\nprint(pid_of(made), flush=True)\n"
        "made._seconds = 60\nmade.render(sys.argv[1], {})\ntime.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, template], stdout=subprocess.PIPE, text=True
    )
    child = psutil.Process(int(parent.stdout.readline()))
    time.sleep(0.3)  # into the loop; nothing tells of it
    parent.kill()
    parent.wait()
    parent.stdout.close()
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_fork_has_a_process_of_its_own():
    script = HEAD + (
        "renderer.render('', {})\n"
        "print(pid_of(renderer._renderer), flush=True)\n"
        "warnings.simplefilter('ignore', DeprecationWarning)\n"
        "fork = os.fork()\n"
        "assert renderer.render('{{ a }}', {'a': 'b'}) == 'b'\n"
        "print(pid_of(renderer._renderer), flush=True)\n"
        "if fork:\n"
        "    assert os.waitpid(fork, 0)[1] == 0\n"
        "    assert renderer.render('{{ a }}', {'a': 'c'}) == 'c'\n"
    )
    first, *others = map(int, run(script))
    assert len(others) == 2
    assert first in others
    assert len(set(others)) == 2
    assert not any(map(psutil.pid_exists, others))


def test_nothing_is_started_before_a_template_is_rendered():
    script = (
        "import dria_magpie.engines.openai, dria_magpie.engines.llama_process, sys, psutil\n"
        "print('jinja2' in sys.modules, len(psutil.Process().children()))"
    )
    assert run(script) == ["False", "0"]
