"""Instructions that a model draws from itself, and answers: one JSON line a conversation.

python examples/self_synthesis.py [ROWS]
"""

from __future__ import annotations

import asyncio
import json
import sys

from dria_magpie import Dria, Sampling
from dria_magpie.magpie import MagpieGenerator

# Each row gets one of these, by its share; the key stays with the row.
PROMPTS = {
    "science": ("You are a patient teacher of physics and chemistry.", 0.6),
    "cooking": ("You are a cook who explains why recipes work.", 0.4),
}


async def main(rows: int) -> None:
    generator = MagpieGenerator(
        num_rows=rows,
        n_turns=2,
        system_prompt=PROMPTS,
        instruction_sampling=Sampling(max_tokens=120),
        response_sampling=Sampling(max_tokens=80),
        seed=7,
    )
    async with Dria() as dria:
        async for row in generator.generate(dria):
            print(json.dumps(row, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 4))
