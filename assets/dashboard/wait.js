// Waits: how long to the next try, and the waiting itself.

/**
 * Waits that double with each try up to a limit. Up to half of each is left to chance, so that
 * the pages that a restart has cut off do not all come back at the same moment.
 */
export class Backoff {
  #tries = 0;

  constructor({ firstMs = 500, maxMs = 30_000, chance = Math.random } = {}) {
    Object.assign(this, { firstMs, maxMs, chance });
  }

  nextMs() {
    const ms = Math.min(this.maxMs, this.firstMs * 2 ** this.#tries);
    this.#tries += 1;
    return Math.round(ms * (1 - this.chance() / 2));
  }

  reset() {
    this.#tries = 0;
  }
}

/** One wait at a time, which ends early when it is woken or given up. */
export class Nap {
  #end = () => {};

  for(ms, signal) {
    if (signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#end(), ms);
      this.#end = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", this.#end);
        this.#end = () => {};
        resolve();
      };
      signal.addEventListener("abort", this.#end);
    });
  }

  wake() {
    this.#end();
  }
}
