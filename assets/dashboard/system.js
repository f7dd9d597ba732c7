// The running system: its services and their actors, the streams between them, its journal.

import { bytes, number } from "./format.js";
import { Panel } from "./panel.js";
import { Source } from "./source.js";
import { Figures, Table } from "./views.js";

const TONES = { running: "good", starting: "warn", restarting: "warn", failed: "bad", stopped: "warn" };

/** A column of counts; one that should be 0 is marked when it is not. */
const count = (title, value, tone = "") => ({
  title,
  number: true,
  cell: (row) => ({ text: number(value(row)), tone: value(row) > 0 ? tone : "" }),
});

/** The panels of what `http::admin` tells at this path. */
export function system(path, { everyMs = 2_000 } = {}) {
  const source = new Source((ask) => ask(path), { everyMs });
  const services = new Table("Services", [
    { title: "service", cell: ({ name }) => name },
    { title: "state", cell: ({ state }) => ({ text: state, tone: TONES[state] }) },
    { title: "actors", cell: ({ actors }) => actors.map(actor) },
    count("restarts", ({ restarts }) => restarts, "warn"),
    count("panics", ({ panics }) => panics, "warn"),
    count("turns", ({ turns }) => turns),
    count("requests waiting", ({ requests_waiting }) => requests_waiting),
    count("messages waiting", ({ messages_waiting }) => messages_waiting),
    count("parked", ({ parked }) => parked, "warn"),
    count("timers", ({ timers }) => timers),
    count("activities", ({ activities }) => activities),
    count("dead letters", ({ dead_letters }) => dead_letters, "bad"),
    { title: "last panic", cell: ({ reason, last_panic }) => reason ?? last_panic ?? "" },
  ]);
  const streams = new Table(
    "Streams",
    [
      { title: "from", cell: ({ from }) => from },
      { title: "to", cell: ({ to }) => to },
      count("sent", ({ sent }) => sent),
      count("waiting", ({ waiting }) => waiting),
      count("accepted", ({ accepted }) => accepted),
      count("applied", ({ applied }) => applied),
      count("rejected", ({ rejected }) => rejected),
      count("parked", ({ parked }) => parked, "warn"),
      count("dead", ({ dead }) => dead, "bad"),
      count("discarded", ({ discarded }) => discarded),
    ],
    "nothing was sent yet",
  );
  return [
    new Panel("Services", source, [[services, (report) => report.services]], { wide: true }),
    new Panel("Streams", source, [[streams, (report) => report.streams]], { wide: true }),
    new Panel("Journal", source, [[new Figures(), journal()]]),
  ];
}

/** The panel of what `http::health` tells at this path. */
export function readiness(path, { everyMs = 2_000 } = {}) {
  // It says what is wrong with a status that is none of success.
  const source = new Source((ask) => ask(path, { takes: [503] }), { everyMs });
  const checks = new Table("Readiness", [
    { title: "check", cell: ({ name }) => name },
    { title: "", cell: ({ ok }) => (ok ? { text: "ok", tone: "good" } : { text: "fails", tone: "bad" }) },
    { title: "found", cell: ({ detail }) => detail },
  ]);
  return new Panel("Readiness", source, [[checks, (health) => health.checks]]);
}

function actor({ role, state, restarts }) {
  const again = restarts > 0 ? ` (${number(restarts)} restarts)` : "";
  return { text: `${role}${state === "running" ? "" : ` ${state}`}${again}`, tone: TONES[state] };
}

/** Figures of the journal, with how fast it grows since the report before. */
function journal() {
  let before = null;
  return ({ recovered, store }) => {
    const now = { commits: store.queued, atMs: performance.now() };
    const seconds = before && (now.atMs - before.atMs) / 1000;
    const grown = before && now.commits - before.commits;
    before = now;
    return [
      ["recovered commits", number(recovered.commits)],
      ["recovered in", `${number(recovered.ms)} ms`],
      ["last end", recovered.clean ? "in good order" : { text: "unclean", tone: "warn" }],
      ["rebuilt", recovered.rebuilt ?? "no"],
      ["commits per second", grown >= 0 && seconds > 0 ? number(Math.round(grown / seconds)) : "–"],
      ["durable position", number(store.durable)],
      ["not yet durable", number(store.queued - store.durable)],
      ["not yet in a checkpoint", bytes(store.uncheckpointed_bytes)],
      ["written since the start", bytes(store.journal_bytes)],
      ["syncs of the journal", number(store.syncs)],
    ];
  };
}
