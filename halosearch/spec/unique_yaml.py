"""YAML whose keys are given once: of a key that is there twice, a reader would silently take the last."""

from __future__ import annotations

from typing import Any

import yaml

from halosearch.errors import UsageError


class _Unique(yaml.SafeLoader):
    """Refuses a mapping with a key twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:  # its signature
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str | int | float) and key in seen:
                raise UsageError(f"{{name}} gives {key!r} twice (line {key_node.start_mark.line + 1})", "give it once")
            seen.add(key if isinstance(key, str | int | float) else repr(key))
        return super().construct_mapping(node, deep=deep)


def load_yaml(text: str, name: str) -> Any:
    """The plain values of a YAML text.

    Raises:
        UsageError: a key is given twice.
        yaml.YAMLError: it is no YAML.
    """
    try:
        return yaml.load(text, Loader=_Unique)  # a SafeLoader
    except UsageError as error:
        raise UsageError(str(error).replace("{name}", name), error.hint) from None
