"""``lepton-ref``: notebooks run with parameters, once or hundreds of times."""

from __future__ import annotations

import re
import sys


def main() -> None:
    """Entry point; says what to install when the extra `cloud` is missing."""
    try:
        from lepton_ref.cloud.sweeps.commands import app
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] == "lepton_ref":
            raise
        print(
            f"lepton-ref needs the package {error.name}: pip install 'lepton-ref[cloud]'",
            file=sys.stderr,
        )
        sys.exit(2)
    app(joined(sys.argv[1:]), prog_name="lepton-ref")


def joined(arguments: list[str]) -> list[str]:
    """``-p name value``, as papermill has it, in the form ``-p name=value``."""
    found: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        found.append(argument)
        if argument in ("-p", "--parameter"):
            name = next(rest, None)
            if name is None:
                break
            value = None if "=" in name else next(rest, None)
            if value is not None and re.match(r"-[^\d.]", value):  # the next option
                found += [name, value]
            else:
                found.append(name if value is None else f"{name}={value}")
    return found


if __name__ == "__main__":
    main()
