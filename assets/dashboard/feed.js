// A feed: the server's event stream, read by `fetch` because an EventSource cannot show a token.
//
// It goes on behind the last event that it has seen, whoever broke off, and tells of gaps.

import { reach, Refused, Unreachable } from "./ask.js";
import { EventParser } from "./sse.js";
import { Backoff, Nap } from "./wait.js";

/** The server says something every 15 s; after this long without a word nobody is there. */
const SILENCE_MS = 45_000;
/** How soon to come back to a server that does not say, and at the earliest. */
const RETRY_MS = 2_000;
const RETRY_MS_MIN = 250;

export class Feed {
  #nap = new Nap();
  #backoff;
  #lastId = null;

  /**
   * `told.event({ id, event, data })` for each event, `told.state({ open } or { error })` when a
   * stream begins, ends or cannot be had. Each run begins anew, `backlog` events before now:
   * `told.begin()`.
   */
  constructor(path, told, { backlog = 50, backoff = new Backoff() } = {}) {
    Object.assign(this, { path, told, backlog });
    this.#backoff = backoff;
  }

  /** Reads until `signal` says to stop. */
  async run(fetch, signal) {
    this.#lastId = null;
    this.told.begin();
    while (!signal.aborted) {
      const waitMs = await this.#read(fetch, signal).catch((error) => {
        if (!signal.aborted) this.told.state({ error });
        // A number that the server cannot take will not be taken the next time either.
        if (error.status === 400) this.#lastId = null;
        return Math.max(this.#backoff.nextMs(), error.waitMs ?? 0);
      });
      if (waitMs > 0) await this.#nap.for(waitMs, signal);
    }
  }

  /** Comes back now instead of later. */
  wake() {
    this.#nap.wake();
  }

  /** Reads one stream to its end; how long to wait for the next. */
  async #read(fetch, signal) {
    const gone = new AbortController();
    let silence;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => gone.abort(), SILENCE_MS);
    };
    try {
      heard();
      const first = this.#lastId === null;
      const headers = first ? {} : { "last-event-id": this.#lastId };
      const either = AbortSignal.any([signal, gone.signal]);
      const answer = await reach(fetch, this.path, { headers, signal: either });
      if (!answer.ok) throw await Refused.by(answer);
      this.told.state({ open: true });
      const parser = new EventParser();
      const pieces = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await pieces.read().catch((cause) => {
          throw new Unreachable("the stream broke off", { cause });
        });
        if (signal.aborted || done) break;
        heard();
        this.#backoff.reset();
        const events = parser.push(value);
        this.#lastId = parser.lastId ?? this.#lastId;
        if (first && this.#lastId !== null && this.backlog > 0) {
          this.#lastId = before(this.#lastId, events.length + this.backlog);
          return 0;
        }
        for (const event of events) this.told.event(event);
      }
      if (!signal.aborted) this.told.state({ open: false });
      return Math.max(RETRY_MS_MIN, parser.retryMs ?? RETRY_MS);
    } finally {
      clearTimeout(silence);
      gone.abort();
    }
  }
}

/** The id of `count` events before this one's: a number, and behind it which history it is of, if
 * the server's data was restored from a backup. */
function before(id, count) {
  const [number, ...history] = id.split("-");
  return [Math.max(0, Number(number) - count), ...history].join("-");
}
