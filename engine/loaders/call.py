"""``NAME(depth=50, width=2)``: a callable's name with literal arguments, as written in a source string."""

from __future__ import annotations

import ast
from typing import Any

from engine.errors import LoadError


def parse_call(text: str, source: str) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """(name, positional, keyword arguments) of ``text``; a bare name has none.

    Only literals are accepted, so that parsing runs nothing. Raises LoadError for anything else.
    """
    problem = LoadError(
        f"{source!r}: {text!r} is not a name or a call with literal arguments.",
        hint="Write build or build(depth=50, classes=10).",
        file=source,
    )
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise problem from error
    if isinstance(node, (ast.Name, ast.Attribute)):
        return ast.unparse(node), (), {}
    if not isinstance(node, ast.Call) or not isinstance(node.func, (ast.Name, ast.Attribute)):
        raise problem
    try:
        args = tuple(ast.literal_eval(argument) for argument in node.args)
        kwargs = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.keywords}
    except (ValueError, TypeError, SyntaxError) as error:
        raise problem from error
    return ast.unparse(node.func), args, kwargs
