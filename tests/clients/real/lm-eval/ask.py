"""What lm-eval's `local-chat-completions` sees of its own task GSM8K, its rows in a local file."""

import json
import os
import sys
from pathlib import Path

ASKED = json.loads(sys.argv[1])
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(Path.cwd())}

import lm_eval
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
results = lm_eval.simple_evaluate(
    model="local-chat-completions",
    model_args={
        "model": "surefoot-stepco",
        "base_url": f"{ASKED['url']}/chat/completions",
        "max_gen_toks": 4096,
        "max_retries": 1,
    },
    tasks=["gsm8k_local"],
    task_manager=TaskManager(include_path=HERE),
    apply_chat_template=True,
    log_samples=True,
)
(scores,) = results["results"].values()
replies = [sample["resps"][0][0] for sample in results["samples"]["gsm8k_local"]]
print(json.dumps({"scores": scores, "replies": replies}, default=str))
