// The Vercel AI SDK, by OpenRouter's provider and by the one for OpenAI-compatible APIs.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { createOpenRouter } from "@openrouter/ai-sdk-provider";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { BASE, KEY, MODEL, PNG, gathered, main } from "./cases.mjs";

const openrouter = createOpenRouter({ baseURL: BASE, apiKey: KEY });
const compatible = createOpenAICompatible({ name: "payonce", baseURL: BASE, apiKey: KEY });
const City = z.object({ name: z.string(), people: z.number() });
const weather = tool({
  description: "The weather there.",
  inputSchema: z.object({ place: z.string() }),
  execute: async ({ place }) => `rain in ${place}`,
});
const told = ({ text, usage, finishReason }) => {
  if (!text) throw new Error("no text");
  return { text, usage, finishReason };
};
const by = (model) => ({ model, temperature: 0, maxRetries: 0 });

await main({
  text: [1, async (prompt) => told(await generateText({ ...by(openrouter(MODEL)), prompt }))],
  stream: [1, (prompt) => gathered(streamText({ ...by(openrouter(MODEL)), prompt }).textStream)],
  tools: [
    2,
    async (prompt) => {
      const asked = { ...by(openrouter(MODEL)), prompt, tools: { weather }, stopWhen: stepCountIs(5) };
      return told(await generateText(asked));
    },
  ],
  object: [
    1,
    async (prompt) => {
      const output = Output.object({ schema: City });
      return City.parse((await generateText({ ...by(openrouter(MODEL)), prompt, output })).output);
    },
  ],
  vision: [
    1,
    async (prompt) => {
      const image = { type: "image", image: Buffer.from(PNG, "base64"), mediaType: "image/png" };
      const messages = [{ role: "user", content: [{ type: "text", text: prompt }, image] }];
      return told(await generateText({ ...by(openrouter(MODEL)), messages }));
    },
  ],
  compatible_text: [1, async (prompt) => told(await generateText({ ...by(compatible(MODEL)), prompt }))],
  compatible_stream: [1, (prompt) => gathered(streamText({ ...by(compatible(MODEL)), prompt }).textStream)],
});
