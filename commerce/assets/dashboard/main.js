// The shop's dashboard: a sign-in, the shop's own panels, and those of any system.

import { events } from "./events.js";
import { Page } from "./page.js";
import { Session } from "./session.js";
import { shop } from "./shop.js";
import { signedIn, signInForm } from "./sign_in.js";
import { readiness, system } from "./system.js";

const session = new Session();
const ready = readiness("/readyz");

const page = new Page({
  title: "Commerce",
  fetch: session.fetch,
  ready: ready.source,
  groups: [
    ["Shop", [...shop(), events("/api/v1/events")]],
    ["System", [...system("/admin/system"), ready]],
  ],
});

function show() {
  page.account(...(session.user ? signedIn(session) : []));
  if (session.user) page.open();
  else page.close(signInForm(session, session.farewell));
}

session.addEventListener("change", show);
addEventListener("pagehide", () => session.leave());
addEventListener("pageshow", () => session.comeBack());
try {
  await session.resume();
} catch (error) {
  session.farewell ||= `${error.message}.`;
}
if (!session.user) show();
