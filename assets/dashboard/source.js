// A source: something that is asked for again and again, and told to whoever shows it.

import { ask, Refused, Unreachable } from "./ask.js";
import { Backoff, Nap } from "./wait.js";

/** How soon to ask again for what one may not see: somebody may grant the role meanwhile. */
const FORBIDDEN_MS = 30_000;

export class Source {
  #listeners = [];
  #nap = new Nap();
  #backoff;

  /** `load` gets a function that asks for the JSON at a path; what it returns is shown. */
  constructor(load, { everyMs = 2_000, backoff = new Backoff() } = {}) {
    Object.assign(this, { load, everyMs });
    this.#backoff = backoff;
  }

  /** `listener` is told `{ data }` or `{ error }`, each time. */
  listen(listener) {
    this.#listeners.push(listener);
  }

  /** Asks until `signal` says to stop; never twice at a time. */
  async run(fetch, signal) {
    while (!signal.aborted) {
      const outcome = await this.#ask(fetch, signal);
      if (signal.aborted) return;
      for (const listener of this.#listeners) listener(outcome);
      await this.#nap.for(this.#waitMs(outcome), signal);
    }
  }

  /** Asks now instead of later. */
  wake() {
    this.#nap.wake();
  }

  async #ask(fetch, signal) {
    try {
      return { data: await this.load((path, options) => ask(fetch, path, { signal, ...options })) };
    } catch (error) {
      return { error };
    }
  }

  #waitMs({ error }) {
    const forbidden = error instanceof Refused && error.status === 403;
    if (error && !forbidden) return Math.max(this.#backoff.nextMs(), error.waitMs ?? 0);
    this.#backoff.reset();
    return forbidden ? Math.max(this.everyMs, FORBIDDEN_MS) : this.everyMs;
  }
}

/** Whether an outcome says that nobody answers. */
export const isUnreachable = ({ error }) => error instanceof Unreachable;
