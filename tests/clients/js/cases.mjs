// What the JavaScript cases share: where to ask, and how a case is run twice and told. See ../scripts/cases.py.

export const ROOT = process.env.PAYONCE_ROOT;
export const BASE = `${ROOT}/api/v1`;
export const KEY = process.env.OPENROUTER_API_KEY;
export const MODEL = "openai/gpt-4o-mini";
export const PNG =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/** Runs each of `cases` ({name: [calls, run]}) twice, and prints what both gave. */
export async function main(cases) {
  const told = {};
  for (const [name, [calls, run]] of Object.entries(cases)) {
    const prompt = `<${name}> What about it?`;
    try {
      told[name] = { calls, results: [await run(prompt), await run(prompt)] };
    } catch (error) {
      told[name] = { calls, error: String(error?.stack ?? error) };
    }
  }
  console.log(JSON.stringify(told));
}

export async function gathered(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}
