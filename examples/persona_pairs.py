"""Many pairs of personas: results as they finish, one JSON line a dialogue on stdout.

python examples/persona_pairs.py > dialogues.jsonl
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator

from rich.console import Console
from rich.progress import Progress

from dria_magpie import Dria, MagPie, Sampling, Task

ASKING = ["A curious child", "A sceptical journalist", "A retired fisherman"]
ANSWERING = ["A marine biologist", "A fusion physicist"]
PAIRS = list(itertools.product(ASKING, ANSWERING))


def tasks() -> Iterator[Task]:
    for row, (asking, answering) in enumerate(PAIRS):
        # A seed of its own for each row, so that no two rows draw the same numbers.
        sampling = Sampling(seed=1000 * row)
        graph = MagPie().workflow(
            asking,
            answering,
            num_turns=2,
            instructor_sampling=sampling,
            responder_sampling=sampling,
        )
        yield Task(workflow=graph, id=f"row-{row}")


async def main(dria: Dria) -> None:
    async with dria:
        with Progress(console=Console(stderr=True)) as progress:
            bar = progress.add_task("dialogues", total=len(PAIRS))
            async for result in dria.stream(tasks()):
                [row] = MagPie().parse_result([result])
                row["tokens"] = result.completion_tokens
                row["truncated"] = result.truncated
                print(json.dumps({"id": result.id, **row}, ensure_ascii=False))
                progress.advance(bar)


if __name__ == "__main__":
    asyncio.run(main(Dria()))
