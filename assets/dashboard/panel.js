// A panel: a part of the page that shows what one source tells, and says so when it cannot.

import { element } from "./element.js";
import { time } from "./format.js";
import { isUnreachable } from "./source.js";

export class Panel {
  #note = element("p", { class: "note" }, "…");
  #body;
  #shownAt = null;

  /** `views` are pairs of a view and what it is shown of the source's data. */
  constructor(title, source, views, { wide = false } = {}) {
    this.source = source;
    this.views = views;
    this.#body = element("div", { hidden: true }, ...views.map(([view]) => view.element));
    const heading = element("h3", {}, title);
    this.element = element("section", { class: wide ? "wide" : "" }, heading, this.#note, this.#body);
    source.listen((outcome) => this.#tell(outcome));
  }

  /** Forgets what it shows: the next to look may be somebody else. */
  clear() {
    this.#shownAt = null;
    this.#say("…", { hide: true });
  }

  #tell(outcome) {
    const { data, error } = outcome;
    if (error) {
      const since = this.#shownAt === null ? "" : ` Shown is ${time(this.#shownAt)}.`;
      const again = isUnreachable(outcome) ? "; trying again" : "";
      const hide = this.#shownAt === null || error.status === 403;
      return this.#say(`${error.message}${again}.${hide ? "" : since}`, { hide });
    }
    try {
      for (const [view, pick] of this.views) view.show(pick(data));
    } catch (error) {
      console.error(error);
      return this.#say("The server's answer is not what this page knows; reload it.", { hide: true });
    }
    this.#shownAt = Date.now();
    this.#say("", { hide: false });
  }

  #say(note, { hide }) {
    if (this.#note.textContent !== note) this.#note.textContent = note;
    this.#note.hidden = note === "";
    this.#body.hidden = hide;
    this.#body.classList.toggle("stale", note !== "");
  }
}
