"""Asks as `vllm bench serve` does, whose command the CPU build cannot start by its own name."""

import argparse
import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path

from vllm.benchmarks.serve import add_cli_args, main


def arguments(task, folder):
    return [
        *("--backend", "openai-chat", "--base-url", task["url"]),
        *("--endpoint", "/v1/chat/completions", "--model", task["model"]),
        *("--dataset-name", "custom", "--dataset-path", str(folder / "prompts.jsonl")),
        *("--num-prompts", str(len(task["prompts"])), "--disable-shuffle"),
        *("--skip-tokenizer-init", "--max-concurrency", str(task["at_once"])),
        *("--extra-body", json.dumps({"max_completion_tokens": task["max_tokens"]})),
        *("--ready-check-timeout-sec", "0", "--disable-tqdm", "--save-result", "--save-detailed"),
        *("--result-dir", str(folder), "--result-filename", "report.json"),
    ]


def ask():
    task = json.load(sys.stdin)
    if task["key"]:
        os.environ["OPENAI_API_KEY"] = task["key"]
    parser = argparse.ArgumentParser()
    add_cli_args(parser)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        rows = [json.dumps({"prompt": prompt}) for prompt in task["prompts"]]
        (folder / "prompts.jsonl").write_text("\n".join(rows), encoding="utf-8")
        with contextlib.redirect_stdout(sys.stderr):
            main(parser.parse_args(arguments(task, folder)))
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    for prompt, completion in zip(report["input_lens"], report["output_lens"], strict=True):
        print(json.dumps({"prompt": prompt, "completion": completion}))


ask()
