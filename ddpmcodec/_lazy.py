"""Names of a package that are imported when they are first asked for."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from importlib import import_module
from typing import Any


def found(name: str, homes: Iterable[str], namespace: MutableMapping[str, Any]) -> Any:
    """Return what a name of a package means, and keep it there, so that it is looked for once.

    homes: the package's modules, searched in this order. namespace: the package's own. Raises AttributeError.
    """
    package = namespace["__name__"]
    for home in homes:
        module = import_module(f"{package}.{home}")
        if hasattr(module, name):
            namespace[name] = getattr(module, name)
            return namespace[name]
    raise AttributeError(f"module {package!r} has no attribute {name!r}")
