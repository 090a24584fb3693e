// The openai npm package: chat and responses, whole and streamed.

import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { BASE, KEY, MODEL, PNG, gathered, main } from "./cases.mjs";

const client = new OpenAI({ baseURL: BASE, apiKey: KEY, maxRetries: 0 });
const settings = { model: MODEL, temperature: 0 };
const user = (content) => [{ role: "user", content }];
const parameters = { type: "object", properties: { place: { type: "string" } } };
const City = z.object({ name: z.string(), people: z.number() });

await main({
  chat: [1, (prompt) => client.chat.completions.create({ ...settings, messages: user(prompt) })],
  chat_stream: [
    1,
    async (prompt) =>
      gathered(await client.chat.completions.create({ ...settings, messages: user(prompt), stream: true })),
  ],
  chat_accumulated: [
    1,
    (prompt) => client.chat.completions.stream({ ...settings, messages: user(prompt) }).finalChatCompletion(),
  ],
  chat_tools: [
    2,
    async (prompt) => {
      const tools = [{ type: "function", function: { name: "weather", parameters } }];
      const messages = user(prompt);
      const asked = await client.chat.completions.create({ ...settings, messages, tools });
      const { message } = asked.choices[0];
      messages.push(message);
      for (const call of message.tool_calls) messages.push({ role: "tool", tool_call_id: call.id, content: "rain" });
      const told = await client.chat.completions.create({ ...settings, messages, tools });
      if (!told.choices[0].message.content) throw new Error("no text after the tool's result");
      return [asked, told];
    },
  ],
  chat_parse: [
    1,
    async (prompt) => {
      const response_format = zodResponseFormat(City, "city");
      const answer = await client.chat.completions.parse({ ...settings, messages: user(prompt), response_format });
      return City.parse(answer.choices[0].message.parsed);
    },
  ],
  chat_vision: [
    1,
    (prompt) =>
      client.chat.completions.create({
        ...settings,
        messages: user([
          { type: "text", text: prompt },
          { type: "image_url", image_url: { url: `data:image/png;base64,${PNG}` } },
        ]),
      }),
  ],
  responses: [1, (prompt) => client.responses.create({ ...settings, input: prompt })],
  responses_stream: [
    1,
    async (prompt) => gathered(await client.responses.create({ ...settings, input: prompt, stream: true })),
  ],
  embeddings: [1, (prompt) => client.embeddings.create({ model: "sim/embed", input: [prompt, `${prompt} Again.`] })],
});
