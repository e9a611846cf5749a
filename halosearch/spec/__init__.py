"""One model of a study: study.yaml, the command line and the presets are its fields."""
