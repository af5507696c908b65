"""List the packages of requirements.txt, which run in production: `python -m tests.dependencies {sbom,licences}`.

`sbom [FILE]` writes a CycloneDX bill of materials to a file or to stdout: name, version, licence and the hashes of the
files for each package, and which package needs which. `licences` prints one line for each package, and exits with 1 if
one has a licence that [tool.licences] in pyproject.toml does not allow.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT: Mapping[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
#: No wheel of these is installed here: they are for other versions of Python or other systems.
ELSEWHERE = "not needed on this machine"


def normalize(name: str) -> str:
    """Return the name of a package as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked_packages() -> list[str]:
    """Return the names in requirements.txt. One that has several versions there is listed once."""
    names = re.findall(r"^([\w.-]+)==", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    return sorted(set(map(normalize, names)))


def find_licences() -> dict[str, str]:
    """Return the licence that each locked package declares, or ELSEWHERE."""
    # A package that pip-licenses needs itself counts as a system package there.
    listed = json.loads(_run("piplicenses", "--format", "json", "--from", "mixed", "--with-system"))
    # An old package has the whole text of its licence where newer ones have its name.
    declared = {normalize(package["Name"]): package["License"].partition("\n")[0] for package in listed}
    return {name: declared.get(name, ELSEWHERE) for name in locked_packages()}


def find_refusals(licences: Mapping[str, str], rules: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each package whose licence is not allowed, and for each exception that nothing needs."""
    refusals = []
    for package, licence in licences.items():
        parts = re.split(r"\s+(?:AND|OR|WITH)\s+|\s*;\s*", licence)
        # A parenthesis without its counterpart groups names, and is not part of one.
        names = {part if part.count("(") == part.count(")") else part.strip("()") for part in parts}
        unknown = sorted(names - {*rules["allowed"], ELSEWHERE})
        excepted = rules["exceptions"].get(package)
        if not unknown and excepted and licence != ELSEWHERE:
            refusals.append(f"{package} needs no exception: {licence} is allowed.")
        elif unknown and (not excepted or unknown != excepted["licences"]):
            refusals.append(f"{package} is under {' and '.join(unknown)}, which is not allowed.")
    gone = sorted(rules["exceptions"].keys() - licences.keys())
    return refusals + [f"{package} needs no exception: it is not installed." for package in gone]


def make_sbom() -> str:
    """Return the bill of materials as CycloneDX 1.6 in JSON. Raise ValueError if the schema does not allow it."""
    options = ("--pyproject", "pyproject.toml", "--output-reproducible")
    # The lock knows the hashes, and the installed packages know licences and dependencies.
    document = json.loads(_run("cyclonedx_py", "requirements", "requirements.txt", *options))
    installed = json.loads(_run("cyclonedx_py", "environment", sys.executable, *options))
    licences = find_licences()
    known = {normalize(component["name"]): component for component in installed["components"]}
    names = {component["bom-ref"]: name for name, component in known.items()}
    # requirements.txt can have one version of a package for old versions of Python, and another one for the others.
    references: dict[str, list[str]] = {}
    for component in document["components"]:
        references.setdefault(normalize(component["name"]), []).append(component["purl"])

    def refer(needed: Iterable[str]) -> list[str]:
        return sorted(reference for name in needed for reference in references.get(name, ()))

    needs = {
        names.get(row["ref"]): [names[ref] for ref in row.get("dependsOn", ())] for row in installed["dependencies"]
    }
    direct = (normalize(re.split(r"[\[=]", pin)[0]) for pin in PYPROJECT["project"]["dependencies"])
    root = document["metadata"]["component"]["bom-ref"]
    document["dependencies"] = [{"ref": root, "dependsOn": refer(direct)}]
    for component in document["components"]:
        name = normalize(component["name"])
        component["bom-ref"] = component["purl"]
        del component["description"]  # It repeats the line of requirements.txt.
        component |= {key: known[name][key] for key in ("description", "licenses") if key in known.get(name, ())}
        # cyclonedx-py knows the licences that have an SPDX identifier or a classifier.
        if licences[name] != ELSEWHERE:
            component.setdefault("licenses", [{"license": {"name": licences[name]}}])
        document["dependencies"].append({"ref": component["purl"], "dependsOn": refer(needs.get(name, ()))})
    text = json.dumps(document, indent=2) + "\n"
    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise ValueError(str(error)[-500:])
    return text


def _run(module: str, *words: str) -> str:
    done = subprocess.run([sys.executable, "-m", module, *words], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{module} failed:\n{done.stderr}")
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev", description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    sbom = commands.add_parser("sbom", help="write a CycloneDX bill of materials")
    sbom.add_argument("file", nargs="?", type=Path, help="default: stdout")
    commands.add_parser("licences", help="list licences, and exit with 1 if one is not allowed")
    options = parser.parse_args()
    if options.command == "sbom":
        text = make_sbom()
        if options.file:
            options.file.write_text(text)
        else:
            sys.stdout.write(text)
        return
    licences = find_licences()
    width = max(map(len, licences))
    for package, licence in licences.items():
        print(f"{package:{width}}  {licence}")
    if refusals := find_refusals(licences, PYPROJECT["tool"]["licences"]):
        advice = (
            "Use another package, or add an exception with a reason to [tool.licences.exceptions] in pyproject.toml."
        )
        sys.exit("\n".join(["", *refusals, advice]))


if __name__ == "__main__":
    main()
