"""Whether a recipe may go on with what a run directory holds."""

from __future__ import annotations

import json

from dria_magpie.errors import InvalidInputError
from dria_magpie.sweep.plan.plan import MAY_CHANGE, Plan
from dria_magpie.sweep.store import Store

_ADVICE = (
    f"only {', '.join(sorted(MAY_CHANGE))} may change, and rows only grow: put the recipe back as "
    "it was, or take a new directory with -o"
)


def check_same(store: Store, plan: Plan) -> None:
    """Refuse a plan that is not the one of the store, apart from what may change.

    Raises:
        InvalidInputError: keys of the recipe changed, or its personas; the text
            names them.
    """
    digest, where = store.fact("digest"), store.path.parent
    if digest is None:
        return
    planned = int(store.fact("planned") or 0)
    if digest != plan.digest:
        before, now = json.loads(store.fact("fixed") or "{}"), plan.fixed
        keys = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
        changed = ", ".join(keys) or "its personas"
        raise InvalidInputError(f"{where} belongs to another recipe ({changed}); {_ADVICE}")
    if len(plan) < planned:
        raise InvalidInputError(
            f"{where} was planned with {planned:,} rows, and now with {len(plan):,}; {_ADVICE}"
        )


def keep_plan(store: Store, plan: Plan, name: str) -> None:
    """Note which plan the store belongs to; limits say nothing of how its rows come about."""
    recipe = {key: value for key, value in plan.recipe.to_dict().items() if key != "limits"}
    store.keep_facts(
        name=name,
        digest=plan.digest,
        planned=str(len(plan)),
        fixed=json.dumps(plan.fixed),
        recipe=json.dumps(recipe),
    )
