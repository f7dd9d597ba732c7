// Money as people read it.

import assert from "node:assert/strict";
import test from "node:test";

import { money } from "./money.js";

test("minor units have as many places as the currency", () => {
  const digits = (amount, currency) => money({ amount, currency }).replace(/[^\d-]/g, "");
  assert.equal(digits(1998, "EUR"), "1998");
  assert.match(money({ amount: 1998, currency: "EUR" }), /19[.,]98/);
  assert.match(money({ amount: 5, currency: "EUR" }), /0[.,]05/);
  assert.match(money({ amount: -250, currency: "USD" }), /-.*2[.,]50/);
  assert.equal(digits(1998, "JPY"), "1998");
  assert.doesNotMatch(money({ amount: 19, currency: "JPY" }), /0[.,]19/);
});
