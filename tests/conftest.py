"""One thread per process: tests run side by side, and studies use one thread per worker anyway."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
