"""Making it happen: driver, evaluation, engines."""
