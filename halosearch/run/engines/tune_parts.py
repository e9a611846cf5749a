"""The objects that Ray Tune asks for: searcher, its generator, scheduler, stop rule, callback. Imported by `ray_tune` only.

Tune pickles them with its experiment; each is pickled as "make a new one" and finds what lives in this process in `LINK`.
"""

# ruff: noqa: TID253
from __future__ import annotations

import contextlib
import json
import os
import queue
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import ray
from ray import tune
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import ConcurrencyLimiter, Searcher, SearchGenerator

from halosearch.files import write_bytes
from halosearch.record.evaluation import Evaluation
from halosearch.run.engines.ray_client import CHECKPOINT, CLOSE, LOG, NEWS, STOP, SUBMIT, abandon
from halosearch.run.engines.ray_engine import GONE
from halosearch.run.engines.ray_tune import STATE, row_config
from halosearch.run.protocol import DIED, PROGRESS, STOPPED, Event

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

AHEAD = 1
"""Trials that wait beside those that run, so that no worker waits for the next suggestion."""
STOP_GRACE_S = 30.0


class Link:
    """What lives in this process: rows asked for, rows under way by Tune's name of their trial."""

    def __init__(self, pipe: Connection, inbox: Any, flag: Any, slots: int, given: Path) -> None:
        """`given`: folder for checkpoints that the study hands over; `flag`: told of a stop."""
        self._pipe, self._inbox, self._flag = pipe, inbox, flag
        self.slots, self.given = slots, given
        self.asked: queue.SimpleQueue[tuple[Evaluation, bytes | None]] = queue.SimpleQueue()
        self.live: dict[str, Evaluation] = {}
        self.errors: dict[str, str] = {}
        self.widened, self._saying = False, threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    def say(self, *message: Any) -> None:
        """To the driver, from any thread; without one nothing more is to be done."""
        try:
            with self._saying:
                self._pipe.send(message)
        except OSError:
            abandon(GONE)

    def _listen(self) -> None:
        while True:
            kind, *rest = self._inbox.get()
            if kind == SUBMIT:
                self.asked.put((rest[0], rest[1]))
            elif kind == STOP:
                self._flag.set.remote()
                timer = threading.Timer(STOP_GRACE_S, self._give_up)
                timer.daemon = True
                timer.start()
            elif kind == CLOSE:
                ray.shutdown()
                os._exit(0)

    def _give_up(self) -> None:
        """Answer for the rows that never began, or do not answer, that they are stopped."""
        for name in list(self.live):
            if (row := self.live.pop(name, None)) is not None:
                self.say(NEWS, Event(STOPPED, row))
        with contextlib.suppress(queue.Empty):
            while True:
                self.say(NEWS, Event(STOPPED, self.asked.get_nowait()[0]))


LINK = cast("Link", None)
"""Set once in every process."""


class _MadeAnew:
    def __reduce__(self) -> Any:
        return (type(self), ())


class RowSearcher(_MadeAnew, Searcher):
    """Suggests what the study asks for."""

    def __init__(self) -> None:
        """No metric: the study judges."""
        super().__init__()

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """The limiter only passes through."""
        del max_concurrent
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next row; waits where nothing runs."""
        if len(LINK.live) >= LINK.slots + AHEAD:
            return None
        try:
            row, content = LINK.asked.get(block=not LINK.live)
        except queue.Empty:
            return None
        LINK.live[trial_id] = row
        given = None
        if content is not None:
            given = LINK.given / f"{row.id}.pt"
            write_bytes(given, content)
        return row_config(row, given)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """News on the way."""
        if result.get("progress") and trial_id in LINK.live:
            LINK.say(NEWS, Event(PROGRESS, LINK.live[trial_id], json.loads(result["progress"])))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """An end: of the row, or of its worker."""
        row = LINK.live.pop(trial_id, None)
        if row is None:
            return
        if error or result is None or "end" not in result:
            LINK.say(NEWS, Event(DIED, row, reason=LINK.errors.pop(trial_id, "its worker died")))
            return
        end = json.loads(result["end"])
        for name, content in end["logs"].items():
            LINK.say(LOG, name, content.encode())
        LINK.say(NEWS, Event(row=row, **end["event"]))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study's own table is the truth."""
        Path(checkpoint_path).write_bytes(b"-")

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""


class Generator(_MadeAnew, SearchGenerator):
    """A generator that never ends by a count of samples."""

    def __init__(self) -> None:
        """Around the searcher."""
        super().__init__(ConcurrencyLimiter(RowSearcher(), max_concurrent=LINK.slots + AHEAD))

    def is_finished(self) -> bool:
        """The study ends its engine; Tune never does."""
        return False


class RunAll(_MadeAnew, FIFOScheduler):
    """Lets every trial run to its end."""

    def __init__(self) -> None:
        """First come, first served."""
        super().__init__()  # type: ignore[no-untyped-call]

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Tune keeps one idle actor only; there is no public way to keep one for each worker."""
        if not LINK.widened:
            LINK.widened = True
            tune_controller._tune_controller._actor_cache.increase_max(trial.placement_group_factory, LINK.slots)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Keep the words of an error."""
        del tune_controller
        LINK.errors[trial.trial_id] = _words(trial)


def _words(trial: Trial) -> str:
    try:
        with Path(trial.pickled_error_file).open("rb") as file:
            error = ray.cloudpickle.load(file)
    except Exception:  # noqa: BLE001  # the text is for the reader only
        return "its worker died"
    cause = getattr(error, "cause", None)
    if cause is not None:
        return (str(cause).splitlines() or [type(cause).__name__])[0]
    return f"its worker on the cluster died ({type(error).__name__})"


class Never(_MadeAnew, tune.Stopper):
    """Tune's stop rule: the study decides what stops."""

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Not by a result."""
        del trial_id, result
        return False

    def stop_all(self) -> bool:
        """Not by itself."""
        return False


class Quiet(_MadeAnew, TrialProgressCallback):
    """Prints nothing; hands checkpoints to the study."""

    def _print(self, *words: Any, **options: Any) -> None:
        del words, options

    def log_result(self, *words: Any, **options: Any) -> None:
        """Nothing."""

    def on_checkpoint(self, iteration: int, trials: list[Any], trial: Any, checkpoint: Any, **info: Any) -> None:
        """Into the study's own folder, so that any engine can go on from it."""
        del iteration, trials, info
        row = LINK.live.get(trial.trial_id)
        with contextlib.suppress(OSError):
            if row is not None:
                LINK.say(CHECKPOINT, row.key, (Path(checkpoint.path) / STATE).read_bytes())


def new_tuner(function: Any, folder: Path, name: str) -> Any:
    """An experiment that begins."""
    return tune.Tuner(
        function,
        param_space={},
        tune_config=tune.TuneConfig(
            search_alg=Generator(),
            scheduler=RunAll(),
            num_samples=-1,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=str(folder),
            stop=Never(),
            verbose=0,
            callbacks=[Quiet()],
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
        ),
    )
