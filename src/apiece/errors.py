"""What can go wrong on the user's side: each error is one clear sentence, and its class says the exit status."""


class InputError(ValueError):
    """A file, folder or image is not what it should be: the job failed (exit status 1)."""


class CallError(ValueError):
    """An option or argument cannot be meant (exit status 2)."""


class TrainingError(RuntimeError):
    """A training cannot go on: its loss is not a number (exit status 1)."""


class Interrupted(KeyboardInterrupt):
    """The user stopped a long job; what was done is kept, and the message says where (exit status 130)."""
