// Server-sent events, read from text that comes in pieces cut anywhere.

/** A line longer than this is no event of ours. */
const LINE_CHARS_MAX = 4 * 1024 * 1024;

export class EventParser {
  /** The id of the last event that came whole: where a reader goes on. */
  lastId = null;
  /** When the server would like its reader back. */
  retryMs = null;

  #rest = "";
  #id = null;
  #event = "";
  #data = [];

  /** The events that are complete with this piece: `{ id, event, data }`. */
  push(text) {
    const events = [];
    this.#rest += text;
    let from = 0;
    for (const { 0: end, index } of this.#rest.matchAll(/\r\n|\n|\r/g)) {
      // The line feed of this line break may come with the next piece.
      if (end === "\r" && index + 1 === this.#rest.length) break;
      this.#line(this.#rest.slice(from, index), events);
      from = index + end.length;
    }
    this.#rest = this.#rest.slice(from);
    if (this.#rest.length > LINE_CHARS_MAX) throw new Error("a line of the events has no end");
    return events;
  }

  #line(line, events) {
    if (line === "") return this.#dispatch(events);
    const [, name, value] = /^([^:]*)(?:: ?(.*))?$/s.exec(line);
    if (name === "data") this.#data.push(value ?? "");
    if (name === "event") this.#event = value ?? "";
    if (name === "id" && !value?.includes("\0")) this.#id = value ?? "";
    if (name === "retry" && /^\d+$/.test(value ?? "")) this.retryMs = Number(value);
  }

  #dispatch(events) {
    this.lastId = this.#id;
    if (this.#data.length > 0) {
      const data = this.#data.join("\n");
      events.push({ id: this.lastId, event: this.#event || "message", data });
    }
    this.#data = [];
    this.#event = "";
  }
}
