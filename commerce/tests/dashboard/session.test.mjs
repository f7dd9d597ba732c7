// The session, against a server that is played: one whose refresh tokens are good once, and which
// ends the session of one that is shown again.

import assert from "node:assert/strict";
import test from "node:test";

import { Session } from "./session.js";

const json = (body, status = 200) => new Response(JSON.stringify(body), { status });

class Server {
  asked = [];
  exchanges = 0;
  good = { access: null, refresh: null };
  user = { id: "1", email: "ada@example.com", roles: ["customer"] };
  mood = null;

  send = async (path, { headers = {}, body } = {}) => {
    this.asked.push(path);
    await null;
    if (this.mood) return this.mood(path);
    const said = body && JSON.parse(body);
    if (path.endsWith("/login")) return said.password === "right" ? this.#admit() : json({ detail: "wrong" }, 401);
    if (path.endsWith("/logout")) return this.#out();
    if (path.endsWith("/refresh")) {
      this.exchanges += 1;
      if (said.refresh_token === this.good.refresh) return this.#admit();
      this.#out();
      return json({ detail: "shown twice" }, 401);
    }
    const isGood = headers.authorization === `Bearer ${this.good.access}`;
    return isGood ? json({ path }) : json({ detail: "who?" }, 401);
  };

  #admit() {
    const turn = this.asked.length;
    this.good = { access: `access-${turn}`, refresh: `refresh-${turn}` };
    const { access, refresh } = this.good;
    return json({ access_token: access, refresh_token: refresh, expires_in: 900, user: this.user });
  }

  #out() {
    this.good = { access: null, refresh: null };
    return new Response(null, { status: 204 });
  }
}

class Store extends Map {
  getItem = (key) => this.get(key) ?? null;
  setItem = (key, value) => this.set(key, value);
  removeItem = (key) => this.delete(key);
}

async function signedIn() {
  const [server, store, clock] = [new Server(), new Store(), { ms: 1_000_000 }];
  const session = new Session({ send: server.send, store, now: () => clock.ms });
  const changes = [];
  session.addEventListener("change", () => changes.push(session.user?.email ?? session.farewell));
  await session.signIn("ada@example.com", "right");
  return { server, store, clock, session, changes };
}

test("however many ask at once, one token is exchanged once, before it runs out", async () => {
  const { server, clock, session } = await signedIn();
  clock.ms += 719_000;
  await session.fetch("/a");
  assert.equal(server.exchanges, 0);
  clock.ms += 2_000;
  const answers = await Promise.all(["/a", "/b", "/c", "/d"].map((path) => session.fetch(path)));
  assert.deepEqual(answers.map(({ status }) => status), [200, 200, 200, 200]);
  assert.equal(server.exchanges, 1);
});

test("a token that is refused is replaced once for all who showed it, and no more", async () => {
  const { server, session } = await signedIn();
  server.good.access = "another";
  const answers = await Promise.all(["/a", "/b", "/c"].map((path) => session.fetch(path)));
  assert.deepEqual(answers.map(({ status }) => status), [200, 200, 200]);
  assert.equal(server.exchanges, 1);
  // Somebody who may not come in at all is told so, and not asked for ever.
  const before = server.asked.length;
  server.mood = (path) => {
    if (!path.endsWith("/refresh")) return json({ detail: "no" }, 401);
    return json({ access_token: "x", refresh_token: "y", expires_in: 900, user: server.user });
  };
  assert.equal((await session.fetch("/a")).status, 401);
  assert.equal(server.asked.length - before, 3);
});

test("no token is ever part of an address", async () => {
  const { server, session } = await signedIn();
  server.good.access = "another";
  await session.fetch("/a?b=c");
  await session.signOut();
  for (const path of server.asked) assert.doesNotMatch(path, /access|refresh-|token|bearer/i);
});

test("a refusal of the refresh token signs out with the server's reason", async () => {
  const { server, session, changes } = await signedIn();
  server.good = { access: null, refresh: null };
  await assert.rejects(session.fetch("/a"), { status: 401 });
  assert.equal(session.user, null);
  assert.deepEqual(changes, ["ada@example.com", "Signed out: shown twice."]);
});

test("a server that is gone or busy signs nobody out", async () => {
  const { server, clock, session, changes } = await signedIn();
  clock.ms += 900_000;
  for (const mood of [
    () => { throw new TypeError("refused"); },
    () => json({ detail: "shutting down" }, 503),
    () => json({ detail: "too many" }, 429),
  ]) {
    server.mood = mood;
    await assert.rejects(session.fetch("/a"));
    assert.equal(session.user.email, "ada@example.com");
  }
  server.mood = null;
  assert.equal((await session.fetch("/a")).status, 200);
  assert.deepEqual(changes, ["ada@example.com"]);
});

test("tokens that come after a sign-out are not taken", async () => {
  const { server, clock, session, changes } = await signedIn();
  clock.ms += 900_000;
  const late = session.fetch("/a");
  await session.signOut();
  await assert.rejects(late, { status: 401 });
  assert.deepEqual(changes, ["ada@example.com", ""]);
  const before = server.asked.length;
  await assert.rejects(session.fetch("/a"), { status: 401 });
  assert.equal(server.asked.length, before);
});

test("a sign-out that the server does not hear is one here, and says so", async () => {
  const { server, session, changes } = await signedIn();
  server.mood = () => { throw new TypeError("refused"); };
  await session.signOut();
  assert.equal(session.user, null);
  assert.match(changes.at(-1), /could not be told/);
});

test("the next page in the tab goes on, and a copy of the tab has nothing", async () => {
  const { server, store, session } = await signedIn();
  assert.equal(store.size, 0);
  session.leave();
  assert.equal(store.size, 1);
  const next = new Session({ send: server.send, store });
  const resumed = next.resume();
  assert.equal(store.size, 0);
  await resumed;
  assert.equal(next.user.email, "ada@example.com");
  const stranger = new Session({ send: server.send, store });
  await stranger.resume();
  assert.equal(stranger.user, null);
});

test("a page that is shown again takes its token back, or signs out if another has used it", async () => {
  const { server, store, clock, session, changes } = await signedIn();
  session.leave();
  session.comeBack();
  assert.equal(store.size, 0);
  clock.ms += 900_000;
  assert.equal((await session.fetch("/a")).status, 200);
  session.leave();
  const next = new Session({ send: server.send, store });
  await next.resume();
  session.comeBack();
  assert.equal(changes.at(-1), "Signed out: another page went on.");
  // It has shown nothing that would end the other's session.
  assert.equal((await next.fetch("/a")).status, 200);
});

test("a token that may be used up is not left for the next page", async () => {
  const { store, clock, session } = await signedIn();
  clock.ms += 900_000;
  const asking = session.fetch("/a");
  session.leave();
  assert.equal(store.size, 0);
  await asking;
});

test("another role is told of when the tokens are exchanged", async () => {
  const { server, clock, session, changes } = await signedIn();
  server.user = { ...server.user, roles: ["customer", "analyst"] };
  clock.ms += 900_000;
  await session.fetch("/a");
  assert.equal(changes.length, 2);
  assert.deepEqual(session.user.roles, ["customer", "analyst"]);
});
