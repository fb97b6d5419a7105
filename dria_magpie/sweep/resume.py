"""Whether a recipe may go on with what a run directory holds."""

from __future__ import annotations

import json
import logging

from dria_magpie.errors import InvalidInputError
from dria_magpie.sweep.plan.plan import MAY_CHANGE, Plan
from dria_magpie.sweep.store import Store

logger = logging.getLogger(__name__)
_ADVICE = (
    f"only {', '.join(sorted(MAY_CHANGE))} may change, and rows only grow: put the recipe back as "
    "it was, or take a new directory with -o; limits.rows ends a sweep earlier"
)


def prepare_store(store: Store, plan: Plan, name: str, *, trial: bool) -> None:
    """Make a store ready for a plan.

    Args:
        store: the store, whatever it holds.
        plan: the rows to make.
        name: what the sweep is called.
        trial: only a few rows are to be made, for a forecast.

    Raises:
        InvalidInputError: the store has rows of another recipe; the text names the keys.
    """
    [(begun,)] = store.query("SELECT count(*) FROM rows")
    [(has_turns,)] = store.query("SELECT EXISTS (SELECT 1 FROM turns)")
    tried = not has_turns or store.fact("trial") == "yes"
    why = _difference(store, plan) or ("rows" if tried and begun > len(plan) else "")
    if why and not tried:
        raise InvalidInputError(f"{store.path.parent} {why}; {_ADVICE}")
    if why and begun:
        # Whoever has seen a forecast, or that nothing works, may change the recipe.
        context = {"action": "started_over", "rows": begun}
        logger.warning(
            "the recipe has changed: %d rows of a dry run are dropped", begun, extra=context
        )
        store.start_over()
    recipe = {key: value for key, value in plan.recipe.to_dict().items() if key != "limits"}
    store.keep_facts(
        name=name,
        trial="yes" if trial and tried else "no",
        digest=plan.digest,
        planned=str(len(plan)),
        fixed=json.dumps(plan.fixed),
        recipe=json.dumps(recipe),
    )


def _difference(store: Store, plan: Plan) -> str:
    """Say what keeps a plan from going on with a store; "" if nothing does."""
    planned = int(store.fact("planned") or 0)
    if store.fact("digest") not in {None, plan.digest}:
        before, now = json.loads(store.fact("fixed") or "{}"), plan.fixed
        keys = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
        return f"belongs to another recipe ({', '.join(keys) or 'its personas'})"
    if len(plan) < planned and store.fact("trial") != "yes":
        return f"was planned with {planned:,} rows, and now with {len(plan):,}"
    return ""
