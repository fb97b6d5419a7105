"""The pairs of persona_pairs.py on an OpenAI-compatible endpoint.

DRIA_API_KEY=... python examples/endpoint.py http://localhost:8000/v1 > dialogues.jsonl
"""

from __future__ import annotations

import asyncio
import os
import sys

import persona_pairs

from dria_magpie import Dria, Node, OpenAIEngine

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/endpoint.py URL")
    engine = OpenAIEngine(sys.argv[1], api_key=os.environ.get("DRIA_API_KEY"), concurrency=32)
    asyncio.run(persona_pairs.main(Dria(nodes=[Node(engine=engine)])))
