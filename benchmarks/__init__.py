"""Commands that measure, one for each question; pages and raw numbers of what was measured."""
