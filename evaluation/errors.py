"""What the user can mend in what is handed to the evaluation."""

from __future__ import annotations


class EvaluationError(ValueError):
    """One sentence: what is wrong, where, and what to do."""
