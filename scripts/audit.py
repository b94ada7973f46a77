"""`make audit`: known vulnerabilities of what is installed, and the bill of what is served.

Fails for one in what the service runs on that an upgrade mends. One that nothing mends yet, and one
in a tool of development, which no caller reaches, is told; so is whatever was not looked up, for
pip-audit itself passes over that in silence. The bill is one of CycloneDX.

    audit.py FOLDER_OF_TOOLS FILE_FOR_THE_BILL
"""

import json
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution, distributions
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from packaging.requirements import Requirement

SERVED = "surefoot-service[postgres]"
OURS = {"surefoot", "surefoot-service"}


def main(tools: Path, file: Path) -> int:
    served = closure(SERVED)
    rest = {name(each.name): each.version for each in distributions()} | served
    others = {each: rest[each] for each in rest.keys() - served.keys()}
    fixable = report("The service", audited(tools, served))
    report("Development", audited(tools, others))
    bill = billed(tools, served)
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(bill, indent=2), encoding="utf-8")
    print(f"The bill of {len(bill['components'])} components is in {file}.")
    return 1 if fixable else 0


def name(written: str) -> str:
    return re.sub(r"[-_.]+", "-", written).lower()


def closure(root: str) -> dict[str, str]:
    """What a requirement needs, with what that needs, as installed: versions by name."""
    found: dict[str, str] = {}
    asked, todo = set[tuple[str, str]](), [Requirement(root)]
    for each in todo:
        for extra in ("", *each.extras):
            if (name(each.name), extra) in asked:
                continue
            asked.add((name(each.name), extra))
            try:
                installed = distribution(each.name)
            except PackageNotFoundError:
                continue  # an option that is not taken
            found[name(each.name)] = installed.version
            for line in installed.requires or ():
                needed = Requirement(line)
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    todo.append(needed)
    return found


def audited(tools: Path, packages: dict[str, str]) -> list[dict[str, Any]] | None:
    """What pip-audit says of each; None if no database could be reached."""
    with NamedTemporaryFile("w", suffix=".txt") as pins:
        pins.writelines(f"{name}=={version}\n" for name, version in packages.items())
        pins.flush()
        options = ["--no-deps", "--disable-pip", "--vulnerability-service", "osv"]
        command = [str(tools / "pip-audit"), "-r", pins.name, *options, "--format", "json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return None
    return [each for each in found if each["name"] not in OURS]


def report(what: str, found: list[dict[str, Any]] | None) -> int:
    """Print it; returns how many vulnerabilities an upgrade would mend."""
    if found is None:
        print(f"{what}: NOT AUDITED, for no database of vulnerabilities could be reached.")
        return 0
    skipped = [each["name"] for each in found if "skip_reason" in each]
    holes = [(each, hole) for each in found for hole in each.get("vulns", ())]
    print(f"{what}: {len(found) - len(skipped)} packages audited, {len(holes)} vulnerabilities.")
    if skipped:
        print(f"  NOT AUDITED, for nothing is known of them: {', '.join(skipped)}")
    for each, hole in holes:
        mended = ", ".join(hole["fix_versions"]) or "nothing yet"
        print(f"  {each['name']} {each['version']}: {hole['id']}, mended by {mended}")
    return sum(bool(hole["fix_versions"]) for _, hole in holes)


def billed(tools: Path, served: dict[str, str]) -> dict[str, Any]:
    """The bill of this environment, less what is not served."""
    command = [str(tools / "cyclonedx-py"), "environment", sys.prefix, "--output-reproducible"]
    made = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    bill: dict[str, Any] = json.loads(made)
    bill["components"] = [each for each in bill["components"] if name(each["name"]) in served]
    kept = {each["bom-ref"] for each in bill["components"]}
    bill["dependencies"] = [each for each in bill["dependencies"] if each["ref"] in kept]
    return bill


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
