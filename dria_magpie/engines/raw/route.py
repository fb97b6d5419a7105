"""Where raw prompts go at an endpoint, and in what form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dria_magpie.engines.chat.failures import CallFailed, Failure, Kind

_OLLAMA_NAMES = {"max_tokens": "num_predict", "repetition_penalty": "repeat_penalty"}
_NOT_OPTIONS = {"model", "prompt", "stream", "stream_options"}


@dataclass(frozen=True, slots=True)
class RawRoute:
    """A route for raw prompts.

    Attributes:
        url: the whole URL.
        ollama: it is Ollama's own, which has other names than OpenAI's completions.
    """

    url: str
    ollama: bool = False

    def encode(self, body: Mapping[str, Any]) -> bytes:
        """Write the body of a call, given in the words of OpenAI's completions."""
        if not self.ollama:
            # vLLM compares stop texts with what is left when special tokens were taken out
            return json.dumps({**body, "skip_special_tokens": False}).encode()
        chosen = {k: v for k, v in body.items() if k not in _NOT_OPTIONS}
        options = {_OLLAMA_NAMES.get(name, name): value for name, value in chosen.items()}
        return json.dumps(
            {
                "model": body["model"],
                "prompt": body["prompt"],
                "raw": True,
                "stream": False,
                "options": options,
            }
        ).encode()

    def decode(self, answer: Any) -> Any:
        """Give an answer as a chat completion object.

        Raises:
            CallFailed: it is none.
        """
        if self.ollama:
            return _read_ollama(answer)
        choices = answer.get("choices") if isinstance(answer, dict) else None
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            raise CallFailed(Failure(Kind.BODY, "answered without choices", 200))
        if "message" in choice:  # a stream that was put together
            return answer
        return {**answer, "choices": [{**choice, "message": {"content": choice.get("text")}}]}


def _read_ollama(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict) or "response" not in answer:
        raise CallFailed(Failure(Kind.BODY, "answered without a response", 200))
    message = {"content": answer["response"]}
    return {
        "model": answer.get("model"),
        "choices": [{"message": message, "finish_reason": answer.get("done_reason")}],
        "usage": {
            "prompt_tokens": answer.get("prompt_eval_count"),
            "completion_tokens": answer.get("eval_count"),
        },
    }
