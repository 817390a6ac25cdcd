"""Signals in child processes of tests: a suite started with SIGINT or SIGHUP ignored (`nohup`, `&`) passes that on."""

import signal


def allow_sigint() -> None:
    """Restore the default handling of SIGINT and SIGHUP, as the `preexec_fn` of `subprocess.Popen`.

    An ignored signal stays ignored through exec; Python installs its `KeyboardInterrupt` handler over the default only.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
