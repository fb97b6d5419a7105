"""What clients may ask for, and what it stands for in the network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from dria_magpie.errors import InvalidInputError
from dria_magpie.models import ANY_MODEL, NodeInfo


class Catalogue:
    """Names of models as clients know them.

    Nodes come and go, so that what was served once may be asked for ever after.

    Args:
        serve_as: what a name stands for in the network, where it is another one.
        models: names that the network is said to serve, before it is asked.

    Attributes:
        known: whether the network was asked, so that other names are wrong for certain.
    """

    def __init__(self, serve_as: Mapping[str, str], models: Iterable[str] = ()) -> None:
        self._serve_as = dict(serve_as)
        self._said = tuple(models)
        self._served: dict[str, None] = {}
        self._any = False
        self._unseen = dict.fromkeys((*self._serve_as.values(), *self._said))
        self.known = False

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that clients are told of."""
        unserved = self.list_unserved()
        names = dict.fromkeys((*self._serve_as, *self._said, *self._served))
        return tuple(name for name in names if name not in unserved)

    @property
    def serves(self) -> dict[str, str]:
        """What every name stands for."""
        return {name: self._stands_for(name) for name in self.names}

    def learn(self, nodes: Iterable[NodeInfo]) -> None:
        """Note what the network serves by itself."""
        for node in nodes:
            self._any = self._any or ANY_MODEL in node.models
            self._served |= {model: None for model in node.models if model != ANY_MODEL}
            for model in tuple(self._unseen):
                if node.choose_model([model]) is not None:
                    del self._unseen[model]
        self.known = True

    def list_unserved(self) -> dict[str, str]:
        """Give the names that were said whose models no node ever served, and these models."""
        if self._any or not self.known:
            return {}
        said = dict.fromkeys((*self._serve_as, *self._said))
        models = {name: self._stands_for(name) for name in said}
        return {name: model for name, model in models.items() if model in self._unseen}

    def choose(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """Give what the wanted names stand for, without those that nobody serves."""
        names = self.names
        return tuple(
            self._stands_for(name) for name in wanted if name in names or self._takes(name)
        )

    def refuse(self, wanted: Sequence[str]) -> str:
        """Say why a task with these models is not taken; "" if it is."""
        if self.choose(wanted):
            return ""
        served = ", ".join(self.names) or "nothing"
        return f"nobody serves {' or '.join(wanted)}; served here: {served}"

    def _stands_for(self, name: str) -> str:
        return self._serve_as.get(name, name)

    def _takes(self, name: str) -> bool:
        # A client that knew an earlier process of this gateway may be faster than the network.
        return self._any or not self.known or f"{name}:latest" in self._served


def read_serve_as(pairs: Sequence[str]) -> dict[str, str]:
    """Read ``NAME=MODEL`` from a command line.

    Raises:
        InvalidInputError: one of them is no such pair, or two are for one name.
    """
    read: dict[str, str] = {}
    for pair in pairs:
        # A model's name may have "=" in it; a name of the SDK's never has.
        name, separator, model = (part.strip() for part in pair.partition("="))
        if not (separator and name and model):
            raise InvalidInputError(
                "--serve-as takes NAME=MODEL, such as "
                f"gemma2:9b-instruct-fp16=smollm2:135m-instruct-q4_1; not {pair!r:.80}"
            )
        if read.setdefault(name, model) != model:
            raise InvalidInputError(f"--serve-as says two models for {name!r:.80}")
    return read
