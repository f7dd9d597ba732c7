// Views: ways to show data. Each has an `element` and a `show`, which changes only what differs,
// so that a selection, the focus and the place one has scrolled to stay.

import { element, say } from "./element.js";

/** Rows below one another. A column is `{ title, cell(row), number }`. */
export class Table {
  #columns;
  #empty;
  #body = element("tbody");

  constructor(label, columns, empty = "none") {
    this.#columns = columns;
    this.#empty = empty;
    const heads = columns.map(({ title, number }) =>
      element("th", { scope: "col", class: number ? "number" : "" }, title),
    );
    const table = element("table", {}, element("thead", {}, element("tr", {}, ...heads)), this.#body);
    // What can be scrolled must be reachable by the keyboard.
    this.element = element("div", { class: "scroll", role: "region", "aria-label": label, tabindex: "0" }, table);
  }

  show(rows) {
    const none = rows.length === 0;
    this.element.classList.toggle("empty", none);
    const cells = none ? [[this.#empty]] : rows.map((row) => this.#columns.map(({ cell }) => cell(row)));
    cells.forEach((values, place) => {
      const row = this.#body.rows[place] ?? this.#body.insertRow();
      values.forEach((value, column) => {
        const cell = row.cells[column] ?? row.insertCell();
        cell.className = this.#columns[column].number ? "number" : "";
        cell.colSpan = none ? this.#columns.length : 1;
        say(cell, value);
      });
      while (row.cells.length > values.length) row.lastElementChild.remove();
    });
    while (this.#body.rows.length > cells.length) this.#body.lastElementChild.remove();
  }
}

/** Figures with their names: `[[name, value], …]`, always as many. */
export class Figures {
  element = element("dl");

  show(figures) {
    figures.forEach(([name, value], place) => {
      const pair =
        this.element.children[place] ??
        this.element.appendChild(element("div", {}, element("dt"), element("dd")));
      say(pair.firstElementChild, name);
      say(pair.lastElementChild, value);
    });
  }
}

/** Parts of a whole: `[[name, value], …]`, each drawn against the first. */
export class Funnel {
  element = element("ul", { class: "funnel" });

  show(steps) {
    const most = Math.max(1, ...steps.map(([, value]) => value));
    steps.forEach(([name, value], place) => {
      const step =
        this.element.children[place] ??
        this.element.appendChild(element("li", {}, element("span"), element("meter", { min: 0 })));
      step.firstElementChild.textContent = `${name}: ${value}`;
      step.lastElementChild.max = most;
      step.lastElementChild.value = value;
      step.lastElementChild.setAttribute("aria-label", name);
    });
  }
}
