"""One dialogue between two personas, on the model that runs in this process.

python examples/dialogue.py
"""

from __future__ import annotations

import asyncio
import json

from dria_magpie.client import Dria
from dria_magpie.factory import MagPie
from dria_magpie.models import Model, Task

dria = Dria()


async def main() -> None:
    magpie = MagPie()
    result = await dria.execute(
        Task(
            workflow=magpie.workflow(
                instructor_persona="A curious scientist",
                responding_persona="An AI assistant",
                num_turns=3,
            ).model_dump(),
            models=[Model.SMOLLM2_135M],
        ),
        timeout=300,
    )
    print(json.dumps(magpie.parse_result(result), indent=2, ensure_ascii=False))


if __name__ == "__main__":
    asyncio.run(main())
