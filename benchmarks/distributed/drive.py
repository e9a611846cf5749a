"""One driver of a quick study, as a process: python -m benchmarks.distributed.drive FOLDER TRIALS [options]."""

import argparse
import signal
import sys
import time
from pathlib import Path

from benchmarks.distributed import quick
from halosearch.cost.pools import pool_of
from halosearch.errors import HalosearchError
from halosearch.run.begin import request, resolve
from halosearch.run.choose_engine import workers_at
from halosearch.run.driver import Control
from halosearch.run.place import Place
from halosearch.run.study import Run, run_study


class Talk:
    """A watcher that writes plain lines."""

    def __init__(self):
        self.started = time.monotonic()

    def message(self, text):
        self._say(f"note {text}")

    def event(self, kind, row, info):
        if kind != "progress":
            self._say(f"{kind} {row.key} {info.get('reason', '')}".rstrip())

    def _say(self, text):
        sys.stderr.write(f"{time.monotonic() - self.started:8.2f} {text}\n")
        sys.stderr.flush()


def asked(arguments):
    return request(
        None,
        Path(arguments.folder),
        name="quick",
        budget_params=6_000_000,
        tolerance=0.02,
        seed=3,
        sampler=arguments.sampler,
        device="cpu",
        preset="cpu-2m",
        max_trials=arguments.trials,
        retests=arguments.retests,
        workers=arguments.workers,
        max_trial_time=arguments.trial_time,
        max_trial_memory=arguments.trial_memory,
        max_gpu_hours=arguments.gpu_hours,
        storage=arguments.storage,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("trials", type=int)
    parser.add_argument("--engine", default="local")
    parser.add_argument("--address")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--retests", type=int, default=4)
    parser.add_argument("--sampler", default="pool")
    parser.add_argument("--gpus", type=float)
    parser.add_argument("--gpu-hours", type=float)
    parser.add_argument("--trial-time", type=float)
    parser.add_argument("--trial-memory", type=int)
    parser.add_argument("--storage")
    arguments = parser.parse_args()
    spec, folders, _ = resolve(asked(arguments), lambda _: "cpu")
    place = Place(arguments.engine, arguments.address, arguments.gpus)
    control = Control()

    def stop(*_):
        control.stopping = True

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    talk = Talk()
    try:
        ended = run_study(
            Run(spec, folders, pool_of(spec), talk, control, place, workers_at(place, quick.make), force=True)
        )
    except HalosearchError as error:
        sys.stderr.write(f"error: {error.sentence}\nhelp: {error.hint}\n")
        sys.exit(error.exit_code)
    sys.stderr.write(f"ended finished={ended.finished} reason={control.reason}\n")
    sys.exit(0 if ended.finished else 9)


if __name__ == "__main__":
    main()
