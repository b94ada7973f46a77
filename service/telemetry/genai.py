"""The names of OpenTelemetry's GenAI conventions, and of OpenInference, as far as we use them.

The conventions are in development; the constants that opentelemetry-semantic-conventions had are
deprecated since they moved. These are those of github.com/open-telemetry/semantic-conventions-genai
at 002c8a6ea1c8a42b14a4527db83b3cabcded610a: docs/gen-ai/gen-ai-spans.md ("Inference"),
gen-ai-agent-spans.md ("Invoke workflow span") and gen-ai-events.md ("gen_ai.evaluation.result").
OpenInference's span kinds are what Phoenix and others of its kind draw a trace by.
"""

from typing import Final

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
WORKFLOW: Final = "gen_ai.workflow.name"
MODEL: Final = "gen_ai.request.model"
MAX_TOKENS: Final = "gen_ai.request.max_tokens"
TEMPERATURE: Final = "gen_ai.request.temperature"
TOP_P: Final = "gen_ai.request.top_p"
SEED: Final = "gen_ai.request.seed"
CHOICES: Final = "gen_ai.request.choice.count"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHED_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"

INVOKE_WORKFLOW: Final = "invoke_workflow"
CHAT: Final = "chat"

EVALUATION: Final = "gen_ai.evaluation.result"
EVALUATION_NAME: Final = "gen_ai.evaluation.name"
SCORE: Final = "gen_ai.evaluation.score.value"
LABEL: Final = "gen_ai.evaluation.score.label"
EXPLANATION: Final = "gen_ai.evaluation.explanation"

ERROR: Final = "error.type"  # of the general conventions

SPAN_KIND: Final = "openinference.span.kind"
CHAIN: Final = "CHAIN"
LLM: Final = "LLM"
EVALUATOR: Final = "EVALUATOR"
