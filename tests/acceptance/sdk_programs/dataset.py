"""Rows of the SDK's own MagPie, made by its generator of datasets."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from dria.datasets import DatasetGenerator, DriaDataset
from dria.db.database import DatasetDB
from dria.factory import MagPie
from program import MODEL, count_arrivals, run


async def make_dataset(client: Any, folder: str, number: str) -> dict[str, Any]:
    database = DatasetDB(str(Path(folder) / "rows.duckdb"))
    dataset = DriaDataset("rows", "dialogues", MagPie.OutputSchema, database)
    rows = [
        {"instructor_persona": f"Asker {n}", "responding_persona": "A cook", "num_turns": 2}
        for n in range(int(number))
    ]
    started = time.monotonic()
    await DatasetGenerator(dataset, client).generate(rows, MagPie, MODEL)
    return {
        "seconds": time.monotonic() - started,
        "rows": dataset.get_entries(data_only=True),
        "arrivals": count_arrivals(client),
    }


run(make_dataset)
