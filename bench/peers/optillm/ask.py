"""optillm's bon and self_consistency, called as its server calls them, on the questions of stdin.

One client serves all calls, in threads, where its server makes one anew for each request: a favour.
Temperature 1 is written into both; its self-consistency takes the text of the largest cluster of
texts that look alike, and the number of samples is an argument of its class alone.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from openai import OpenAI
from optillm.bon import best_of_n_sampling
from optillm.self_consistency import AdvancedSelfConsistency


def main(task):
    client = OpenAI(base_url=f"{task['engine']}/v1", api_key="-")
    config = {"max_tokens": task["max_tokens"]}

    def solve(question):
        if task["way"] == "best_of_n":
            return best_of_n_sampling(
                task["system"], question, client, task["model"], task["n"], config
            )
        vote = AdvancedSelfConsistency(client, task["model"], task["n"], request_config=config)
        clusters = vote.evaluate(task["system"], question)["aggregated_result"]["clusters"]
        text = clusters[0]["answer"] if clusters else None
        return text, vote.self_consistency_completion_tokens

    def ask(question):
        began = time.monotonic()
        try:
            text, tokens = solve(question["text"])
            claimed = {"completion": tokens}
        except Exception as error:
            text, claimed = None, {}
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        seconds = time.monotonic() - began
        return {"id": question["id"], "text": text, "seconds": seconds, "claimed": claimed}

    began = time.monotonic()
    with ThreadPoolExecutor(task["at_once"]) as pool:
        for row in pool.map(ask, task["questions"]):
            print(json.dumps(row), flush=True)
    print(json.dumps({"wall": time.monotonic() - began}))


main(json.load(sys.stdin))
