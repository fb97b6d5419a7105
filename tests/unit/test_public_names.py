from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

import dria_magpie
from dria_magpie import errors


def test_the_flat_namespace_is_sorted_and_complete() -> None:
    names = [name for name in dria_magpie.__all__ if name != "__version__"]
    assert names == sorted(names, key=lambda name: (not name[0].isupper(), name))
    homes = ["client", "engines", "errors", "factory", "magpie", "models", "network", "node"]
    homes += ["sweep", "workflow"]
    public = {
        name
        for home in homes
        for name in getattr(importlib.import_module(f"dria_magpie.{home}"), "__all__", ())
    }
    tree = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.DriaMagpieError)
    }
    inner = {"ANY_MODEL", "Event", "Memory", "Outcome", "Role"}
    inner |= {"conclude", "replay", "take_answer"}
    assert set(names) == (public | tree) - inner


@pytest.mark.parametrize("name", dria_magpie.__all__)
def test_a_public_name_is_there_and_says_what_it_is(name: str) -> None:
    value = getattr(dria_magpie, name)
    assert name in dir(dria_magpie)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__doc__
        for member_name, member in vars(value).items():
            if inspect.isfunction(member) and not member_name.startswith("_"):
                assert member.__doc__, f"{name}.{member_name}"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        _ = dria_magpie.nothing


def test_the_error_tree_in_the_docstring_is_the_tree() -> None:
    drawn = errors.__doc__ or ""
    for name, value in vars(errors).items():
        if inspect.isclass(value) and issubclass(value, errors.DriaMagpieError):
            assert f" {name} " in drawn, name


def test_every_module_can_be_imported_by_itself() -> None:
    names = [m.name for m in pkgutil.walk_packages(dria_magpie.__path__, "dria_magpie.")]
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    subprocess.run([sys.executable, "-W", "error", "-c", code, *names], check=True, timeout=60)
