// The session: who is signed in, and the tokens that show it.
//
// Both tokens are in memory alone, and the access token in one header alone. The refresh token is
// good once, and a second use ends the session; so one exchange runs at a time, whoever needs it,
// and the tab's storage holds the token only between two pages: a copy of the tab has none.

import { reach, Refused, Unreachable } from "./ask.js";

const AUTH = "/api/v1/auth/";
const KEPT_AS = "commerce.refresh-token";
/** The part of its life after which an access token is replaced. */
const USED_PART = 0.8;

export class Session extends EventTarget {
  /** Who is signed in: `{ id, email, roles }`. Tells of `change` when that is somebody else. */
  user = null;
  /** Why nobody is signed in any more, if it was not their wish. */
  farewell = "";

  #send;
  #store;
  #now;
  #access = null;
  #refresh = null;
  #freshUntilMs = 0;
  #exchange = null;

  constructor({ send = (...args) => fetch(...args), store = sessionStorage, now = Date.now } = {}) {
    super();
    this.#send = send;
    this.#store = store;
    this.#now = now;
  }

  async signIn(email, password) {
    this.#admit(await this.#post("login", { email, password }));
  }

  /** Ends the session, here at once and on the server if that can be reached. */
  async signOut() {
    // The refresh token names the session; an access token that has run out would be refused.
    const body = { refresh_token: this.#refresh };
    this.#end("");
    await this.#post("logout", body).catch(() => {
      this.farewell = "Signed out here; the server could not be told, where the session ends by itself.";
      this.dispatchEvent(new Event("change"));
    });
  }

  /** Goes on where the page before this one in the tab left off, if there was one. */
  async resume() {
    this.#refresh = this.#take();
    if (this.#refresh !== null) await this.#renew();
  }

  /** Hands the refresh token on to the page after this one; not one that may be used up. */
  leave() {
    if (this.#refresh === null || this.#exchange !== null) return;
    try {
      this.#store.setItem(KEPT_AS, this.#refresh);
      this.#refresh = null;
    } catch {
      // A browser that keeps nothing: the next page asks for the password.
    }
  }

  /** When the browser shows this very page again: takes the token back, unless it was used since. */
  comeBack() {
    this.#refresh ??= this.#take();
    if (this.#refresh === null && this.user) this.#end("Signed out: another page went on.");
  }

  /** `fetch` with the access token. One that is no longer good is replaced, once. */
  fetch = async (path, options = {}) => {
    const ask = (token) => {
      const headers = { ...options.headers, authorization: `Bearer ${token}` };
      return this.#send(path, { ...options, headers });
    };
    const token = await this.#token(null);
    const answer = await ask(token);
    if (answer.status !== 401) return answer;
    await answer.body?.cancel();
    return ask(await this.#token(token));
  };

  async #token(rejected) {
    const isFresh = this.#now() < this.#freshUntilMs && this.#access !== rejected;
    if (!isFresh) await this.#renew();
    return this.#access;
  }

  #renew() {
    this.#exchange ??= this.#exchangeTokens().finally(() => (this.#exchange = null));
    return this.#exchange;
  }

  async #exchangeTokens() {
    const mine = this.#refresh;
    if (mine === null) throw new Refused(401, { title: "nobody is signed in" });
    try {
      const tokens = await this.#post("refresh", { refresh_token: mine });
      // Somebody has signed out or in meanwhile; these tokens are of a session that has ended.
      if (this.#refresh !== mine) throw new Refused(401, { title: "signed out" });
      this.#admit(tokens);
    } catch (error) {
      // What is refused now is refused for good, unless the server is only busy.
      const isOver = error instanceof Refused && error.status < 500 && error.status !== 429;
      if (isOver && this.#refresh === mine) this.#end(`Signed out: ${error.message}.`);
      throw error;
    }
  }

  async #post(name, body) {
    const answer = await reach(this.#send, `${AUTH}${name}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(10_000),
    });
    if (!answer.ok) throw await Refused.by(answer);
    if (answer.status === 204) return null;
    return answer.json().catch((cause) => {
      throw new Unreachable("the answer broke off", { cause });
    });
  }

  #admit({ access_token, refresh_token, expires_in, user }) {
    const before = this.user;
    this.#access = access_token;
    this.#refresh = refresh_token;
    this.#freshUntilMs = this.#now() + expires_in * 1000 * USED_PART;
    this.user = user;
    this.farewell = "";
    if (JSON.stringify(before) !== JSON.stringify(user)) this.dispatchEvent(new Event("change"));
  }

  #end(farewell) {
    this.#access = null;
    this.#refresh = null;
    this.#freshUntilMs = 0;
    this.user = null;
    this.farewell = farewell;
    this.dispatchEvent(new Event("change"));
  }

  #take() {
    try {
      const kept = this.#store.getItem(KEPT_AS);
      this.#store.removeItem(KEPT_AS);
      return kept;
    } catch {
      return null;
    }
  }
}
