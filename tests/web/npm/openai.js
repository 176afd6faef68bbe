// The SDK of OpenAI's API, which asks nothing again by itself here, so that each test sees what comes.

import OpenAI from "openai";

const client = ({ url, key = "any" }) => new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });

// Leaves a response's stream after each event and comes back behind it; gives all events.
commands.cut = async ({ input, background, ...where }) => {
  const { responses } = client(where);
  const events = [];
  let stream = await responses.create({ model: "deechat", input, stream: true, background });
  while (!events.at(-1)?.response || ["queued", "in_progress"].includes(events.at(-1).response.status)) {
    for await (const event of stream) {
      events.push(event);
      break;
    }
    const { id } = events[0].response;
    stream = await responses.retrieve(id, { stream: true, starting_after: events.at(-1).sequence_number });
  }
  return events;
};

commands.replay = async ({ id, ...where }) => {
  const events = [];
  for await (const event of await client(where).responses.retrieve(id, { stream: true })) events.push(event);
  return events;
};

// Begins a response that goes on by itself, looks at it, stops it; gives its status each time.
commands.cancel = async ({ input, ...where }) => {
  const { responses } = client(where);
  const begun = await responses.create({ model: "deechat", input, background: true });
  const cancelled = await responses.cancel(begun.id);
  return [begun.status, cancelled.status, (await responses.retrieve(begun.id)).status];
};

commands.chat = async ({ messages, ...where }) => {
  const stream = await client(where).chat.completions.create({ model: "deechat", messages, stream: true });
  let text = "";
  for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
  return text;
};

// Gives the class, the status and the code of the error that a request ends with.
commands.fail = async ({ path, body, ...where }) => {
  try {
    await (body ? client(where).post(path, { body }) : client(where).get(path));
  } catch (error) {
    return [error.constructor.name, error.status, error.code];
  }
};
