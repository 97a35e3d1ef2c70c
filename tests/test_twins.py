"""What stands in both clouds' wiring, word for word, because neither imports the other and the core knows no clock."""

from __future__ import annotations

import ast
import inspect
from typing import Any

import pytest

from functions_aws import wiring as aws
from functions_azure import wiring as azure


def statements(thing: Any) -> str:
    """The code of a class or a function, without what explains it."""
    tree = ast.parse(inspect.getsource(thing))
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            node.body = node.body[1:]
    return ast.dump(tree)


@pytest.mark.parametrize("name", ["SystemClock", "stand_still", "generation", "_read"])
def test_the_clouds_read_the_machine_alike(name: str) -> None:
    """A mend in one of them that the other lacks would be a difference that nobody meant."""
    assert statements(getattr(aws, name)) == statements(getattr(azure, name))
