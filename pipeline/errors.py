"""What a user can mend, as one sentence; a traceback means a bug."""

from __future__ import annotations

from data.errors import DataError
from evaluation.errors import EvaluationError
from models.errors import ModelError


class PipelineError(ValueError):
    """A stage cannot run as asked; the message says what is wrong, where, and what to do."""


USER_ERRORS = (PipelineError, DataError, ModelError, EvaluationError)
