"""`python -m tests.tools.new_service NAME` (`make new-service`) writes a service and says what is left to do for it.

The service has one operation and its undo, and passes the generated tests as it is. What is left is read from the
files themselves, so the command may be repeated until nothing is left; it writes a file that is missing, and never
overwrites one.
"""

import keyword
import re
import sys
from pathlib import Path
from string import Template

from .left_to_do import ROOT, left_to_do

_TEMPLATES = Path(__file__).with_name("service_template")
_FILES = {
    "contract": "contracts/{name}.py",
    "service": "activities/{name}.py",
    "migration": "activities/migrations/{name}/0001_create_the_tables.py",
    "sample": "tests/services/samples/{name}.py",
}


def write(name: str) -> list[str]:
    """Write the files of the service that are not there, and return their names."""
    title = "".join(part.title() for part in name.split("_"))
    written = []
    for template, file in _FILES.items():
        path = ROOT / file.format(name=name)
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            text = Template((_TEMPLATES / f"{template}.txt").read_text())
            path.write_text(text.substitute(name=name, Name=title, NAME=name.upper()))
            written.append(file.format(name=name))
    return written


def problem_of(name: str) -> str | None:
    """Why no new service can have this name, or `None`."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", name) or keyword.iskeyword(name):
        return f"NAME: {name!r} names no service: write a word in small letters, such as NAME=loyalty"
    for file, own in ((f"contracts/{name}.py", "QUEUE = "), (f"activities/{name}.py", "ServiceDefinition(")):
        if (ROOT / file).exists() and not re.search(rf'{re.escape(own)}\s*"{name}"', (ROOT / file).read_text()):
            return f"NAME: {file} exists already, and declares no service {name}: choose another word, or remove it"
    return None


def main() -> None:
    [name] = sys.argv[1:] or [""]
    if (problem := problem_of(name)) is not None:
        print(problem, file=sys.stderr)
        sys.exit(2)
    for file in write(name):
        print(f"written: {file}")
    left = left_to_do(name)
    print("\n".join(["left to do (docs/own-step.md):", *(f"- {each}" for each in left)]) if left else "nothing is left")


if __name__ == "__main__":
    main()
