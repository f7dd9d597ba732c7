// The feed, against a server that is played.

import assert from "node:assert/strict";
import test from "node:test";

import { Feed } from "./feed.js";
import { timersThatDoNotWait } from "./timers.mjs";
import { Backoff } from "./wait.js";

const event = (id) => `id: ${id}\nevent: rang\ndata: {}\n\n`;

/** A stream that says this, and then breaks off, ends, or stays open until its reader leaves. */
const stream = (text, how = "open") => (signal) => {
  const body = new ReadableStream({
    start(controller) {
      controller.enqueue(new TextEncoder().encode(text));
      if (how === "ends") controller.close();
      signal.addEventListener("abort", () => how === "open" && controller.error(signal.reason));
    },
    pull: (controller) => how === "breaks" && controller.error(new TypeError("reset")),
  });
  return new Response(body, { headers: { "content-type": "text/event-stream" } });
};

/** Plays answers one after the other, and stops the feed at the last. */
async function played(answers, options = { backlog: 0 }) {
  const stop = new AbortController();
  const told = { asked: [], ids: [], states: [] };
  const fetch = async (_path, { headers, signal }) => {
    told.asked.push(headers["last-event-id"] ?? null);
    if (told.asked.length === answers.length) setImmediate(() => stop.abort());
    const answer = answers[told.asked.length - 1];
    if (answer instanceof Error) throw answer;
    return typeof answer === "function" ? answer(signal) : answer;
  };
  const listener = {
    begin: () => assert.equal(told.asked.length, 0),
    event: ({ id, event: name }) => told.ids.push(name === "gap" ? `gap ${id}` : id),
    state: ({ open, error }) => told.states.push(error ? error.message : open),
  };
  const backoff = new Backoff({ chance: () => 0 });
  await new Feed("/events", listener, { backoff, ...options }).run(fetch, stop.signal);
  return told;
}

test("a stream that breaks off goes on behind the last whole event", async (t) => {
  timersThatDoNotWait(t);
  const told = await played([
    stream(`retry: 300\nid: 6\n\n${event(7)}${event(8)}id: 9\nda`, "breaks"),
    stream(`${event(9)}id: 12\nevent: gap\ndata: {}\n\n`, "ends"),
    stream(""),
  ]);
  assert.deepEqual(told.asked, [null, "8", "12"]);
  assert.deepEqual(told.ids, ["7", "8", "9", "gap 12"]);
  assert.equal(told.states[1], "the stream broke off");
});

test("the first stream begins some events before now, but not before the first", async (t) => {
  timersThatDoNotWait(t);
  // Behind its number, an id says which history it is of, if a backup was restored.
  for (const [now, from] of [[1000, "950"], [20, "0"], ["60-00ab", "10-00ab"], ["9-00ab", "0-00ab"]]) {
    const told = await played([stream(`id: ${now}\n\n`), stream("")], { backlog: 50 });
    assert.deepEqual(told.asked, [null, from]);
  }
});

test("waits grow until somebody answers, and are as long as a refusal asks for", async (t) => {
  const waitsMs = timersThatDoNotWait(t);
  const busy = new Response('{"detail":"full"}', { status: 503, headers: { "retry-after": "9" } });
  const gone = new TypeError("refused");
  const told = await played([gone, gone, busy, stream(event(7), "breaks"), gone, stream("")]);
  assert.deepEqual(waitsMs, [500, 1000, 9000, 500, 1000]);
  assert.deepEqual(told.states.slice(0, 3), [
    "the server cannot be reached",
    "the server cannot be reached",
    "full",
  ]);
});

test("a server that wants its readers back at once is not asked without a pause", async (t) => {
  const waitsMs = timersThatDoNotWait(t);
  await played([stream(`retry: 0\nid: 1\n\n`, "ends"), stream("")]);
  assert.deepEqual(waitsMs, [250]);
});

test("a number that the server does not take is let go", async (t) => {
  timersThatDoNotWait(t);
  const told = await played([
    stream(event(7), "ends"),
    new Response("{}", { status: 400 }),
    stream(""),
  ]);
  assert.deepEqual(told.asked, [null, "7", null]);
});
