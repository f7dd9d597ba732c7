// The page: a head that says how the server is, and panels below.

import { element, say } from "./element.js";
import { time } from "./format.js";
import { isUnreachable } from "./source.js";

export class Page {
  #state = document.querySelector("#state");
  #main = document.querySelector("main");
  #running = null;
  #unreachableSince = null;

  /**
   * `fetch` asks the server; `ready` is the source of its readiness; `groups` are pairs of a
   * heading and its panels, which have an `element`, a `source` that runs, and `clear()`.
   */
  constructor({ title, fetch, ready, groups }) {
    Object.assign(this, { fetch, groups });
    document.title = title;
    document.querySelector("h1").textContent = title;
    const panels = groups.flatMap(([, panels]) => panels);
    this.panels = panels;
    this.sources = new Set(panels.map((panel) => panel.source));
    ready.listen((outcome) => this.#tell(outcome));
    document.addEventListener("visibilitychange", () => this.#look());
  }

  /** Shows all panels and keeps them up to date. */
  open() {
    this.close();
    const groups = this.groups.map(([heading, panels]) => [
      element("h2", {}, heading),
      element("div", { class: "group" }, ...panels.map((panel) => panel.element)),
    ]);
    this.#main.replaceChildren(...groups.flat());
    this.#run();
  }

  /** Stops asking and forgets what was shown; shows something else instead. */
  close(...instead) {
    this.#running?.abort();
    this.#running = null;
    this.#unreachableSince = null;
    for (const panel of this.panels) panel.clear();
    this.#main.replaceChildren(...instead);
    say(this.#state, "");
  }

  /** What belongs to whoever looks, beside the title. */
  account(...children) {
    document.querySelector("#account").replaceChildren(...children);
  }

  #run() {
    this.#running = new AbortController();
    if (document.hidden) return;
    for (const source of this.sources) source.run(this.fetch, this.#running.signal);
  }

  /**
   * Asks nothing while nobody looks. A browser opens six connections to a server, and each page's
   * event stream holds one: without this, a few forgotten tabs would leave none.
   */
  #look() {
    if (this.#running === null) return;
    this.#running.abort();
    this.#run();
  }

  #tell(outcome) {
    if (isUnreachable(outcome)) {
      this.#unreachableSince ??= Date.now();
      const since = time(this.#unreachableSince);
      return say(this.#state, { text: `not reachable since ${since}; trying again`, tone: "bad" });
    }
    if (this.#unreachableSince !== null) {
      this.#unreachableSince = null;
      this.#wake();
    }
    say(this.#state, stateOf(outcome));
  }

  #wake() {
    for (const source of this.sources) source.wake();
  }
}

function stateOf({ data, error }) {
  if (error) return { text: error.message, tone: "bad" };
  const failing = data.checks.filter(({ ok }) => !ok).map(({ name }) => name);
  if (failing.includes("draining")) return { text: "shutting down", tone: "warn" };
  if (!data.ready) return { text: `not ready: ${failing.join(", ")}`, tone: "bad" };
  return { text: "ready", tone: "good" };
}
