"""Errors that end a run with one clear line instead of a traceback."""


class PairmillError(Exception):
    """Base of all errors a user can act on; its text names the offender and what was allowed."""


class ConfigError(PairmillError):
    """The configuration is wrong, or does not fit the output folder. Raised before Spark starts."""


class InputError(PairmillError):
    """An input (archive, weights, list) is missing or is not what it should be."""


class ContractError(PairmillError):
    """A table does not have the columns, types or counts that its schema promises."""


class EnvironmentProblem(PairmillError):
    """The machine lacks something a run needs: Java, disk, memory."""
