// What OpenAI's client for JavaScript sees.

import OpenAI from "openai";

const asked = JSON.parse(process.argv[2]);
const client = new OpenAI({ baseURL: asked.url, apiKey: "-", maxRetries: 0 });

const body = (question, more = {}) => ({
  model: "surefoot-stepco",
  messages: [{ role: "user", content: asked[question] }],
  seed: 7,
  ...more,
});

const pair = (usage) => [usage.prompt_tokens, usage.completion_tokens];

const plain = async (question, more) => {
  const { choices, usage } = await client.chat.completions.create(body(question, more));
  const { message, finish_reason } = choices[0];
  return {
    text: message.content,
    reasoning: message.reasoning,
    usage: pair(usage),
    finish: finish_reason,
  };
};

const streamed = async (question) => {
  const more = { stream: true, stream_options: { include_usage: true } };
  const told = { text: "", reasoning: "", usage: null };
  for await (const chunk of await client.chat.completions.create(body(question, more))) {
    const delta = chunk.choices[0]?.delta;
    told.text += delta?.content ?? "";
    told.reasoning += delta?.reasoning ?? "";
    told.usage = chunk.usage && pair(chunk.usage);
  }
  return told;
};

const outcome = (answer) =>
  answer.catch((error) => ({
    class: error.constructor.name,
    status: error.status,
    message: error.message,
  }));

console.log(
  JSON.stringify({
    plain: await outcome(plain("sum")),
    stream: await outcome(streamed("sum")),
    cut: await outcome(plain("cut", { max_completion_tokens: 30 })),
    bad: await outcome(plain("sum", { temperature: 5 })),
    unknown: await outcome(plain("sum", { model: "gpt-9" })),
    away: await outcome(plain("away")),
    breaks: await outcome(streamed("breaks")),
  }),
);
