// Asks with the npm packages `openai` and `ai` as a person would, and tells what came of it: one line of JSON for each.
//   node sdks.mjs BASE_URL SDK MODEL...        with `+` before the name: as a stream, of the model NAME-stream
import process from "node:process";

const [baseURL, sdk, ...asked] = process.argv.slice(2);
const began = performance.now();

function told(error) {
  const chain = [];
  for (let each = error; each && chain.length < 5; each = each.lastError ?? each.cause) {
    chain.push({
      class: each.constructor?.name ?? typeof each,
      status: each.status ?? each.statusCode ?? null,
      code: each.code ?? each.data?.error?.code ?? each.error?.code ?? null,
      message: String(each.message ?? each).slice(0, 300),
    });
  }
  return chain;
}

async function openai() {
  const { default: OpenAI } = await import("openai");
  const usual = new OpenAI({ baseURL, apiKey: "unused" });
  // For the five minutes that node waits for a head, where 3 s stand for 400.
  const impatient = new OpenAI({ baseURL, apiKey: "unused", timeout: 2200, maxRetries: 0 });
  const of = (model) => (model.startsWith("thinks") ? impatient : usual);
  const ask = (model) => ({ model, messages: [{ role: "user", content: "id-0-0 hello" }] });
  return {
    async whole(model, out) {
      const answer = await of(model).chat.completions.create(ask(model));
      out.text = answer.choices[0].message.content;
      out.finish = answer.choices[0].finish_reason;
    },
    async stream(model, out) {
      for await (const chunk of await of(model).chat.completions.create({ ...ask(model), stream: true })) {
        out.text += chunk.choices[0]?.delta?.content ?? "";
        out.finish = chunk.choices[0]?.finish_reason ?? out.finish;
      }
    },
  };
}

async function ai() {
  const { generateText, streamText } = await import("ai");
  const { createOpenAICompatible } = await import("@ai-sdk/openai-compatible");
  const provider = createOpenAICompatible({ name: "modelpool", baseURL, apiKey: "unused" });
  const ask = (model) => ({ model: provider(model), prompt: "id-0-0 hello" });
  return {
    async whole(model, out) {
      const answer = await generateText(ask(model));
      out.text = answer.text;
      out.finish = answer.finishReason;
    },
    async stream(model, out) {
      let failed;
      const answer = streamText({ ...ask(model), onError: ({ error }) => { failed ??= error; } });
      for await (const delta of answer.textStream) out.text += delta;
      if (failed) throw failed;
      out.finish = await answer.finishReason;
    },
  };
}

const asker = await { openai, ai }[sdk]();
await Promise.all(
  asked.map(async (name) => {
    const stream = name.startsWith("+");
    const out = { asked: name, text: "", finish: null, errors: [] };
    try {
      await asker[stream ? "stream" : "whole"](name.replace(/^\+(.*)/, "$1-stream"), out);
    } catch (error) {
      out.errors = told(error);
    }
    out.seconds = (performance.now() - began) / 1000;
    console.log(JSON.stringify(out));
  }),
);
