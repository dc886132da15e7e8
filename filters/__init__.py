"""One file per filter; the file's name is the filter's name in the config."""

import importlib
import pkgutil

from pipeline.core.filter import Filter


def load() -> dict[str, type[Filter]]:
    """Every filter class in this folder, by module name, in alphabetical order.

    A module holds exactly one class that derives from Filter. Works from a zip on the path too.
    """
    found: dict[str, type[Filter]] = {}
    for info in sorted(pkgutil.iter_modules(__path__), key=lambda info: info.name):
        module = importlib.import_module(f"{__name__}.{info.name}")
        classes = [
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and issubclass(value, Filter)
            and value.__module__ == module.__name__
        ]
        if len(classes) != 1:
            raise TypeError(f"filters/{info.name}.py must define one Filter, not {len(classes)}")
        found[info.name] = classes[0]
    return found
