"""Whether a failure was reproduced: the word that every result carries, and its exit code."""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    """Whether the failure was reproduced; the *why* is the result's ``cause``."""

    REPRODUCED = "REPRODUCED"  # the symptom was seen
    MECHANISM = "MECHANISM"  # the cause was shown; the symptom needs hardware that is not here
    NOT_REPRODUCED = "NOT_REPRODUCED"  # ran whole, symptom absent
    FLAKY = "FLAKY"  # seen in some runs, with its rate
    INFRA = "INFRA"  # the node, not the code
    INCONCLUSIVE = "INCONCLUSIVE"  # ran, evidence does not decide
    INCOMPLETE = "INCOMPLETE"  # did not finish

    @property
    def conclusive(self) -> bool:
        """Whether the run answers the question.

        >>> Verdict.MECHANISM.conclusive, Verdict.INFRA.conclusive
        (True, False)
        """
        return self not in {Verdict.INFRA, Verdict.INCONCLUSIVE, Verdict.INCOMPLETE}

    @property
    def exit_code(self) -> int:
        """The exit code of `triage run`: 0 conclusive, 3 inconclusive or infra, 4 incomplete.

        >>> [v.exit_code for v in (Verdict.NOT_REPRODUCED, Verdict.INFRA, Verdict.INCOMPLETE)]
        [0, 3, 4]
        """
        if self.conclusive:
            return 0
        return 4 if self is Verdict.INCOMPLETE else 3
