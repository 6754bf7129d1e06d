"""What a user can mend: one line that names the thing, what was found, and the mend."""


class LmkError(Exception):
    """A mistake or a bad file; the command line shows its text as one line and exits with `exit_code`."""

    exit_code = 1


class CredentialsError(LmkError):
    """No credentials, or credentials that the other side does not take."""

    exit_code = 3


class LimitError(LmkError):
    """A limit of the other side is reached: submissions a day, accelerator hours, requests."""

    exit_code = 4


class RemoteError(LmkError):
    """The other side failed, answered nonsense or did not answer in time."""

    exit_code = 5
