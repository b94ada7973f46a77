"""Asks as guidellm does: the task as JSON on stdin, a line of JSON for each request on stdout."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path


def scenario(task, folder):
    backend = {
        "kind": "openai_http",
        "target": task["url"],
        "model": task["model"],
        "max_tokens": task["max_tokens"],
    }
    if task["key"]:
        backend["api_key"] = task["key"]
    return {
        "backend": backend,
        "profile": {"kind": "concurrent", "streams": [task["at_once"]]},
        "constraints": [{"kind": "max_requests", "count": len(task["prompts"])}],
        "data": [{"kind": "json_file", "path": str(folder / "prompts.jsonl")}],
        "outputs": [{"kind": "json", "path": str(folder / "report.json")}],
    }


def main():
    task = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        rows = [json.dumps({"prompt": prompt}) for prompt in task["prompts"]]
        (folder / "prompts.jsonl").write_text("\n".join(rows), encoding="utf-8")
        file = folder / "scenario.json"
        file.write_text(json.dumps({"spec": scenario(task, folder)}), encoding="utf-8")
        command = [sys.executable, "-m", "guidellm", "run", "-c", str(file), "--disable-console"]
        ended = subprocess.run(command, stdout=sys.stderr, cwd=folder, check=False)
        if ended.returncode:
            sys.exit(ended.returncode)
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    for each in report["benchmarks"][0]["requests"]["successful"]:
        prompt, completion = each["input_metrics"], each["output_metrics"]
        told = {"prompt": prompt["text_tokens"], "completion": completion["text_tokens"]}
        print(json.dumps(told))


main()
