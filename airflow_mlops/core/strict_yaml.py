"""YAML in which nothing is said twice: of two equal keys a usual reader takes the last one and is silent about it."""

from __future__ import annotations

from typing import Any


def read_yaml(text: str) -> Any:
    """Plain values from YAML or JSON.

    :param text: the document.
    :raises yaml.YAMLError: when it is none, or a mapping has a key twice, with the line.

    >>> read_yaml("value: {lower: 0.9}")
    {'value': {'lower': 0.9}}
    >>> read_yaml("lower: 0.9\\nlower: 0.1")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    yaml.constructor.ConstructorError: the key 'lower' is there twice...
    """
    import yaml

    class Strict(yaml.SafeLoader):
        """The usual reader of plain values, but for equal keys."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            said: set[Any] = set()
            for key, _ in node.value:
                name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key)
                if name in said:
                    raise yaml.constructor.ConstructorError(
                        problem=f"the key {key.value!r} is there twice", problem_mark=key.start_mark
                    )
                said.add(name)
            return super().construct_mapping(node, deep=deep)

    return yaml.load(text, Loader=Strict)
