// Figures as people read them.

import assert from "node:assert/strict";
import test from "node:test";

import { bytes, number, time } from "./format.js";

test("what is no figure is a dash, and never a name for it", () => {
  for (const value of [undefined, null, NaN, "x", Infinity]) {
    assert.equal(number(value), "–");
    assert.equal(bytes(value), "–");
  }
  assert.equal(time("yesterday"), "–");
  assert.match(time("2026-03-01T10:20:30Z"), /^\d\d:\d\d:\d\d$|\d/);
});

test("bytes are told in the unit that fits", () => {
  for (const [value, text] of [
    [0, "0 B"], [1023, "1023 B"], [1024, "1.0 KiB"], [1536, "1.5 KiB"], [10 * 1024, "10 KiB"],
    [5 * 1024 ** 3, "5.0 GiB"], [1024 ** 6, "1048576 TiB"],
  ]) {
    assert.equal(bytes(value), text);
  }
});
