"""What a person is told when something is wrong: one sentence, one way out, one exit code."""


class HalosearchError(Exception):
    """A problem that the reader can act on.

    Args:
        sentence: what is wrong, with the offending value.
        hint: one line that can be pasted or followed; empty where there is none.
    """

    exit_code = 1

    def __init__(self, sentence: str, hint: str = "") -> None:
        """Keep the sentence and its way out."""
        super().__init__(sentence)
        self.sentence = sentence
        self.hint = hint


class UsageError(HalosearchError):
    """The words of a command, a candidate or a study file are off."""

    exit_code = 2


class InfeasibleError(HalosearchError):
    """Nothing fits the budget; the hint names the nearest that does."""

    exit_code = 3


class EnvironmentFault(HalosearchError):
    """Data, device or disk are not what the study needs."""

    exit_code = 4


class StoreError(HalosearchError):
    """The study's store is damaged, or another process holds it."""

    exit_code = 5


class VersionError(HalosearchError):
    """The study was written by another version."""

    exit_code = 6


class NothingUsableError(HalosearchError):
    """The study ran, and no trial gave a usable result."""

    exit_code = 7


def missing_package(error: ImportError) -> EnvironmentFault | None:
    """What is said of a package of others that cannot be imported; None where the name is one of our own, which is a bug."""
    package = (error.name or "").partition(".")[0]
    if package in {"", "halosearch"}:
        return None
    return EnvironmentFault(
        f"the package {package} cannot be imported: {error}",
        "run python -m pip install -e . again in halosearch's folder and this environment: it installs what is missing",
    )
