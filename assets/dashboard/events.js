// Events: what the services publish, as it happens.

import { element, say } from "./element.js";
import { Feed } from "./feed.js";
import { time } from "./format.js";

/** Events on the page. Older ones make room. */
const SHOWN_MAX = 50;

/** The panel of the event stream at this path. */
export function events(path) {
  return new Events(path);
}

class Events {
  #state = element("p", { class: "note" });
  #list = element("ol", { class: "events" });
  #pause = element("input", { type: "checkbox" });
  #arrived = [];
  #frame = 0;

  constructor(path) {
    const label = element("label", {}, this.#pause, " pause");
    const heading = element("div", { class: "row" }, element("h3", {}, "Events"), label);
    this.element = element("section", { class: "double" }, heading, this.#state, this.#list);
    this.source = new Feed(
      path,
      {
        begin: () => this.clear(),
        event: (event) => this.#arrive(event),
        state: (state) => this.#tell(state),
      },
      { backlog: SHOWN_MAX },
    );
    this.#pause.addEventListener("change", () => this.#draw());
  }

  clear() {
    this.#arrived = [];
    this.#list.replaceChildren();
    say(this.#state, "…");
  }

  #tell({ open, error }) {
    if (error) return say(this.#state, { text: `${error.message}; trying again`, tone: "bad" });
    say(this.#state, open ? { text: "live", tone: "good" } : { text: "ended; coming back", tone: "warn" });
  }

  #arrive(event) {
    this.#arrived.push(event);
    if (this.#arrived.length > SHOWN_MAX) this.#arrived.shift();
    // Many at once are drawn together, and nothing is drawn that nobody sees.
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  #draw() {
    if (this.#pause.checked) return;
    for (const event of this.#arrived.splice(0)) this.#list.prepend(item(event));
    while (this.#list.children.length > SHOWN_MAX) this.#list.lastElementChild.remove();
  }
}

function item({ id, event, data }) {
  const said = parsed(data);
  if (event === "gap") {
    const words = `events ${said?.first} to ${said?.last} can no longer be shown: ${said?.reason}`;
    return element("li", { class: "warn" }, words);
  }
  const summary = element("summary", {});
  say(summary, [time(said?.at), said?.service ?? "", { text: said?.message ?? event, tone: "name" }, `#${id}`]);
  const whole = element("details", {}, summary);
  // Few are ever looked into.
  whole.addEventListener("toggle", () => whole.append(element("pre", {}, pretty(said, data))), { once: true });
  return element("li", {}, whole);
}

function parsed(data) {
  try {
    return JSON.parse(data);
  } catch {
    return null;
  }
}

const pretty = (said, data) => (said === null ? data : JSON.stringify(said, null, 2));
