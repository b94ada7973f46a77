"""What lm-eval's `local-chat-completions` sees of its own task GSM8K, its rows in a local file."""

import json
import os
import sys
from pathlib import Path
from typing import Any

ASKED = json.loads(sys.argv[1])
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(Path.cwd())}

import lm_eval
import requests
from lm_eval.tasks import TaskManager

HERE = str(Path.cwd())
Path("rows.jsonl").write_text(
    "".join(f"{json.dumps(row)}\n" for row in ASKED["rows"]), encoding="utf-8"
)
Path("local.yaml").write_text(
    f"""\
include: {Path(lm_eval.__file__).parent}/tasks/gsm8k/gsm8k.yaml
task: gsm8k_local
dataset_path: json
dataset_name: null
dataset_kwargs:
  data_files:
    train: {HERE}/rows.jsonl
    test: {HERE}/rows.jsonl
num_fewshot: 0
""",
    encoding="utf-8",
)


def evaluate(model: str) -> Any:
    return lm_eval.simple_evaluate(
        model="local-chat-completions",
        model_args={
            "model": model,
            "base_url": f"{ASKED['url']}/chat/completions",
            "max_gen_toks": 4096,
            "max_retries": 1,
        },
        tasks=["gsm8k_local"],
        task_manager=TaskManager(include_path=HERE),
        apply_chat_template=True,
        log_samples=True,
    )


results = evaluate("surefoot-stepco")
(scores,) = results["results"].values()
replies = [sample["resps"][0][0] for sample in results["samples"]["gsm8k_local"]]
told = {"scores": scores, "replies": replies}
try:
    evaluate("gpt-9")
except (requests.RequestException, RuntimeError) as error:
    told["unknown"] = {"class": type(error).__name__, "message": str(error)}
print(json.dumps(told, default=str))
