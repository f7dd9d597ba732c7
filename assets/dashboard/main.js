// What the page shows, and where it asks. A host that has a sign-in or panels of its own puts its
// own file in the place of this one and leaves the others as they are.

import { events } from "./events.js";
import { Page } from "./page.js";
import { readiness, system } from "./system.js";

const ready = readiness("/readyz");

new Page({
  title: "redeliver",
  fetch: (path, options) => fetch(path, options),
  ready: ready.source,
  groups: [["System", [...system("/admin/system"), ready, events("/events")]]],
}).open();
