"""Nested dicts, lists and tuples of arrays, walked in one way by every engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def map_tree(function: Callable[[Any], Any], tree: Any) -> Any:
    """Apply ``function`` to every leaf and keep the structure."""
    if isinstance(tree, dict):
        return {key: map_tree(function, value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(map_tree(function, value) for value in tree)
    return function(tree)


def flatten(tree: Any, path: str = "params") -> tuple[list[tuple[str, Any]], Any]:
    """The leaves as ``(path, leaf)`` in order, and the tree itself as their structure."""
    leaves: list[tuple[str, Any]] = []

    def visit(node: Any, where: str) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                visit(value, f"{where}[{key!r}]")
        elif isinstance(node, (list, tuple)):
            for i, value in enumerate(node):
                visit(value, f"{where}[{i}]")
        else:
            leaves.append((where, node))

    visit(tree, path)
    return leaves, tree


def unflatten(structure: Any, leaves: list[Any]) -> Any:
    """The inverse of :func:`flatten`: ``leaves`` in the place of the structure's own."""
    stock = iter(leaves)
    return map_tree(lambda _: next(stock), structure)
