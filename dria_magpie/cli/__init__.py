"""The command line: ``dria-magpie VERB``. Data goes to stdout, everything else to stderr.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted with everything finished kept.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line and exit with its code."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed before the program began
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115
    try:
        # Within the try, as importing takes long enough to be interrupted.
        from dria_magpie.cli.app import app
        from dria_magpie.cli.text import printable
        from dria_magpie.errors import DriaMagpieError, InvalidInputError

        try:
            app()
        except InvalidInputError as error:
            _end(f"error: {printable(str(error))}", 2)
        except DriaMagpieError as error:
            _end(f"error: {printable(str(error))}", 1)
        except BrokenPipeError:
            raise
        except OSError as error:
            _end(f"error: {error}", 1)
    except KeyboardInterrupt:
        _end("interrupted", 130)


def _end(message: str, code: int) -> None:
    print(message, file=sys.stderr)
    raise SystemExit(code)
