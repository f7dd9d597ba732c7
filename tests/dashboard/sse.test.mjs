// The reader of server-sent events, without a server.

import assert from "node:assert/strict";
import test from "node:test";

import { EventParser } from "./sse.js";

const STREAM =
  "retry: 1500\nid: 40\n\n" +
  ": alive\nid: 41\n\n" +
  'id: 42\nevent: order-created\ndata: {"a":\ndata: 1}\n\n' +
  "id: 43\r\nevent: gap\r\ndata:{}\r\n\r\n" +
  "data\ndata: ü\r\r" +
  "unknown: x\ndata: last\n\n";

const EVENTS = [
  { id: "42", event: "order-created", data: '{"a":\n1}' },
  { id: "43", event: "gap", data: "{}" },
  { id: "43", event: "message", data: "\nü" },
  { id: "43", event: "message", data: "last" },
];

test("events are the same wherever the text is cut", () => {
  for (let cut = 0; cut <= STREAM.length; cut += 1) {
    const parser = new EventParser();
    const events = [...parser.push(STREAM.slice(0, cut)), ...parser.push(STREAM.slice(cut))];
    assert.deepEqual(events, EVENTS, `cut at ${cut}`);
    assert.equal(parser.retryMs, 1500);
  }
  const parser = new EventParser();
  assert.deepEqual([...STREAM].flatMap((char) => parser.push(char)), EVENTS);
});

test("an id counts when its event is whole, with or without data", () => {
  const parser = new EventParser();
  parser.push("id: 7\n\nid: 8\ndata: cut of");
  assert.equal(parser.lastId, "7");
  parser.push("f\n\n");
  assert.equal(parser.lastId, "8");
  parser.push(": alive\nid: 9\n\n");
  assert.equal(parser.lastId, "9");
});

test("what is no field of ours changes nothing", () => {
  const parser = new EventParser();
  assert.deepEqual(parser.push("retry: soon\nid: a\0b\nevent: x\n\ndata: y\n\n"), [
    { id: null, event: "message", data: "y" },
  ]);
  assert.equal(parser.retryMs, null);
});

test("a line without an end does not fill the memory", () => {
  const parser = new EventParser();
  const piece = "x".repeat(1024 * 1024);
  assert.throws(() => {
    for (let megabytes = 0; megabytes < 16; megabytes += 1) parser.push(piece);
  }, /no end/);
});
