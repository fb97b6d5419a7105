"""Chat templates: how a model's own makers write a conversation down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dria_magpie.engines.prompts import renderer, tokenizer_files
from dria_magpie.errors import InvalidInputError, UnsupportedError
from dria_magpie.models import Message


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A chat template and the special tokens that it may write.

    Attributes:
        text: the template, in Jinja.
        bos_token: the text of the token that begins a prompt; may be empty.
        eos_token: the text of the token that ends an answer; may be empty.
        origin: where it came from, for messages.

    Example::

        template = ChatTemplate.from_file(Path("SmolLM2-135M-Instruct.Q4_1.gguf"))
        template.render([Message("user", "Hi")])
    """

    text: str
    bos_token: str = ""
    eos_token: str = ""
    origin: str = "given as text"

    @classmethod
    def from_gguf(cls, path: Path) -> ChatTemplate:
        """Read the template that a GGUF file carries; its tensors are not read.

        Raises:
            InvalidInputError: the file cannot be read, is damaged or is no GGUF.
            UnsupportedError: it carries no chat template.
        """
        return cls(*tokenizer_files.read_gguf(path), origin=str(path))

    @classmethod
    def from_tokenizer_config(cls, source: Path | Mapping[str, Any]) -> ChatTemplate:
        """Read a tokenizer_config.json, or what is in one.

        Of several templates the one named ``default`` is taken; a chat_template.jinja beside
        the file comes before all of them.

        Raises:
            InvalidInputError: the file cannot be read or is damaged.
            UnsupportedError: there is no chat template.
        """
        if isinstance(source, Path):
            return cls(*tokenizer_files.read_tokenizer_config(source), origin=str(source))
        name = "tokenizer_config"
        return cls(*tokenizer_files.read_config(source, name), origin=name)

    @classmethod
    def from_jinja(cls, text: str, bos_token: str = "", eos_token: str = "") -> ChatTemplate:
        """Take a template's text as it is."""
        return cls(text, bos_token, eos_token)

    @classmethod
    def from_file(cls, path: Path) -> ChatTemplate:
        """Read a tokenizer_config.json, a .gguf or a .jinja file.

        What the special tokens of a .jinja file are is read from the tokenizer_config.json, or the
        special_tokens_map.json, beside it.

        Raises:
            InvalidInputError: the file cannot be read or is damaged.
            UnsupportedError: it carries no chat template, is of another kind, or writes special
                tokens of which nothing is said.
        """
        match path.suffix:
            case ".gguf":
                return cls.from_gguf(path)
            case ".json":
                return cls.from_tokenizer_config(path)
            case ".jinja":
                return cls(*tokenizer_files.read_jinja(path), origin=str(path))
        raise UnsupportedError(f"{path} is no chat template; {tokenizer_files.WHAT_TO_GIVE}")

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = False) -> str:
        """Write a conversation down.

        Raises:
            UnsupportedError: the template refuses the messages, for example their roles.
            InvalidInputError: it is no template, breaks out of its sandbox, or never ends.
            EngineError: the process that renders it cannot be started.
        """
        variables = {
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            "bos_token": self.bos_token,
            "eos_token": self.eos_token,
            "add_generation_prompt": add_generation_prompt,
        }
        try:
            return renderer.render(self.text, variables)
        except renderer.RefusedError as error:
            raise UnsupportedError(
                f"the chat template ({self.origin}) refuses these messages: {_plain(error)}"
            ) from error
        except renderer.FaultyError as error:
            raise InvalidInputError(
                f"the chat template ({self.origin}) cannot be used: {_plain(error)}; "
                f"{tokenizer_files.WHAT_TO_GIVE}"
            ) from error


def _plain(error: Exception) -> str:
    return "".join(c if c.isprintable() else " " for c in str(error)[:300])
