"""Two starts side by side."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from triage.engine.phases import Phase
from triage.engine.startup import Startup

_AFTER = (Phase.READY, Phase.REQUEST)  # no stretches of a start-up: it has ended


def compare_startups(startups: Sequence[Startup]) -> pd.DataFrame:
    """One row for each phase that any start reached, one column of seconds for each start.

    ``import`` is what the total leaves before the first line of the log. A phase that a start did not reach, or in
    which its log ends, is NaN. Log times are good to 1 s.
    """
    columns = {startup.name: _read_durations(startup) for startup in startups}
    frame = pd.DataFrame(columns, index=[phase.value for phase in Phase if phase not in _AFTER], dtype=float)
    frame.index.name = "phase"
    return frame.dropna(how="all")


def _read_durations(startup: Startup) -> dict[str, float]:
    durations = {time.phase.value: time.duration_s for time in startup.log.phases if time.duration_s is not None}
    if startup.ready and startup.log.ready:
        durations[Phase.IMPORT.value] = max(0.0, round(startup.elapsed_s - startup.log.phases[-1].start_s))
    return durations


def explain_startups(startups: Sequence[Startup]) -> str:
    """How each start went, a sentence each; also the alternative text of `plot_phases`."""
    return " ".join(_explain(startup) for startup in startups)


def _explain(startup: Startup) -> str:
    profiled = startup.log.profiled
    did = f"profiled {profiled.items} {profiled.modality} item(s)" if profiled else "logged no profile of an encoder"
    if startup.ready:
        then = f" and answered an image request of {startup.image_tokens} tokens" if startup.image_tokens else ""
        if startup.error:
            then = f", but did not answer: {startup.error.rstrip('.')}"
        return f"{startup.name}: ready after {startup.elapsed_s:.0f} s, {did}{then}."
    where = f"in phase {startup.log.last_phase}" if startup.log.last_phase else "before its first log line"
    if startup.timed_out:
        return f"{startup.name}: not ready at its limit of {startup.time_limit_s:g} s, ended {where}, {did}."
    return f"{startup.name}: died after {startup.elapsed_s:.0f} s {where}, {did}."
