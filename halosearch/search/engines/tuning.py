"""The bridge to Ray Tune."""

from __future__ import annotations

from multiprocessing.connection import Connection

from halosearch.search.engines.bridge import Plan


def serve(pipe: Connection, plan: Plan) -> None:
    """Run the bridge until it is told to close."""
    raise NotImplementedError
