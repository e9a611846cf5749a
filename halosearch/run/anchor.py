"""Step times in seconds: the ratio to an anchor, measured in the same rounds, times the anchor's own time.

The ratio is what survives other workers' load. The anchor's time is measured once, by a worker, before any other job runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from halosearch.errors import EnvironmentFault
from halosearch.record.store import Store
from halosearch.run.jobs import (
    BROKEN,
    CLOCK,
    DIED,
    DONE,
    PROGRESS,
    STOPPED,
    Event,
    Job,
    MachineFaultError,
    Workers,
)

TRIES = 3
MAY_DIFFER = ("halosearch", "python")
HINT = "continue it where it began, or start another study with --name"


def clock_of(
    store: Store, workers: Workers, message: Callable[[str], None], stop_now: Callable[[], bool], wait_s: float = 0.25
) -> dict[str, Any] | None:
    """The anchor's step time as recorded; measured by a worker where it is not. None where a stop was asked for meanwhile.

    Raises:
        EnvironmentFault: the device is not there, or its memory does not suffice.
        MachineFaultError: workers cannot run here.
    """
    known = store.notes().get(CLOCK)
    if known is not None:
        return dict(known)
    message("measuring the anchor's step time before any other job runs")
    result = _run_alone(Job(CLOCK, -1, {}, 0), workers, stop_now, wait_s)
    if result is None:
        return None
    if result["state"] != "complete":
        raise EnvironmentFault(f"the anchor's step time cannot be measured: {result['reason']}", "try --device cpu")
    store.note(CLOCK, result["clock"])
    return dict(result["clock"])


def _run_alone(job: Job, workers: Workers, stop_now: Callable[[], bool], wait_s: float) -> dict[str, Any] | None:
    deaths = 0
    workers.submit(job)
    while not stop_now():
        for event in workers.poll(wait_s):
            if event.kind == DONE:
                return event.result
            if event.kind == BROKEN:
                raise MachineFaultError(event.reason)
            if event.kind == STOPPED:
                return None
            if event.kind == DIED:
                deaths += 0 if event.blameless else 1
                if deaths >= TRIES:
                    raise EnvironmentFault(
                        f"the anchor's step time cannot be measured: {event.reason}", "try --device cpu"
                    )
                workers.submit(job)
    return None


def check_device(clock: dict[str, Any], here: dict[str, Any]) -> None:
    """Refuse to mix step times of two devices, thread counts or versions of torch.

    Raises:
        EnvironmentFault: they differ.
    """
    there = clock["device"]
    changed = [key for key in here if there.get(key) != here[key] and key not in MAY_DIFFER]
    if changed:
        raise EnvironmentFault(
            f"step times of this study were measured with {changed[0]} {there.get(changed[0])}; here it is "
            f"{here[changed[0]]}, and the two cannot be compared",
            HINT,
        )


class Clocked:
    """Workers whose results carry step times in seconds."""

    def __init__(self, workers: Workers, clock: dict[str, Any]) -> None:
        """`clock`: the anchor's step time."""
        self._workers, self._clock = workers, clock

    @property
    def capacity(self) -> int:
        """How many jobs can run now."""
        return self._workers.capacity

    def submit(self, job: Job) -> None:
        """Start a job."""
        self._workers.submit(job)

    def poll(self, timeout_s: float) -> list[Event]:
        """News; a result measured on another device than the anchor's is the machine's fault."""
        return [event if event.kind == PROGRESS else self._scaled(event) for event in self._workers.poll(timeout_s)]

    def _scaled(self, event: Event) -> Event:
        if "step_time" not in event.result:
            return event
        try:
            check_device(self._clock, event.result["step_time"]["device"])
        except EnvironmentFault as fault:
            return Event(BROKEN, event.job, reason=fault.sentence)
        return replace(event, result=event.result | in_seconds(event.result["step_time"], self._clock))

    def stop(self) -> None:
        """Ask all jobs to stop."""
        self._workers.stop()

    def close(self) -> None:
        """End every worker."""
        self._workers.close()


def in_seconds(step_time: dict[str, Any], clock: dict[str, Any]) -> dict[str, float]:
    """A measured ratio, with its interval, in seconds of the anchor."""
    ratio, anchor = step_time["ratio_to_anchor"], float(clock["seconds"]["median"])
    return {
        "step_time_s": ratio["median"] * anchor,
        "step_time_low_s": ratio["low"] * anchor,
        "step_time_high_s": ratio["high"] * anchor,
    }
