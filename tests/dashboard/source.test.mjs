// Sources and waits, against a server that is played.

import assert from "node:assert/strict";
import test from "node:test";

import { isUnreachable, Source } from "./source.js";
import { timersThatDoNotWait } from "./timers.mjs";
import { Backoff } from "./wait.js";

const json = (body, status = 200, headers = {}) => new Response(JSON.stringify(body), { status, headers });

/** Plays answers one after the other; what the source told of them, and how long it waited. */
async function played(t, answers, load = (ask) => ask("/x")) {
  const waitsMs = timersThatDoNotWait(t);
  const stop = new AbortController();
  const source = new Source(load, { everyMs: 2000, backoff: new Backoff({ chance: () => 0 }) });
  const told = [];
  source.listen((outcome) => {
    told.push(outcome);
    if (told.length === answers.length) stop.abort();
  });
  await source.run(async () => {
    const answer = answers[told.length];
    if (answer instanceof Error) throw answer;
    return answer;
  }, stop.signal);
  return { told, waitsMs: waitsMs.slice(0, answers.length - 1) };
}

test("a server that is gone is asked less and less often, and as before once it is back", async (t) => {
  const gone = () => new TypeError("refused");
  const answers = [gone(), gone(), gone(), json({ a: 1 }), gone(), json({ a: 2 })];
  const { told, waitsMs } = await played(t, answers);
  assert.deepEqual(told.map(isUnreachable), [true, true, true, false, true, false]);
  assert.deepEqual(told[5].data, { a: 2 });
  assert.deepEqual(waitsMs, [500, 1000, 2000, 2000, 500]);
});

test("what one may not see is asked for seldom, and the refusal says what it needs", async (t) => {
  const forbidden = json({ title: "Forbidden", detail: "this needs the role `analyst`" }, 403);
  const { told, waitsMs } = await played(t, [forbidden, json({})]);
  assert.equal(told[0].error.message, "this needs the role `analyst`");
  assert.deepEqual(waitsMs, [30_000]);
});

test("a server that is busy is given the time that it asks for", async (t) => {
  const { waitsMs } = await played(t, [json({}, 429, { "retry-after": "7" }), json({})]);
  assert.deepEqual(waitsMs, [7000]);
});

test("an answer that is no JSON is a refusal, unless it broke off", async (t) => {
  const broken = new ReadableStream({ start: (controller) => controller.error(new TypeError("reset")) });
  const { told } = await played(t, [new Response("<html>", { status: 200 }), new Response(broken)]);
  assert.deepEqual(told.map(isUnreachable), [false, true]);
  assert.match(told[0].error.message, /did not answer with JSON/);
});

test("a status whose body is wanted is no refusal", async (t) => {
  const { told } = await played(t, [json({ ready: false }, 503)], (ask) => ask("/readyz", { takes: [503] }));
  assert.deepEqual(told[0].data, { ready: false });
});

test("whoever has stopped listening is told nothing, and a wait ends when it is woken", async () => {
  const stop = new AbortController();
  const source = new Source((ask) => ask("/x"), { everyMs: 3_600_000 });
  const told = [];
  source.listen(({ data }) => {
    told.push(data.asked);
    if (told.length < 3) setTimeout(() => source.wake(), 0);
  });
  let asked = 0;
  await source.run(async () => {
    asked += 1;
    if (asked === 4) stop.abort();
    if (asked === 3) setTimeout(() => source.wake(), 0);
    return json({ asked });
  }, stop.signal);
  assert.deepEqual(told, [1, 2, 3]);
});

test("a wait that is given to chance is never more than it would be, nor less than half", () => {
  for (const [chance, waits] of [[0, [500, 1000, 2000, 3000, 3000]], [1, [250, 500, 1000, 1500, 1500]]]) {
    const backoff = new Backoff({ maxMs: 3000, chance: () => chance });
    assert.deepEqual(waits.map(() => backoff.nextMs()), waits);
    for (let tries = 0; tries < 5000; tries += 1) backoff.nextMs();
    assert.equal(backoff.nextMs(), waits.at(-1));
    backoff.reset();
    assert.equal(backoff.nextMs(), waits[0]);
  }
});
