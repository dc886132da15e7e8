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


class DamagedFile(InputError):
    """A file of a run does not hold what was written there. It is never read past that."""

    def __init__(self, path: str, why: str) -> None:
        self.path, self.why = path, why
        super().__init__(
            f"{path} is damaged ({why}); remove that file and run the same command again: what it "
            "held is made again, and what was made of it"
        )

    def __reduce__(self) -> tuple[type["DamagedFile"], tuple[str, str]]:
        return DamagedFile, (self.path, self.why)
