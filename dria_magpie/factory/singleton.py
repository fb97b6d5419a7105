"""A class with one instance."""

from __future__ import annotations

from typing import Any, ClassVar, Self


class Singleton:
    """Gives the same instance at every call; a subclass has its own. It must hold no state."""

    _instance: ClassVar[Any]

    def __init_subclass__(cls) -> None:
        """Make the instance with the class, so that no two threads can."""
        cls._instance = object.__new__(cls)

    def __new__(cls) -> Self:
        """Give the one instance."""
        instance: Self = cls._instance
        return instance
