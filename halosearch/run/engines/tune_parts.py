"""The objects that Ray Tune asks for: searcher, its generator, scheduler, stop rule, callback. Imported inside the bridge only.

Tune pickles them with its experiment; each is pickled as "make a new one" and finds what lives in this process in `LINK`.
"""

# ruff: noqa: TID253
from __future__ import annotations

import queue
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import ray
from ray import tune
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import ConcurrencyLimiter, Searcher, SearchGenerator

from halosearch.files import write_bytes
from halosearch.run.engines import tune_words
from halosearch.run.engines.ray_client import NEWS
from halosearch.run.jobs import DONE, Event, Job

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

AHEAD = 1
"""Trials that wait beside those that run, so that no worker waits for the next suggestion."""


class Link:
    """What lives in this process: jobs asked for, trials by job."""

    def __init__(self, inbox: tune_words.Inbox, slots: int, given: Path) -> None:
        """`given`: folder for checkpoints that the study hands over."""
        self.inbox, self.slots, self.given = inbox, slots, given
        self.trials: dict[str, Trial] = {}
        self.names: dict[str, str] = {}
        self.jobs: dict[str, Job] = {}
        self.live: set[str] = set()
        self.errors: dict[str, str] = {}
        self.warm = False

    def expect(self, jobs: list[tuple[Job, bytes | None]]) -> None:
        """Jobs that the study asks for before anything runs: restored trials of these go on."""
        for job, content in jobs:
            self.jobs[tune_words.identity(job)] = job
            self.inbox.jobs.put((job, content))

    def end(self, name: str, text: str) -> None:
        """Tell the study of an end, once."""
        if self.inbox.wanted.pop(name, None) is not None:
            logs, event = tune_words.end_of(self.jobs[name], text)
            for log in logs:
                self.inbox.say(*log)
            self.inbox.say(NEWS, None, event)

    def failed(self, name: str, reason: str) -> None:
        """A trial that used up its tries."""
        if self.inbox.wanted.pop(name, None) is not None:
            words = f"{reason}, {tune_words.MAX_FAILURES + 1} times"
            self.inbox.say(NEWS, None, Event(DONE, self.jobs[name], {"state": "failed", "reason": words}))


LINK = cast("Link", None)
"""Set once in every bridge."""


class _MadeAnew:
    def __reduce__(self) -> Any:
        return (type(self), ())


class JobSearcher(_MadeAnew, Searcher):
    """Suggests what the study asks for."""

    def __init__(self) -> None:
        """No metric: the study judges."""
        super().__init__()

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """The limiter only passes through; it would lose trials after a restore."""
        del max_concurrent
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next job that is not under way already; waits where nothing runs."""
        while len(LINK.live) < LINK.slots + AHEAD:
            try:
                job, content = LINK.inbox.jobs.get(block=not LINK.live)
            except queue.Empty:
                return None
            name = tune_words.identity(job)
            LINK.jobs[name] = job
            LINK.inbox.wanted[name] = job
            if self._found_again(name, job):
                continue
            LINK.live.add(trial_id)
            return tune_words.job_config(job, self._keep(job, content))
        return None

    @staticmethod
    def _found_again(name: str, job: Job) -> bool:
        """Whether a restored trial is this job: it goes on, or gives the result that was lost on its way."""
        known = LINK.trials.get(name)
        if known is None or Job(**known.config["job"]) != job:
            return False
        if known.status == "TERMINATED" and tune_words.is_result(known.last_result.get("end")):
            LINK.end(name, known.last_result["end"])
            return True
        if known.status in ("PENDING", "RUNNING", "PAUSED"):
            LINK.live.add(known.trial_id)
            return True
        return False

    @staticmethod
    def _keep(job: Job, content: bytes | None) -> Path | None:
        if content is None:
            return None
        path = LINK.given / f"{job.key}-{job.rung}.pt"
        write_bytes(path, content)
        return path

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """News on the way."""
        text, name = result.get("progress"), LINK.names.get(trial_id)
        if text and name is not None and name in LINK.inbox.wanted:
            LINK.inbox.say(*tune_words.progress_of(LINK.jobs[name], text))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """An end: of the job, or of Tune's patience."""
        LINK.live.discard(trial_id)
        name = LINK.names.get(trial_id)
        if name is None:
            return
        if error:
            LINK.failed(name, LINK.errors.pop(trial_id, "its worker died"))
        elif result is not None and "end" in result:
            LINK.end(name, result["end"])

    def save(self, checkpoint_path: str) -> None:
        """Nothing: trials and the study's record are the truth."""
        Path(checkpoint_path).write_bytes(b"-")

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""


class Generator(_MadeAnew, SearchGenerator):
    """A generator that never ends by a count of samples."""

    def __init__(self) -> None:
        """Around the searcher."""
        super().__init__(ConcurrencyLimiter(JobSearcher(), max_concurrent=LINK.slots + AHEAD))

    def is_finished(self) -> bool:
        """The study ends its engine; Tune never does."""
        return False

    def set_state(self, state: dict[str, Any]) -> None:
        """A snapshot of an ended run takes jobs again."""
        super().set_state({**state, "finished": False})


class OnlyAskedFor(_MadeAnew, FIFOScheduler):
    """Ends restored trials whose job the study does not ask for any more, before they start; all others run to their end."""

    def __init__(self) -> None:
        """Nothing was looked at yet."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._swept = False

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Every new trial and every restored one passes here."""
        if not LINK.warm:  # Tune keeps one idle actor only; there is no public way to keep one for each worker
            LINK.warm = True
            tune_controller._tune_controller._actor_cache.increase_max(trial.placement_group_factory, LINK.slots)
        name = tune_words.identity(Job(**trial.config["job"]))
        LINK.trials[name], LINK.names[trial.trial_id] = trial, name

    def choose_trial_to_run(self, tune_controller: Any, **words: Any) -> Any:
        """Called before any worker starts."""
        if not self._swept:
            self._swept = True
            for name, trial in LINK.trials.items():
                if trial.status == "PENDING" and name not in LINK.jobs:
                    tune_controller.stop_trial(trial)
        return super().choose_trial_to_run(tune_controller, **words)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Keep the words of an error; called before each further try, too."""
        del tune_controller
        LINK.errors[trial.trial_id] = _words(trial)


def _words(trial: Trial) -> str:
    try:
        with Path(trial.pickled_error_file).open("rb") as file:
            error = ray.cloudpickle.load(file)
    except Exception:  # noqa: BLE001  # the text is for the reader only
        return "its worker died"
    cause = getattr(error, "cause", None)
    return (
        (str(cause).splitlines() or [type(cause).__name__])[0]
        if cause is not None
        else f"its worker on the cluster died ({type(error).__name__})"
    )


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
        message = tune_words.checkpoint_of(Job(**trial.config["job"]), checkpoint.path)
        if message is not None:
            LINK.inbox.say(*message)


def new_tuner(function: Any, folder: Path, name: str, max_failures: int) -> Any:
    """An experiment that begins."""
    return tune.Tuner(
        function,
        param_space={},
        tune_config=tune.TuneConfig(
            search_alg=Generator(),
            scheduler=OnlyAskedFor(),
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
            failure_config=tune.FailureConfig(max_failures=max_failures),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
        ),
    )
