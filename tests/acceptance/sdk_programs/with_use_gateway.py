"""`use_gateway` of this package: it says what is wrong, and otherwise nothing changes."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from dria.client import Dria
from dria.datasets import DatasetGenerator, DriaDataset
from dria.db.database import DatasetDB
from dria.factory import MagPie
from dria.models import Model, Task
from program import execute, make_task

from dria_magpie.errors import DriaMagpieError
from dria_magpie.integrations.dria import use_gateway

ROW = {"instructor_persona": "A chemist", "responding_persona": "A cook", "num_turns": 1}


async def run_checked(client: Any, folder: str) -> dict[str, Any]:
    seen: dict[str, Any] = {"served": await execute(client, make_task("Checked"))}
    unserved = Task(workflow=MagPie(**ROW).workflow(), models=[Model.O1_MINI], dataset_id="tests")
    database = DatasetDB(str(Path(folder) / "unserved.duckdb"))
    generator = DatasetGenerator(DriaDataset("d", "d", MagPie.OutputSchema, database), client)
    calls = {
        "unserved": lambda: client.execute([make_task("Checked"), unserved]),
        "unserved_dataset": lambda: generator.generate([ROW], MagPie, Model.O1_MINI),
        "no_dataset_id": lambda: client.execute(unserved.model_copy(update={"dataset_id": None})),
    }
    for name, call in calls.items():
        started = time.monotonic()
        try:
            await call()
        except DriaMagpieError as error:
            told = f"{type(error).__name__}: {error}"
            seen[name] = {"told": told, "seconds": time.monotonic() - started}
    return seen


def try_strangers_key(url: str) -> str:
    try:
        use_gateway(Dria(rpc_token="nobody's key"), url)
    except DriaMagpieError as error:
        return f"{type(error).__name__}: {error}"
    return ""


url, key, out, folder = sys.argv[1:]
seen = {"strangers_key": try_strangers_key(url)}
client = use_gateway(Dria(rpc_token=key), f"{url}/")
seen |= asyncio.run(run_checked(client, folder))
Path(out).write_text(json.dumps(seen), "utf-8")
