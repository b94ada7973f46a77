// What the AI SDK sees by its OpenAI-compatible provider.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";

const asked = JSON.parse(process.argv[2]);
const provider = createOpenAICompatible({
  name: "surefoot",
  baseURL: asked.url,
  apiKey: "-",
  includeUsage: true,
});

const settings = (question, { model = "surefoot-stepco", ...more } = {}) => ({
  model: provider(model),
  prompt: asked[question],
  seed: 7,
  maxRetries: 0,
  ...more,
});

const answer = async ({ text, reasoningText, usage, finishReason }) => {
  const { inputTokens, outputTokens } = await usage;
  return {
    text: await text,
    reasoning: await reasoningText,
    usage: [inputTokens, outputTokens],
    finish: await finishReason,
  };
};

const plain = async (question, more) => answer(await generateText(settings(question, more)));

const streamed = async (question) => {
  let failure = null;
  const onError = ({ error }) => (failure = error);
  const told = streamText(settings(question, { onError }));
  await told.consumeStream();
  if (failure) throw failure;
  return answer(told);
};

const outcome = (promise) =>
  promise.catch((error) => ({
    class: error.name ?? typeof error,
    status: error.statusCode,
    message: error.message ?? JSON.stringify(error),
  }));

console.log(
  JSON.stringify({
    plain: await outcome(plain("sum")),
    stream: await outcome(streamed("sum")),
    cut: await outcome(plain("cut", { maxOutputTokens: 30 })),
    bad: await outcome(plain("sum", { temperature: 5 })),
    unknown: await outcome(plain("sum", { model: "gpt-9" })),
    away: await outcome(plain("away")),
    breaks: await outcome(streamed("breaks")),
  }),
);
