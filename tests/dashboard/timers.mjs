// Timers that do not wait: each fires at once and says how long it would have waited. What is
// longer than any wait between two tries guards against silence, and never fires.

export const LONGEST_WAIT_MS = 40_000;

export function timersThatDoNotWait(test) {
  const waitsMs = [];
  const { setTimeout, clearTimeout } = globalThis;
  globalThis.setTimeout = (then, ms) => {
    if (ms > LONGEST_WAIT_MS) return null;
    waitsMs.push(ms);
    return setTimeout(then, 0);
  };
  globalThis.clearTimeout = (timer) => timer && clearTimeout(timer);
  test.after(() => Object.assign(globalThis, { setTimeout, clearTimeout }));
  return waitsMs;
}
