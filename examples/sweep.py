"""A sweep from Python: rows as they end, and a dataset at last. Run it again: it goes on.

python examples/sweep.py RUN_DIR [ROWS]
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from dria_magpie import Dria, Recipe, Sweep

RECIPE = Path(__file__).parents[1] / "workflows" / "persona_sweep.toml"


async def main(run_dir: Path, rows: int) -> None:
    recipe = Recipe.read(RECIPE).model_copy(update={"rows": rows})
    sweep = Sweep.from_recipe(recipe, run_dir)
    async with Dria() as dria:
        async for row in sweep.run(dria):
            print(row.id, row.status, f"{row.completion_tokens} tokens", row.error)
    print(sweep.ending)
    exported = sweep.run_dir.export(run_dir / "dataset" / "dialogues.jsonl", format="messages")
    print(f"{exported.rows} dialogues in {exported.file}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    number = int(sys.argv[2]) if len(sys.argv) > 2 else 8
    asyncio.run(main(Path(sys.argv[1]), number))
