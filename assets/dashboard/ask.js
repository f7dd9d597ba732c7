// Asking the server: JSON, or why there is none.

/** How long an answer may take. */
const PATIENCE_MS = 10_000;

/** The server answered, but not with what was asked for. */
export class Refused extends Error {
  constructor(status, { title, detail } = {}, waitMs = 0) {
    super(detail || title || `the server answered ${status}`);
    Object.assign(this, { status, waitMs });
  }

  /** What an answer refuses with; problems (RFC 9457) say it in words. */
  static async by(answer) {
    const seconds = Number(answer.headers.get("retry-after"));
    const problem = await answer.json().catch(() => ({}));
    return new Refused(answer.status, problem ?? {}, seconds > 0 ? seconds * 1000 : 0);
  }
}

/** There was no answer. */
export class Unreachable extends Error {}

/** An answer of the server's, whatever it says. */
export async function reach(fetch, path, { signal, ...options }) {
  try {
    return await fetch(path, { cache: "no-store", credentials: "omit", signal, ...options });
  } catch (error) {
    if (error instanceof Refused) throw error;
    throw new Unreachable("the server cannot be reached", { cause: error });
  }
}

/** The JSON at a path. `takes` are statuses beside those of success whose body is wanted too. */
export async function ask(fetch, path, { signal, takes = [] }) {
  const patience = AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]);
  const answer = await reach(fetch, path, { signal: patience });
  if (!answer.ok && !takes.includes(answer.status)) throw await Refused.by(answer);
  try {
    return await answer.json();
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw new Unreachable("the answer broke off");
    throw new Refused(answer.status, { title: `${path} did not answer with JSON` });
  }
}
