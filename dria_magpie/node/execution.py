"""The loop that runs a workflow: ask the interpreter, make the call, put the answer in."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from dria_magpie.errors import DrainedError, DriaMagpieError, EngineError, LimitError
from dria_magpie.models import Task, Turn
from dria_magpie.node.events import Event, TurnDone
from dria_magpie.node.instructions import Generate, generate_instruction
from dria_magpie.node.results import make_result
from dria_magpie.workflow import (
    ExecutionState,
    Failed,
    Finished,
    Moved,
    NextCall,
    Outcome,
    Workflow,
    advance,
    take_answer,
)

logger = logging.getLogger(__name__)
# Time counts generation only, so that a stranger's graph could turn in circles for ever.
MOST_MOVES = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A task as a node was given it.

    Attributes:
        task: what the user handed in.
        workflow: its graph, parsed.
        model: the model for generations that name none.
        node: the address of the node.
    """

    task: Task
    workflow: Workflow
    model: str
    node: str


async def run_assignment(
    assignment: Assignment, generate: Generate, state: ExecutionState | None
) -> AsyncGenerator[Event, None]:
    """Run a workflow to its end; failures end in the result, only cancellation raises."""
    state = state or ExecutionState.start(assignment.workflow, seed=secrets.randbits(31))
    moves = 0
    while True:
        match _advance(assignment.workflow, state, moves):
            case NextCall() as call:
                moves = 0
                known = len(state.turns)
                try:
                    state = await _answer(assignment, call, generate)
                except DrainedError as error:
                    # No fallback: it stands for what a model could not do, and may end the graph
                    yield make_result(assignment.task, state, error=error, node=assignment.node)
                    return
                if len(state.turns) > known:
                    yield TurnDone(assignment.task.key, state)
            case Moved(state):
                # A graph may loop for long without a model; others must get their turn.
                moves += 1
                await asyncio.sleep(0)
            case Finished(text):
                yield make_result(assignment.task, state, text=text, node=assignment.node)
                return
            case Failed(error):
                yield make_result(assignment.task, state, error=error, node=assignment.node)
                return


def _advance(workflow: Workflow, state: ExecutionState, moves: int) -> Outcome:
    if moves >= MOST_MOVES:
        return Failed(LimitError(f"the workflow took {moves:,} steps without a generation"))
    try:
        return advance(workflow, state)
    except DriaMagpieError as error:
        return Failed(error)


async def _answer(assignment: Assignment, call: NextCall, generate: Generate) -> ExecutionState:
    request = call.request if call.request.model else call.request.evolve(model=assignment.model)
    started = time.perf_counter()
    try:
        if request.open_user_turn:
            generation, request = await generate_instruction(generate, request)
        else:
            generation = await generate(request)
    except DrainedError:
        raise
    except EngineError as error:
        # Not the error's text: it may quote what an endpoint answered.
        kind = type(error).__name__
        context = {"action": "generation_failed", "error": kind, **assignment.task.log_context()}
        logger.info("a generation failed: %s", kind, extra=context)
        spent = call.state.seconds + time.perf_counter() - started
        return call.state.evolve(seconds=spent).with_failure(assignment.workflow, error)
    turn = Turn(
        task_id=call.task_id,
        text=generation.text,
        reasoning=generation.reasoning,
        model=generation.model or request.model,
        finish_reason=generation.finish_reason,
        prompt_tokens=generation.prompt_tokens,
        cached_tokens=generation.cached_tokens,
        completion_tokens=generation.completion_tokens,
        seconds=time.perf_counter() - started,
        attempts=generation.attempts,
        sampling=request.sampling,
        node=assignment.node,
    )
    return take_answer(assignment.workflow, call, turn)
