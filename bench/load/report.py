"""A load test as a document and as JSON: its checks, its figures, and all that they rest on."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.load import figures, pictures
from bench.load.figures import Latency, StageFigures
from bench.load.run import Evidence
from bench.load.slopes import held
from bench.load.verdict import Verdict
from bench.report.document import Document, Part, Section, Table
from service.machine import GIB, Machine

PASSED = {True: "passed", False: "FAILED", None: "not checked"}
LIMITS = (
    "The kit shares its machine with whatever else runs there, with the service too if it started "
    "it: `late` tells whether it kept up, and times are of that machine.",
    "Latencies are counted from when a request was due. Of a stage the warm-up is left out of "
    "latencies and rates, and of nothing else.",
    "Whether answers are right is not told here: the scripted engine adds up numbers. "
    "`surefoot bench` measures accuracy at a budget.",
)


@dataclass(frozen=True, slots=True)
class Report:
    evidence: Evidence
    verdicts: Sequence[Verdict]
    stages: Sequence[StageFigures]

    @classmethod
    def of(cls, evidence: Evidence, verdicts: Sequence[Verdict]) -> Report:
        stages = [figures.stage(evidence, stretch) for stretch in evidence.stretches]
        return cls(evidence, verdicts, stages)

    @property
    def passed(self) -> bool:
        """Nothing that was checked failed."""
        return all(verdict.passed is not False for verdict in self.verdicts)

    def summary(self) -> dict[str, Any]:
        """What a script wants to know."""
        counted = figures.counted(self.evidence.outcomes)
        return {
            "passed": self.passed,
            "checks": {each.name: PASSED[each.passed] for each in self.verdicts},
            "requests": sum(counted.values()),
            "outcomes": counted,
            "capacity": self.evidence.capacity,
        }

    def as_json(self) -> dict[str, Any]:
        seen = self.evidence.scrapes
        return {
            **self.summary(),
            "made": self.evidence.made.isoformat(),
            "with": provenance(self.evidence),
            "plan": self.evidence.plan.model_dump(mode="json"),
            "verdicts": [asdict(each) for each in self.verdicts],
            "stages": [asdict(each) for each in self.stages],
            "watched": {"seconds": [each.at for each in seen], **held(seen)},
            "known_limits": LIMITS,
        }

    def document(self, folder: Path) -> Document:
        """With its pictures, which are drawn into the folder."""
        found = self.evidence
        failed = [each.name for each in self.verdicts if each.passed is False]
        checked = sum(each.passed is not None for each in self.verdicts)
        requests = sum(figures.counted(found.outcomes).values())
        lead = [
            f"Mix **{found.plan.name}**, seed {found.plan.seed}: {requests:,} requests. "
            + (f"**Failed: {', '.join(failed)}.**" if failed else f"All {checked} checks passed.")
            + f" {len(self.verdicts) - checked} could not be made, and say why.",
        ]
        return Document("Load test", lead, [*self._sections(folder)])

    def _sections(self, folder: Path) -> list[Section]:
        return [
            Section("Checks", [_checks(self.verdicts)]),
            Section("Against what was offered", self._load(folder)),
            Section("What came of the requests", self._outcomes(folder)),
            Section("Budgets", [pictures.budgets(self.evidence, folder)]),
            *self._watched(folder),
            Section("With what", [_provenance(self.evidence)]),
            Section("Known limits", list(LIMITS)),
        ]

    def _load(self, folder: Path) -> list[Part]:
        drawn: list[Part] = []
        if any(stretch.stage.open for stretch in self.evidence.stretches):
            drawn.append(pictures.against_load(self.evidence, self.stages, folder))
        return [*drawn, _rates(self.stages), _latencies(self.stages)]

    def _outcomes(self, folder: Path) -> list[Part]:
        return [pictures.outcomes(self.stages, folder), _counts(self.stages)]

    def _watched(self, folder: Path) -> list[Section]:
        if len(self.evidence.scrapes) < 2:
            return []
        return [Section("Over time", [pictures.over_time(self.evidence, folder)])]


def _checks(verdicts: Sequence[Verdict]) -> Table:
    rows = [(f"{v.name}: {v.claim}", PASSED[v.passed], v.says) for v in verdicts]
    return Table(("check", "", "on what it rests"), rows, prose=True)


def _rates(stages: Sequence[StageFigures]) -> Table:
    columns = ("stage", "offered /s", "answered /s", "good /s", "tokens /s", "late p99, ms",
               "waiting, mean", "at the most")  # fmt: skip
    rows = [
        (
            told.name,
            f"{told.offered:.1f}",
            f"{told.answered:.1f}",
            f"{told.good:.1f}",
            f"{told.tokens:,.0f}",
            f"{1000 * told.late:.1f}",
            f"{told.waiting[0]:.1f}",
            f"{told.waiting[1]:.0f}",
        )
        for told in stages
    ]
    return Table(columns, rows, "Of a closed stage, offered is what was done.")


def _latencies(stages: Sequence[StageFigures]) -> Table:
    kinds = {
        "answer": "latency",
        "first byte": "first_byte",
        "first reasoning": "first_reasoning",
        "first of the answer": "first_answer",
        "per token": "per_token",
        "rejected in": "rejected",
    }
    rows = [
        (f"{told.name}: {name}", *_quantiles(getattr(told, of)))
        for told in stages
        for name, of in kinds.items()
    ]
    note = "Seconds; in brackets the 95 % interval of a bootstrap over requests."
    return Table(("what", "p50", "p90", "p99"), rows, note, folded=True)


def _quantiles(latency: Latency | None) -> tuple[str, str, str]:
    if latency is None:
        return "–", "–", "–"
    told = (latency.p50, latency.p90, latency.p99)
    p50, p90, p99 = (f"{each.value:.3f} ({each.low:.3f} to {each.high:.3f})" for each in told)
    return p50, p90, p99


def _counts(stages: Sequence[StageFigures]) -> Table:
    kinds = list(stages[0].outcomes)
    rows = [
        (told.name, f"{told.asked:,}", *(f"{told.outcomes[kind]:,}" for kind in kinds))
        for told in stages
    ]
    note = "Every request is one of these; of one that was asked again, the last attempt."
    return Table(("stage", "asked", *kinds), rows, note)


def _provenance(evidence: Evidence) -> Table:
    return Table(("what", ""), list(provenance(evidence).items()), prose=True)


def provenance(evidence: Evidence) -> dict[str, str]:
    """What the figures were made with."""
    machine, plan = Machine.look(), evidence.plan
    made = hashlib.sha256(Path(plan.questions).read_bytes()).hexdigest()[:12]
    stages = ", ".join(stretch.name.partition(": ")[2] for stretch in evidence.stretches)
    return {
        "engine": evidence.ready.get("engine", "–"),
        "verifier": evidence.ready.get("verifier", "–"),
        "traces": evidence.ready.get("traces", "–"),
        "service's settings": ", ".join(f"{k} {v}" for k, v in plan.service.items()) or "its own",
        "questions": f"{Path(plan.questions).name}, sha256 {made}…",
        "seed": str(plan.seed),
        "stages": stages,
        "kit": f"surefoot-service {version('surefoot-service')}, commit {_commit()}",
        "machine": f"{machine.cores} cores, {machine.memory / GIB:.0f} GiB, {platform.machine()}",
        "Python": platform.python_version(),
        "made": evidence.made.isoformat(timespec="seconds"),
    }


def _commit() -> str:
    """Of the checkout that the kit is run from."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        told = subprocess.run(git, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return told.stdout.strip() or "unknown"
