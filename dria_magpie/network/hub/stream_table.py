"""The broker's streams: what they hold, how much of it, for how long, and who hears of it."""

from __future__ import annotations

from typing import Any

from dria_magpie.network.assignment import MOST_HANDED_IN
from dria_magpie.network.credentials.permissions import MAX_PAYLOAD

NOTE_AGAIN = 30.0
WEEK = 7 * 24 * 3600
_ONE = {"max_msgs_per_subject": 1, "discard": "new", "discard_new_per_subject": True}
VERBS = ("hello", "lane", "results", "cancel", "forget", "close")
_MOST_ASKED = 128 * 1024  # bytes of a question or of a beat


# Whom a member names as the one to be answered, the broker would answer: as if the member could
# publish there.
_OF_MEMBERS = {"no_ack": True, **_ONE}


STREAMS: tuple[dict[str, Any], ...] = (
    # One message a task, so that a task that is handed in twice is one.
    {
        "name": "TASKS",
        "subjects": ["task.*.*.*.*"],
        "allow_direct": True,
        "max_msg_size": MAX_PAYLOAD,
        **_OF_MEMBERS,
    },
    # What nodes hand in. The hub reads at its own pace; who floods fills only what is his own.
    {
        "name": "NODES",
        "subjects": ["node.*.done", "node.*.state"],
        "retention": "workqueue",
        # Nodes keep what they hand in until the hub says that it has it.
        "storage": "memory",
        **_OF_MEMBERS,
        # Of the largest, what the broker sends to the hub unread.
        "max_msgs_per_subject": MOST_HANDED_IN,
    },
    {
        "name": "DESK",
        "subjects": [f"ask.*.{verb}" for verb in VERBS],
        "retention": "workqueue",
        "storage": "memory",
        "max_msg_size": _MOST_ASKED,
        **_OF_MEMBERS,
        "max_msgs_per_subject": 16,
    },
    {
        "name": "BEATS",
        "subjects": ["alive.*"],
        "retention": "workqueue",
        "storage": "memory",
        "max_msg_size": _MOST_ASKED,
        **_OF_MEMBERS,
        "max_msgs_per_subject": 4,
    },
    # One message a result, so that a result that is found twice is one; clients hear of it.
    {
        "name": "RESULTS",
        "subjects": ["result.>"],
        "allow_direct": True,
        "max_age": WEEK * 10**9,
        "republish": {"src": "result.>", "dest": "told.>"},
        **_ONE,
    },
    {"name": "HUB", "subjects": ["hub.>"], "allow_direct": True, "max_msgs_per_subject": 1},
    # Who works on what, for the next hub. The broker writes it behind: what it has not written yet
    # when it dies, the hub notes again, or tasks are given out once more, from their records.
    {
        "name": "NOTES",
        "subjects": ["note.>"],
        "persist_mode": "async",
        "allow_direct": True,
        "max_msgs_per_subject": 1,
        # One order less a task: nobody deletes a note, and those that count are written again.
        "max_age": int(4 * NOTE_AGAIN * 1e9),
    },
)
