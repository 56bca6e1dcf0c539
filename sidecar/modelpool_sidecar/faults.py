"""How an error of our own is logged: its class and where it was raised, never its message, which may quote content."""

import logging
import traceback


def log(logger: logging.Logger, what: str, error: BaseException | None) -> None:
    """One error line: `what` happened, by which class of error, from where."""
    if error is None:
        logger.error("%s", what)
        return
    place = "".join(traceback.format_tb(error.__traceback__)).rstrip()
    logger.error("%s: %s at\n%s", what, type(error).__name__, place)
